"""The `equal_info` system: text -> M1 -> codes -> Beam -> SeqIO -> language models -> report, as a DAG.

    corpus ── m1 ── codes ─┬─ dataset ─┬─ readback ─┐
       │                   │           └─ lm ───────┤
       ├───────────────────┼─ tokens ──── lm … ─────┤
       └───────────────────┴─ measures ─────────────┴─ report

The language model over the dataset's own code reads the Beam job's shards; those it is compared with (bytes,
SentencePiece, other codes) read token files of the same documents. The functions that the steps run are in
`equal_info_steps` and `equal_info_lm`, the page in `equal_info_report` and `equal_info_lm_report`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from models.equal_info.m1 import M1Config
from shammie.errors import UserError
from shammie.progress import duration
from workflows import equal_info_lm, equal_info_report, equal_info_steps, peers
from workflows.compare_codes import spec_of, specs_of
from workflows.corpus import embedded_documents, manifest
from workflows.dag import Source, Step, source_of_files
from workflows.language_models import LMSettings, settings_json
from workflows.tokenizers import IN_BYTES, code_of, sentencepiece_of_method

# What steps lasted on 2 CPU cores, for the estimates of `shammie plan`.
STEP_S = 0.07
COMPILE_S = {"pruned": 30, "words": 30}
PEERS_S_PER_MB = 12
LM_FLOPS_PER_S = 5e10
LM_MEASURE_S = 25


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
        for method in self.lm.methods:
            code = code_of(method)
            if code and code not in map(str, specs_of(self.codes)):
                raise UserError(f"the method {method} needs the code {code}", "add it to CODES, or change LM_METHODS")


def steps(settings: Settings | None = None, input: Sequence[str] = (), beam_flags: Sequence[str] = ()) -> list[Step]:
    """The DAG; its last step is the report.

    Args:
        settings: numbers and choices.
        input: text of the user's, by path or glob; none means the embedded corpus.
        beam_flags: go to Beam as they are.
    """
    chosen = settings or Settings()
    if chosen.peer_vocab_sizes or any(map(sentencepiece_of_method, chosen.lm.methods)):
        peers.check_installed()
    corpus = _corpus(chosen, tuple(input))
    code = str(spec_of(chosen.code))
    trained = [_trained(chosen, corpus, seed) for seed in chosen.seeds]
    m1, codes, _ = trained[0]
    dataset = Step(
        "dataset",
        lambda running: equal_info_steps.write_dataset(running, beam_flags),
        config={"code": code, "shards": chosen.shards},
        inputs={"corpus": corpus, "codes": codes},
        code=("beam_jobs", "models.equal_info.codec"),
    )
    readback = Step(
        "readback",
        equal_info_steps.read_back,
        config={"code": code},
        inputs={"corpus": corpus, "codes": codes, "dataset": dataset},
        code=("seqio_tasks", "models.equal_info.codec"),
    )
    language_models = [_language_model(chosen, method, corpus, codes, dataset) for method in chosen.lm.methods]
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
    m1 = Step(
        "m1",
        equal_info_steps.train,
        config={"m1": asdict(settings.m1), "train_mb": settings.train_mb, "seed": seed},
        inputs={"corpus": corpus},
        validate=equal_info_steps.validate_m1,
        lasts=duration(settings.m1.steps * STEP_S),
        code=("models.equal_info.m1", "models.training", "models.lm"),
    )
    codes = Step(
        "codes",
        equal_info_steps.compile_codes,
        config={"codes": list(settings.codes), "train_mb": settings.train_mb},
        inputs={"corpus": corpus, "m1": m1},
        lasts=duration(sum(COMPILE_S.get(spec_of(name).scheme, 2) for name in settings.codes)),
        code=("workflows.compare_codes", "models.equal_info"),
    )
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


def _language_model(settings: Settings, method: str, corpus: Step, codes: Step, dataset: Step) -> Step:
    """A method's language models; over the dataset's own code they read the dataset."""
    code = code_of(method)
    inputs = {"corpus": corpus, **({"codes": codes} if code else {})}
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
    )


def _corpus(settings: Settings, patterns: tuple[str, ...]) -> Step:
    if not patterns:
        documents = embedded_documents()
        return Step(
            "corpus",
            lambda running: equal_info_steps.write_embedded(running, documents),
            inputs={"text": Source("standard_library", manifest(documents))},
        )
    from beam_jobs.units import ReadConfig, find_sources

    reading = ReadConfig(documents=settings.documents)
    source = source_of_files("input", [found.path for found in find_sources(patterns, reading)])
    return Step(
        "corpus",
        lambda running: equal_info_steps.write_input(running, patterns),
        config={"documents": settings.documents},
        inputs={"text": source},
    )
