"""Grids of small trainings: what one cell is, and what of it decides a compiled program.

Everything that a grid varies but does not change shapes, learning rate, seed and all that a parameterization says, is
data of one compiled program (`models.parameterization.group_training`): a width and an optimizer are compiled once for
all parameterizations. T = steps, B = batch.
"""

import functools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.lm import DecoderLM
from models.parameterization.byte_mlp import ByteMLP, ByteMLPConfig, byte_mlp_roles
from models.parameterization.language_model import lm_of_width, lm_own_exponents, lm_roles
from models.parameterization.scaling import ParameterizationConfig, Scales, scales_of
from models.parameterization.text import SYMBOLS
from models.training import OptimizerConfig
from shammie.errors import UserError, unknown

MODELS = ("mlp", "lm")
LANES = (24, 12, 8, 4)
CACHE_BYTES = 800_000  # what the parameters of all lanes may take, with gradients and moments: most of a core's L2


@dataclass(frozen=True)
class Shape:
    """What decides a compiled program.

    Attributes:
        model: "mlp" (`byte_mlp.ByteMLP`) or "lm" (the shared decoder).
        width: n.
        layers: hidden matrices of an MLP, blocks of a decoder.
        context: symbols that an MLP reads; length of a decoder's rows.
        head_width: of a decoder's heads; an MLP has none.
        symbols: V; at least the text's.
        batch: examples, or rows, of a step.
        steps: T.
        warmup_steps: of the linear warm-up, before half a cosine to 0.
        schedule: factors of OptimizerConfig; "constant" has no warm-up, whose first step is 0.
        optimizer: a name that OptimizerConfig and the exponents know.
        eps: Adam's.
    """

    model: str = "mlp"
    width: int = 64
    layers: int = 2
    context: int = 3
    head_width: int = 16
    symbols: int = SYMBOLS
    batch: int = 16
    steps: int = 1000
    warmup_steps: int = 50
    schedule: str = "constant * linear_warmup * cosine_decay"
    optimizer: str = "adam"
    eps: float = 1e-8

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise unknown("model", self.model, MODELS)
        for name in ("width", "layers", "context", "head_width", "batch", "steps", "warmup_steps"):
            if getattr(self, name) < 1:
                raise UserError(f"a training's {name} is {getattr(self, name)!r}", "give at least 1")
        if self.symbols < SYMBOLS:
            raise UserError(f"a training's symbols are {self.symbols}", f"give at least the text's {SYMBOLS}")
        self.optimizer_config(self.schedule)
        self.network()

    def network(self) -> nn.Module:
        """The plain network.

        Raises:
            UserError: a decoder's width is not a multiple of its head width.
        """
        if self.model == "mlp":
            return ByteMLP(ByteMLPConfig(self.symbols, self.context, self.width, self.layers))
        return DecoderLM(self._lm_config())

    def _lm_config(self) -> Any:
        return lm_of_width(
            self.width, self.head_width, layers=self.layers, vocab_size=self.symbols, max_distance=self.context
        )

    def optimizer_config(self, schedule: str = "constant") -> OptimizerConfig:
        """Its optimizer at learning rate 1, without weight decay or clipping, under a schedule of one's own."""
        return OptimizerConfig(
            name=self.optimizer,  # pyright: ignore[reportArgumentType]
            learning_rate=1.0,
            factors=schedule,
            warmup_steps=self.warmup_steps,
            min_learning_rate=0.0,
            weight_decay=0.0,
            clip_norm=0.0,
            eps=self.eps,
            factor_from=1,  # or Adafactor would be another optimizer at widths below 128 than above
        )

    def without_training(self) -> "Shape":
        """The same network with settings that first values and scales do not depend on."""
        return replace(self, optimizer="sgd", eps=0.0, steps=1, batch=1, warmup_steps=1, schedule="constant")

    def roles(self) -> tuple[Any, Any]:
        """The roles of its parameters, and how their own first values shrink with the width (None: by fan-in)."""
        if self.model == "mlp":
            return byte_mlp_roles(ByteMLPConfig(self.symbols, self.context, self.width, self.layers)), None
        roles = lm_roles(self._lm_config())
        return roles, lm_own_exponents(roles)

    def parameters(self) -> int:
        """How many parameters the network has."""
        if self.model == "mlp":
            return self.width * (self.symbols * (self.context + 1) + self.layers * self.width)
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(_shapes(self)))

    def lanes(self) -> int:
        """How many cells to train at a time, so that they stay in a core's cache."""
        each = 16 * self.parameters()
        return next((lanes for lanes in LANES if lanes * each <= CACHE_BYTES), LANES[-1])


@dataclass(frozen=True)
class Training:
    """One training, a cell of a grid.

    Attributes:
        shape: sizes.
        parameterization: which, with the optimizer and alignment that its rates are for.
        log2_learning_rate: log2 of the learning rate at the base width.
        seed: of first values and batches.
        text: `models.parameterization.text.text_digest`.
    """

    shape: Shape
    parameterization: ParameterizationConfig
    log2_learning_rate: float
    seed: int
    text: str

    def __post_init__(self) -> None:
        if self.parameterization.optimizer != self.shape.optimizer:
            raise UserError(
                f"rates are for {self.parameterization.optimizer!r}, and the optimizer is {self.shape.optimizer!r}",
                "name one optimizer",
            )

    def to_json(self) -> dict[str, Any]:
        """All of it as plain JSON, flat."""
        parameterization = asdict(self.parameterization)
        for name in ("optimizer", "readout_first"):
            del parameterization[name]
        parameterization["parameterization"] = parameterization.pop("name")
        parameterization["rates"] = list(parameterization["rates"])
        own = {"log2_learning_rate": self.log2_learning_rate, "seed": self.seed, "text": self.text}
        return {**asdict(self.shape), **parameterization, **own}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Training":
        """The training that `to_json` told; settings that are not its own are left alone."""
        shape = Shape(**{one.name: values[one.name] for one in fields(Shape)})
        parameterization = ParameterizationConfig(
            name=values["parameterization"],
            optimizer=values["optimizer"],
            alignment=values["alignment"],
            base_width=values["base_width"],
            per_layer=values["per_layer"],
            epsilon=values["epsilon"],
            rates=values["rates"],
        )
        return cls(shape, parameterization, values["log2_learning_rate"], values["seed"], values["text"])

    def scales(self) -> Scales:
        """What applies to each parameter."""
        return _scales(self.shape.without_training(), self.parameterization)


@functools.lru_cache(maxsize=64)
def _roles(shape: Shape) -> tuple[Any, Any]:
    return shape.roles()


@functools.lru_cache(maxsize=256)
def _scales(shape: Shape, parameterization: ParameterizationConfig) -> Scales:
    roles, own = _roles(shape)
    return scales_of(parameterization, roles, shape.width, own=own)


@functools.lru_cache(maxsize=64)
def _shapes(shape: Shape) -> Any:
    example = jax.ShapeDtypeStruct((1, shape.context), jnp.int32)
    found: Any = jax.eval_shape(shape.network().init, jax.random.key(0), example)
    return found["params"]
