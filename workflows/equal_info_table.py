"""The paper's table at any scale, as a DAG: every method of tokenizing at every size of language model.

    corpus ─┬─ m1 ─┬─ codes ─┬─ examples … ─┬─ cell … ───────┬─ table
            │      └─────────┤              ├─ probe … ──────┤
            └────────────────┴──────────────┴─ stability ────┤
                                     noise ──────────────────┘

As in the paper every method gets as many steps of as many tokens, from the same examples of text (arXiv:2404.03626
sections 3.1 to 3.8). A cell is one method at one size with one seed. Numbers are in gin/equal_info/paper_table*.gin.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from models.equal_info.m1 import M1Config
from models.lm import LMConfig
from models.lm.flops import training_flops_per_token
from shammie.errors import UserError
from shammie.progress import duration
from workflows import equal_info_paper, equal_info_probes, equal_info_table_report, equal_info_table_steps, peers
from workflows.dag import Step
from workflows.equal_info_common import LM_FLOPS_PER_S, LM_MEASURE_S, codes_step, corpus_step, lm_cost, m1_step
from workflows.equal_info_methods import input_of, runs_m1, vocab_size_of
from workflows.equal_info_probes import ProbeSettings
from workflows.language_models import LMSettings, settings_json
from workflows.tokenizers import code_of, sentencepiece_of_method

ENCODE_BYTES_PER_S = {"codes": 1e7, "m1": 3e5, None: 2e6}


@dataclass(frozen=True)
class Size:
    """One size of language model, a column of the table.

    Attributes:
        name: such as 0.4m.
        model: the network; each method puts its own vocabulary in.
        beside: the paper's size that its numbers stand beside (25m, 113m, 403m or 2b).
        largest_vocabulary: methods with more ids are left out at this size, since their softmax would cost the most.
    """

    name: str
    model: LMConfig
    beside: str = "25m"
    largest_vocabulary: int = 1 << 17

    def __post_init__(self) -> None:
        if self.beside not in equal_info_paper.SIZES:
            raise UserError(f"the paper has no size {self.beside!r}", f"one of {', '.join(equal_info_paper.SIZES)}")


@dataclass(frozen=True)
class StabilitySettings:
    """What token stability is measured on (section 6.1, Table 7, appendix D.8).

    Attributes:
        sentence: stands behind every prefix word.
        prefixes: words of held-out text that are set before it.
        word: its token sequences in context are counted.
        contexts: places of the word in held-out text.
        context_bytes: text before the word, and from its start on.
        documents: pieces of held-out text whose repeated tokens are counted.
        document_bytes: size of each.
    """

    sentence: str = "the elephants walked slowly through the tall grass while the children watched from the car"
    prefixes: int = 500
    word: str = "function"
    contexts: int = 40
    context_bytes: int = 100
    documents: int = 20
    document_bytes: int = 1024


@dataclass(frozen=True)
class NoiseSettings:
    """What numerical noise is tried on (section 3.7).

    Attributes:
        texts: how many.
        text_bytes: size of each.
        sizes: relative errors of M1's logits.
    """

    texts: int = 64
    text_bytes: int = 256
    sizes: Sequence[float] = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)


@dataclass(frozen=True)
class TableSettings:
    """The table: rows, columns, and how each cell is trained.

    Attributes:
        methods: rows (see `workflows.tokenizers`).
        sizes: columns.
        lm: steps, length, batch, rate, `example_bytes` and amounts of held-out text of every cell; its methods, model
            and seeds are the table's.
        m1: the byte model and its training.
        train_mb: megabytes of text that M1, codes and SentencePiece are made from.
        text_mb: megabytes of training text that examples are cut from; None: all.
        cuts: how often the training text is cut into examples, each time beginning elsewhere.
        seed: of M1, and of every cell.
        repeated: methods that are also trained with other seeds, at every size.
        repeated_seeds: these seeds.
        byte_matched: methods also trained at half the length, at the first size: as much text as twice as many tokens
            of half the bits (Table 6).
        probes: seq2seq probes (Table 5); no tasks, none.
        stability: what token stability is measured on.
        noise: what numerical noise is tried on.
        documents: what a document of a plain text file given by --input is: "line" or "file".
    """

    methods: Sequence[str]
    sizes: Sequence[Size]
    lm: LMSettings
    m1: M1Config
    train_mb: float = 8.0
    text_mb: float | None = None
    cuts: int = 1
    seed: int = 0
    repeated: Sequence[str] = ()
    repeated_seeds: Sequence[int] = (1,)
    byte_matched: Sequence[str] = ()
    probes: ProbeSettings = field(default_factory=ProbeSettings)
    stability: StabilitySettings = field(default_factory=StabilitySettings)
    noise: NoiseSettings = field(default_factory=NoiseSettings)
    documents: str = "line"

    def __post_init__(self) -> None:
        replace(self.lm, methods=self.methods)  # checks their names
        if not self.methods or not self.sizes:
            raise UserError("the table has no rows or no columns", "set TableSettings.methods and .sizes")
        if self.lm.steps is None or self.lm.example_bytes is None:
            raise UserError(
                "the table's lm needs steps and example_bytes", "set LMSettings.steps and LMSettings.example_bytes"
            )
        names = [size.name for size in self.sizes]
        if len(set(names)) < len(names):
            raise UserError(f"two sizes of {', '.join(names)} have one name", "name each size once")
        for name in ("repeated", "byte_matched"):
            for method in getattr(self, name):
                if method not in self.methods:
                    raise UserError(f"{name} names {method}, which is no method of the table", "add it to the methods")


def steps(settings: TableSettings, input: Sequence[str] = ()) -> list[Step]:
    """The DAG; its last step is the table's report.

    Args:
        settings: numbers and choices.
        input: text of the user's, by path or glob; none means the embedded corpus.
    """
    return _Dag(settings, tuple(input)).steps()


class _Dag:
    """The steps of a table; examples are made once for each method and length."""

    def __init__(self, settings: TableSettings, patterns: tuple[str, ...]) -> None:
        if any(map(sentencepiece_of_method, settings.methods)):
            peers.check_installed()
        self.settings = settings
        self.corpus = corpus_step(settings.documents, patterns)
        ended = {"ended": True}
        self.m1 = m1_step(settings.m1, settings.train_mb, settings.seed, self.corpus, ended)
        named = sorted({code for method in self._all_methods() if (code := code_of(method))})
        self.codes = codes_step(named, settings.train_mb, self.corpus, self.m1, ended) if named else None
        self._examples: dict[tuple[str, int], Step] = {}

    def _all_methods(self) -> list[str]:
        return list(dict.fromkeys([*self.settings.methods, *self.settings.probes.methods()]))

    def steps(self) -> list[Step]:
        settings, lm = self.settings, self.settings.lm
        cells: list[tuple[dict[str, Any], Step]] = []
        for size in settings.sizes:
            for method in settings.methods:
                if vocab_size_of(method) > size.largest_vocabulary:
                    continue
                more = settings.repeated_seeds if method in settings.repeated else ()
                for seed in dict.fromkeys([settings.seed, *more]):
                    cells.append(self._cell(method, size, seed, lm.length))
        first = settings.sizes[0]
        halves = [self._cell(method, first, settings.seed, lm.length // 2) for method in settings.byte_matched]
        probes = [self._probe(task) for task in settings.probes.tasks]
        stability, noise = self._stability(), self._noise()
        inputs = {
            "corpus": self.corpus,
            "m1": self.m1,
            "stability": stability,
            "noise": noise,
            **{
                f"examples_{number}": self.examples(method, lm.length) for number, method in enumerate(settings.methods)
            },
            **{f"cell_{number}": step for number, (_, step) in enumerate([*cells, *halves])},
            **{f"probe_{number}": step for number, step in enumerate(probes)},
        }
        config = {
            "methods": list(settings.methods),
            "runs_m1": [runs_m1(method) for method in settings.methods],
            "sizes": [{"name": size.name, "beside": size.beside} for size in settings.sizes],
            "cells": [about for about, _ in [*cells, *halves]],
            "probes": list(settings.probes.tasks),
            "example_bytes": lm.example_bytes,
        }
        return [Step("table", equal_info_table_report.write, config=config, inputs=inputs, code=("workflows.report",))]

    def examples(self, method: str, length: int) -> Step:
        """A method's rows of one length."""
        if (method, length) in self._examples:
            return self._examples[method, length]
        settings, lm, wanted = self.settings, self.settings.lm, input_of(method)
        given = {"codes": self.codes, "m1": self.m1}.get(wanted or "")
        step = Step(
            "examples",
            equal_info_table_steps.write_examples,
            version=2,
            config={
                "method": method,
                "length": length,
                "example_bytes": lm.example_bytes,
                "cuts": settings.cuts,
                "train_mb": settings.train_mb,
                "text_mb": settings.text_mb,
                "validation_mb": lm.validation_mb,
                "test_mb": lm.test_mb,
            },
            inputs={"corpus": self.corpus, **({wanted: given} if wanted and given else {})},
            lasts=duration(
                (settings.text_mb or settings.train_mb) * 1e6 * settings.cuts / ENCODE_BYTES_PER_S[wanted] + 2
            ),
            code=("workflows.tokenizers", "workflows.equal_info_examples", "workflows.equal_info_methods"),
        )
        self._examples[method, length] = step
        return step

    def _cell(self, method: str, size: Size, seed: int, length: int) -> tuple[dict[str, Any], Step]:
        lm = replace(self.settings.lm, model=size.model, seeds=(seed,), length=length, methods=())
        config = replace(size.model, vocab_size=vocab_size_of(method))
        flops = training_flops_per_token(config, length) * (lm.steps or 0) * lm.batch_size * length
        step = Step(
            "cell",
            equal_info_table_steps.train_cell,
            config={"method": method, "lm": settings_json(lm)},
            inputs={"examples": self.examples(method, length)},
            lasts=duration(len(lm.learning_rates) * flops / LM_FLOPS_PER_S + LM_MEASURE_S),
            code=("workflows.language_models", "workflows.equal_info_held_out", "workflows.train", "models.lm"),
            cost=lambda rates: lm_cost(rates, lm, size.model, method),
        )
        return {"method": method, "size": size.name, "seed": seed, "length": length}, step

    def _probe(self, task: str) -> Step:
        method = equal_info_probes.method_of(task)
        given = {"corpus": self.corpus}
        if method:
            given["examples"] = self.examples(method, self.settings.lm.length)
            if code_of(method) and self.codes:
                given["codes"] = self.codes
        return Step(
            "probe",
            equal_info_probes.run,
            version=2,
            config={"task": task, "probes": self.settings.probes.to_json()},
            inputs=given,
            lasts=duration(self.settings.probes.flops(task) / LM_FLOPS_PER_S + LM_MEASURE_S),
            code=("workflows.train", "models.lm", "models.training"),
        )

    def _stability(self) -> Step:
        settings = self.settings
        inputs = {
            "corpus": self.corpus,
            **({"codes": self.codes} if self.codes else {}),
            **{
                f"examples_{number}": self.examples(method, settings.lm.length)
                for number, method in enumerate(settings.methods)
            },
        }
        return Step(
            "stability",
            equal_info_table_steps.measure_stability,
            version=2,
            config={
                "methods": list(settings.methods),
                "test_mb": settings.lm.test_mb,
                **asdict(settings.stability),
            },
            inputs=inputs,
            code=("models.equal_info.stability",),
        )

    def _noise(self) -> Step:
        settings = self.settings
        noise = {**asdict(settings.noise), "sizes": list(settings.noise.sizes)}
        return Step(
            "noise",
            equal_info_table_steps.measure_noise,
            version=2,
            config={**noise, "test_mb": settings.lm.test_mb},
            inputs={"corpus": self.corpus, "m1": self.m1},
            code=("models.equal_info.noise",),
        )
