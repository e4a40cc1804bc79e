"""What gin files choose of `rest_em`: problems, model sizes, training, and the variants of the loop."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from models.lm import LMConfig
from models.lm.decoding import Sampling
from models.training import OptimizerConfig
from shammie.errors import UserError, unknown

FAMILIES = ("arithmetic", "programs")
PAPER_SAMPLING = Sampling(temperature=0.7, top_k=40)  # arXiv:2312.06585 section 5
PASS_AT_K_SAMPLING = Sampling(temperature=1.0, top_p=0.95)  # its figure 5


@dataclass(frozen=True)
class Tuning:
    """How a model is trained on pairs of prompts and solutions, with the loss on the solutions alone.

    Attributes:
        optimizer: the optimizer and its schedule.
        length: tokens of a row; examples are packed into rows.
        batch_size: rows of a step.
        steps: the most steps.
        eval_every: steps between two measurements of the held-out reward (greedy pass@1 on the validation problems).
        patience: training ends when so many measurements in a row were not better than the best before them; the
            parameters of the best are kept.
    """

    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    length: int = 256
    batch_size: int = 16
    steps: int = 400
    eval_every: int = 50
    patience: int = 3

    def __post_init__(self) -> None:
        for name in ("length", "batch_size", "steps", "eval_every", "patience"):
            if not getattr(self, name) > 0:
                raise UserError(f"Tuning.{name} is {getattr(self, name)!r}", "give a number above 0")

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Tuning":
        """The settings that a step's config holds."""
        return cls(**{**values, "optimizer": OptimizerConfig(**values["optimizer"])})


