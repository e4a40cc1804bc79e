"""What gin files choose of `parameterization`: sizes, the grids that are trained, and what is looked into."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models.parameterization import ALIGNMENTS, PARAMETERIZATIONS, exponents
from models.parameterization.grid import Shape, Training
from models.parameterization.scaling import ParameterizationConfig
from models.parameterization.text import text_digest
from shammie.errors import UserError, unknown

GLOBAL = "global"
VARIANTS = (*ALIGNMENTS, GLOBAL)


def _check_names(parameterizations: Sequence[str], variants: Sequence[str]) -> None:
    for kind, given, known in (
        ("parameterization", parameterizations, PARAMETERIZATIONS),
        ("variant", variants, VARIANTS),
    ):
        if not given:
            raise UserError(f"no {kind} is named", f"give some of {', '.join(known)}")
        for name in given:
            if name not in known:
                raise unknown(kind, name, known)


@dataclass(frozen=True)
class Sizes:
    """A model at several widths.

    Attributes:
        model: "mlp" or "lm".
        widths: n, rising; learning rates are scaled from the first, where all parameterizations are the same network.
        layers: hidden matrices of an MLP, blocks of a decoder.
        context: symbols that an MLP reads, or a decoder's length.
        head_width: of a decoder's heads; its widths are multiples of it.
        symbols: V.
        batch: examples or rows of a step.
        eps: Adam's.
    """

    model: str = "mlp"
    widths: Sequence[int] = (32, 64, 128, 256)
    layers: int = 2
    context: int = 3
    head_width: int = 16
    symbols: int = 32
    batch: int = 16
    eps: float = 1e-8

    def __post_init__(self) -> None:
        if not self.widths or list(self.widths) != sorted({*self.widths}):
            raise UserError(f"widths are {list(self.widths)!r}", "give rising ones")
        for width in self.widths:
            self.shape(width, "sgd", steps=1)

    def shape(self, width: int, optimizer: str, **more: Any) -> Shape:
        """The shape of a width."""
        names = ("model", "layers", "context", "head_width", "symbols", "batch", "eps")
        return Shape(width=width, optimizer=optimizer, **{name: getattr(self, name) for name in names}, **more)

    def parameterization(self, name: str, optimizer: str, variant: str) -> ParameterizationConfig:
        """A parameterization with its rates.

        Args:
            name: one of PARAMETERIZATIONS.
            optimizer: one of OPTIMIZERS, or one that scales as they do.
            variant: "full" or "none", the alignment that rates of each layer are for; "global", one rate for all.
        """
        alignment = "full" if variant == GLOBAL else variant
        return ParameterizationConfig(name, optimizer, alignment, self.widths[0], per_layer=variant != GLOBAL)


@dataclass(frozen=True)
class Sweep:
    """A grid of trainings with one optimizer.

    Attributes:
        name: one word.
        sizes: the models.
        optimizer: one of OPTIMIZERS, or one that scales as they do.
        parameterizations: some of PARAMETERIZATIONS.
        variants: some of "full", "none", "global".
        log2_learning_rates: at the first width.
        steps: of each training.
        warmup_steps: of them, before half a cosine to 0.
        seeds: of first values and batches.
    """

    name: str = "mlp_adam"
    sizes: Sizes = field(default_factory=Sizes)
    optimizer: str = "adam"
    parameterizations: Sequence[str] = PARAMETERIZATIONS
    variants: Sequence[str] = VARIANTS
    log2_learning_rates: Sequence[float] = tuple(range(-13, -1))
    steps: int = 1000
    warmup_steps: int = 50
    seeds: Sequence[int] = (0,)

    def __post_init__(self) -> None:
        _check_names(self.parameterizations, self.variants)
        for name in ("log2_learning_rates", "seeds"):
            if not getattr(self, name):
                raise UserError(f"Sweep.{name} of {self.name} is empty", "give at least one")
        if list(self.log2_learning_rates) != sorted({*self.log2_learning_rates}):
            raise UserError(f"Sweep.log2_learning_rates of {self.name} do not rise", "give each once, the lowest first")
        exponents("standard", self.optimizer)
        self.sizes.shape(self.sizes.widths[0], self.optimizer, steps=self.steps, warmup_steps=self.warmup_steps)

    def training(self, parameterization: str, variant: str, width: int, log2_rate: float, seed: int) -> dict[str, Any]:
        """A cell's config.

        At the first width all parameterizations and variants are the same network with the same rates, so their cells
        are one.
        """
        if width == self.sizes.widths[0]:
            parameterization, variant = "standard", "full"
        shape = self.sizes.shape(width, self.optimizer, steps=self.steps, warmup_steps=self.warmup_steps)
        scaled = self.sizes.parameterization(parameterization, self.optimizer, variant)
        return Training(shape, scaled, float(log2_rate), seed, text_digest()).to_json()

    def places(self) -> Iterator[tuple[str, str, int]]:
        """Every parameterization, variant and width; those of the first width as often as they are asked for."""
        for parameterization in self.parameterizations:
            for variant in self.variants:
                for width in self.sizes.widths:
                    yield parameterization, variant, width

    def configs(self) -> list[dict[str, Any]]:
        """Every cell's config; a column of learning rates and seeds after the other."""
        return [
            self.training(*place, rate, seed)
            for place in self.places()
            for seed in self.seeds
            for rate in self.log2_learning_rates
        ]


