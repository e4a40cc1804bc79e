"""The `equal_info` system: text -> M1 -> codes -> Beam -> SeqIO -> language models -> report, as a DAG.

    corpus ── m1 ── codes ─┬─ dataset ─┬─ readback ─┐
       │                   │           └─ lm ───────┤
       ├───────────────────┼─ tokens ──── lm … ─────┤
       └───────────────────┴─ measures ─────────────┴─ report

The language model over the dataset's own code reads the Beam job's shards; those it is compared with (bytes,
SentencePiece, other codes) read token files of the same documents. The functions that the steps run are in
`equal_info_steps` and `equal_info_lm`, the page in `equal_info_report` and `equal_info_lm_report`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from models.equal_info.m1 import M1Config
from shammie.errors import UserError
from shammie.progress import duration
from workflows import equal_info_lm, equal_info_report, equal_info_steps, equal_info_table, peers
from workflows.compare_codes import spec_of, specs_of
from workflows.dag import Step
from workflows.equal_info_common import (
    LM_FLOPS_PER_S,
    LM_MEASURE_S,
    codes_step,
    corpus_step,
    lm_cost,
    m1_step,
    text_bytes,
)
from workflows.equal_info_methods import input_of
from workflows.equal_info_table import TableSettings
from workflows.language_models import LMSettings, settings_json
from workflows.step_costs import dataset_cost
from workflows.tokenizers import IN_BYTES, code_of, sentencepiece_of_method

PEERS_S_PER_MB = 12  # what it lasted on 2 CPU cores, for the estimates of `shammie plan`


@dataclass(frozen=True)
class Settings:
    """What gin files choose.

    Attributes:
        m1: the byte model and its training.
        codes: the codes to compile and compare, SCHEME:VOCABULARY[:WINDOW_BITS].
        code: the one of them that the dataset is made with.
        train_mb: megabytes of training text that M1, pruning and the peers all see.
        test_mb: megabytes of held-out text to measure on.
        peer_vocab_sizes: vocabulary sizes at which the peers are trained; none leaves the peers out.
        shards: files per split of the dataset.
        documents: what a document of a plain text file given by --input is: "line" or "file".
        seeds: of M1's weights and batches; each trains, compiles and measures anew, the first makes the dataset.
        lm: the language models to train at equal FLOPs; no methods, none.
    """

    m1: M1Config = field(default_factory=M1Config)
    codes: Sequence[str] = ("greedy:65536", "delay:65536", "full:65536", "pruned:65536")
    code: str = "pruned:65536"
    train_mb: float = 8.0
    test_mb: float = 2.0
    peer_vocab_sizes: Sequence[int] = ()
    shards: int = 4
    documents: str = "line"
    seeds: Sequence[int] = (0,)
    lm: LMSettings = field(default_factory=LMSettings)

    def __post_init__(self) -> None:
        if not self.seeds:
            raise UserError("equal_info.Settings.seeds is empty", "give at least one, such as (0,)")
        for name in ("train_mb", "test_mb", "shards"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not value > 0:
                raise UserError(f"equal_info.Settings.{name} is {value!r}", "give a number above 0")
        if spec_of(self.code) not in specs_of(self.codes):
            raise UserError(f"the dataset's code {self.code!r} is none of codes", "add it to equal_info.Settings.codes")
        if self.lm.example_bytes is not None:
            raise UserError("LMSettings.example_bytes is for the paper's table alone", "set equal_info.steps.table")
        for method in self.lm.methods:
            code = code_of(method)
            if code and code not in map(str, specs_of(self.codes)):
                raise UserError(f"the method {method} needs the code {code}", "add it to CODES, or change LM_METHODS")


def steps(
    settings: Settings | None = None,
    input: Sequence[str] = (),
    beam_flags: Sequence[str] = (),
    table: TableSettings | None = None,
) -> list[Step]:
    """The DAG; its last step is the report.

    Args:
        settings: numbers and choices.
        input: text of the user's, by path or glob; none means the embedded corpus.
        beam_flags: go to Beam as they are.
        table: makes the paper's table instead (`workflows.equal_info_table`); then the settings are of no matter.
    """
    if table is not None:
        return equal_info_table.steps(table, input)
    chosen = settings or Settings()
    if chosen.peer_vocab_sizes or any(map(sentencepiece_of_method, chosen.lm.methods)):
        peers.check_installed()
    corpus = corpus_step(chosen.documents, tuple(input))
    code = str(spec_of(chosen.code))
    trained = [_trained(chosen, corpus, seed) for seed in chosen.seeds]
    m1, codes, _ = trained[0]
    made_from = {"codes": codes, "m1": m1}
    dataset = Step(
        "dataset",
        lambda running: equal_info_steps.write_dataset(running, beam_flags),
        config={"code": code, "shards": chosen.shards},
        inputs={"corpus": corpus, "codes": codes},
        code=("beam_jobs", "models.equal_info.codec"),
        cost=lambda rates: dataset_cost(rates, text_bytes(corpus, rates), chosen.shards),
    )
    readback = Step(
        "readback",
        equal_info_steps.read_back,
        config={"code": code},
        inputs={"corpus": corpus, "codes": codes, "dataset": dataset},
        code=("seqio_tasks", "models.equal_info.codec"),
    )
    language_models = [_language_model(chosen, method, corpus, made_from, dataset) for method in chosen.lm.methods]
    report = Step(
        "report",
        equal_info_report.write,
        config={"code": code, "seeds": len(trained), "language_models": len(language_models)},
        inputs={
            "corpus": corpus,
            "m1": m1,
            "codes": codes,
            "dataset": dataset,
            "readback": readback,
            **{f"measures_{number}": measures for number, (_, _, measures) in enumerate(trained)},
            **{f"lm_{number}": step for number, step in enumerate(language_models)},
        },
        code=("workflows.report", "models.equal_info.codec"),
    )
    return [report]


def _trained(settings: Settings, corpus: Step, seed: int) -> tuple[Step, Step, Step]:
    """M1 of one seed, its codes, and what was measured of them; the first seed measures the peers too."""
    m1 = m1_step(settings.m1, settings.train_mb, seed, corpus)
    codes = codes_step(settings.codes, settings.train_mb, corpus, m1)
    peer_vocab_sizes = list(settings.peer_vocab_sizes) if seed == settings.seeds[0] else []
    measures = Step(
        "measures",
        equal_info_steps.measure,
        config={
            "codes": list(settings.codes),
            "peer_vocab_sizes": peer_vocab_sizes,
            "train_mb": settings.train_mb,
            "test_mb": settings.test_mb,
        },
        inputs={"corpus": corpus, "codes": codes},
        lasts=duration(5 + len(peer_vocab_sizes) * settings.train_mb * PEERS_S_PER_MB),
        code=("workflows.peers", "workflows.compare_codes", "models.equal_info"),
    )
    return m1, codes, measures


def _language_model(
    settings: Settings, method: str, corpus: Step, made_from: Mapping[str, Step], dataset: Step
) -> Step:
    """A method's language models; over the dataset's own code they read the dataset."""
    code, wanted = code_of(method), input_of(method)
    inputs = {"corpus": corpus, **({wanted: made_from[wanted]} if wanted else {})}
    tokens = dataset
    if method.endswith(IN_BYTES) or code != str(spec_of(settings.code)):
        tokens = Step(
            "tokens",
            equal_info_lm.write_method_tokens,
            config={"method": method, "train_mb": settings.train_mb},
            inputs=inputs,
            code=("workflows.tokenizers", "workflows.peers", "seqio_tasks.token_files", "models.equal_info.codec"),
        )
    runs = len(settings.lm.learning_rates) + len(settings.lm.seeds) - 1
    return Step(
        "lm",
        equal_info_lm.train_lm,
        config={"method": method, "lm": settings_json(settings.lm)},
        inputs={**inputs, "tokens": tokens},
        lasts=duration(runs * settings.lm.training_flops / LM_FLOPS_PER_S + LM_MEASURE_S),
        code=(
            "workflows.language_models",
            "workflows.serving",
            "workflows.tokenizers",
            "workflows.train",
            "seqio_tasks.windows",
            "models.lm",
            "models.training",
        ),
        cost=lambda rates: lm_cost(rates, settings.lm, settings.lm.model, method),
    )