@dataclass(frozen=True)
class Variant:
    """One way around the loop; the defaults are ReST-EM's (arXiv:2312.06585, Algorithm 1).

    Attributes:
        name: one word.
        iterations: I.
        samples: N of each problem.
        times: so many times N are drawn; for one iteration with as many samples as several have.
        sampling: how they are drawn.
        cap: the most solutions of a problem that are kept; 0 keeps all.
        start: what each M-step starts from: the base model, or the last one (ReST, arXiv:2308.08998).
        source: whose solutions are trained on: the model's own; "human": the ones that come with the problems (SFT);
            "teacher": those that the largest model kept in its last iteration of the first variant (distillation).
        distinct: what makes two solutions of a problem the same: their text, or the equations in it (RFT,
            arXiv:2308.01825, which also drops solutions with a false equation).
        with_human: the problems' own solutions are trained on too (ReST's mixture).
        hint: goes before the prompt of a problem without a right sample, which is then tried again; `{answer}` stands
            for its answer (STaR's rationalization, arXiv:2203.14465); the solution is trained on without it.
    """

    name: str = "rest_em"
    iterations: int = 3
    samples: int = 32
    times: int = 1
    sampling: Sampling = PAPER_SAMPLING
    cap: int = 10
    start: Literal["base", "last"] = "base"
    source: Literal["self", "human", "teacher"] = "self"
    distinct: Literal["text", "equations"] = "text"
    with_human: bool = False
    hint: str = ""

    @property
    def all_samples(self) -> int:
        """Samples of each problem in an E-step."""
        return self.samples * self.times

    def __post_init__(self) -> None:
        for name, least in (("iterations", 1), ("samples", 1), ("times", 1), ("cap", 0)):
            if getattr(self, name) < least:
                raise UserError(f"Variant.{name} of {self.name} is {getattr(self, name)!r}", f"give {least} or more")
        choices = {
            "start": ("base", "last"),
            "source": ("self", "human", "teacher"),
            "distinct": ("text", "equations"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise unknown(f"Variant.{name}", str(getattr(self, name)), allowed)
        if self.source != "self" and self.iterations != 1:
            raise UserError(
                f"Variant {self.name} has {self.iterations} iterations over {self.source} solutions", "give it 1"
            )


@dataclass(frozen=True)
class Size:
    """A model size: its name, and the network (its vocabulary is set to the codec's)."""

    name: str
    model: LMConfig


@dataclass(frozen=True)
class Settings:
    """What gin files choose.

    Attributes:
        families: embedded families whose problems the loop trains on.
        data: split to "FORMAT:PATH" of released files (`beam_jobs.rest_em.datasets`), instead of embedded problems:
            "train" and "test", and where there are any "base" (solved problems that the base is trained on; else half
            of train's, which the loop then does not sample), "validation" (else 1 in 10 of train's) and any others,
            which are held-out sets.
        prompt_file: file whose text stands before every prompt, such as worked examples; "" for none.
        levels: of the embedded problems.
        base_problems: embedded problems of each of them, whose solutions the base is trained on.
        other_problems: likewise of each other family, so that the base knows of more than the loop's task.
        train_problems: others, that the loop samples.
        validation_problems: for the held-out reward.
        test_problems: in each set that is measured.
        codec: the file of a codec, or a word; "" trains a SentencePiece model on the base's text.
        vocab_size: of that SentencePiece model.
        base: file of a trained model to start from (needs `codec`); "" trains one.
        sizes: the models, the smallest first.
        base_tuning: the base's training.
        tuning: of each M-step.
        variants: the loops; the first is the one that the others are compared with.
        seeds: of parameters, rows, samples and the choice among them; all seeds share the problems.
        new_tokens: the most of a solution.
        eval_samples: of each test problem, for pass@k and majority votes, of the base and of each variant's last model.
        eval_iterations: whether each iteration's model is measured, or only the last.
    """

    families: Sequence[str] = ("arithmetic",)
    data: Mapping[str, str] = field(default_factory=dict)
    prompt_file: str = ""
    levels: Sequence[int] = (1, 2, 3)
    base_problems: int = 1500
    other_problems: int = 500
    train_problems: int = 800
    validation_problems: int = 100
    test_problems: int = 300
    codec: str = ""
    vocab_size: int = 512
    base: str = ""
    sizes: Sequence[Size] = (Size("small", LMConfig()),)
    base_tuning: Tuning = field(default_factory=Tuning)
    tuning: Tuning = field(default_factory=Tuning)
    variants: Sequence[Variant] = (Variant(),)
    seeds: Sequence[int] = (0,)
    new_tokens: int = 64
    eval_samples: int = 16
    eval_iterations: bool = True

    def __post_init__(self) -> None:
        for name in ("sizes", "variants", "seeds"):
            if not getattr(self, name):
                raise UserError(f"rest_em.Settings.{name} is empty", "give at least one")
        for family in self.families:
            if family not in FAMILIES:
                raise unknown("family", family, FAMILIES)
        for name in ("sizes", "variants"):
            names = [one.name for one in getattr(self, name)]
            if len(set(names)) < len(names):
                raise UserError(f"rest_em.Settings.{name} names one twice: {', '.join(names)}", "name each once")
        counts = ("base_problems", "other_problems", "train_problems", "validation_problems", "test_problems")
        for name in (*counts, "new_tokens", "eval_samples"):
            if not getattr(self, name) > 0:
                raise UserError(f"rest_em.Settings.{name} is {getattr(self, name)!r}", "give a number above 0")
        if self.data and not {"train", "test"} <= set(self.data):
            raise UserError(f"rest_em.Settings.data has only {', '.join(self.data)}", "name files of train and test")
        if "programs" in self.families and not self.data and any(variant.hint for variant in self.variants):
            raise UserError("a hint tells the answer, and the family programs has none", "leave that variant out")
        if len(self.sizes) == 1 and any(variant.source == "teacher" for variant in self.variants):
            raise UserError("a teacher is the largest of several sizes, and there is one", "leave that variant out")
        if self.base and not self.codec:
            raise UserError("rest_em.Settings.base is set, but no codec", "give the codec that its ids are made with")