@dataclass(frozen=True)
class Look:
    """Trainings that are looked into: the coordinate check, alignment over time, and what epsilon swallows.

    Attributes:
        name: one word.
        sizes: the models.
        log2_learning_rates: by optimizer, at the first width; the rate is constant.
        parameterizations: some of PARAMETERIZATIONS.
        variants: some of "full", "none", "global".
        at_steps: after how many steps to look; the first is the coordinate check's.
        seeds: of first values and batches.
    """

    name: str = "mlp"
    sizes: Sizes = field(default_factory=Sizes)
    log2_learning_rates: Mapping[str, float] = field(default_factory=lambda: {"adam": -8.0})
    parameterizations: Sequence[str] = PARAMETERIZATIONS
    variants: Sequence[str] = ALIGNMENTS
    at_steps: Sequence[int] = (1, 4, 16, 64, 256)
    seeds: Sequence[int] = (0,)

    def __post_init__(self) -> None:
        _check_names(self.parameterizations, self.variants)
        if not self.log2_learning_rates or not self.seeds:
            raise UserError(f"Look {self.name} has no learning rates or no seeds", "give at least one of each")
        for optimizer in self.log2_learning_rates:
            exponents("standard", optimizer)

    def config(self, optimizer: str, parameterization: str, variant: str, width: int, seed: int) -> dict[str, Any]:
        """A cell's config."""
        shape = self.sizes.shape(width, optimizer, steps=self.at_steps[-1], warmup_steps=1, schedule="constant")
        scaled = self.sizes.parameterization(parameterization, optimizer, variant)
        rate = float(self.log2_learning_rates[optimizer])
        training = Training(shape, scaled, rate, seed, text_digest())
        return {**training.to_json(), "at_steps": list(self.at_steps)}

    def configs(self) -> list[dict[str, Any]]:
        """Every cell's config."""
        return [
            self.config(optimizer, parameterization, variant, width, seed)
            for optimizer in self.log2_learning_rates
            for width in self.sizes.widths
            for parameterization in self.parameterizations
            for variant in self.variants
            for seed in self.seeds
        ]


@dataclass(frozen=True)
class Settings:
    """What gin files choose.

    Attributes:
        sweeps: grids of trainings.
        looks: trainings that are looked into.
        max_bad_share: the share of cells that may fail.
    """

    sweeps: Sequence[Sweep] = (Sweep(),)
    looks: Sequence[Look] = ()
    max_bad_share: float = 0.0

    def __post_init__(self) -> None:
        if not self.sweeps:
            raise UserError("parameterization.Settings.sweeps is empty", "give at least one")
        for kind, several in (("sweeps", self.sweeps), ("looks", self.looks)):
            names = [one.name for one in several]
            if len({*names}) < len(names):
                raise UserError(
                    f"parameterization.Settings.{kind} names one twice: {', '.join(names)}", "name each once"
                )
