"""Optimizers by name, with the learning rate schedules of T5X."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
import optax

from models.training.adam_atan2 import A, B, scale_by_adam_atan2
from models.training.averaging import average_of_parameters
from models.training.learned import LEARNED, learned
from models.training.scaled import with_scales
from shammie.configs import LATER
from shammie.errors import UserError, unknown

if TYPE_CHECKING:
    from models.parameterization.scaling import Scales

NAMES = ("adamw", "adafactor", "sgd", "adam", "adam_atan2", *LEARNED)
FACTORS = (
    "constant",
    "linear_warmup",
    "linear_decay",
    "rsqrt_decay",
    "rsqrt_normalized_decay",
    "decay_every",
    "cosine_decay",
)


@dataclass(frozen=True)
class OptimizerConfig:
    """An optimizer and its schedule.

    Attributes:
        name: "adamw", "adafactor", "sgd", "adam", "adam_atan2" (`adam_atan2.scale_by_adam_atan2`), or a learned one,
            "velo" or "star" (`learned.learned`), which decides its steps by itself: of what follows it takes `weights`.
        learning_rate: the schedule's base.
        factors: names joined by "*" whose product is the schedule, as T5X's create_learning_rate_scheduler has them.
        warmup_steps: of the linear warm-up, and where the decays begin.
        steps_per_cycle: of a cosine; None: one half wave from the warm-up's end to the run's.
        decay_factor: of linear_decay (its slope) and decay_every (its factor).
        steps_per_decay: of decay_every.
        min_learning_rate: the schedule's floor.
        b1: Adam's first decay.
        b2: Adam's second decay.
        weight_decay: decoupled, times the learning rate; "adam" has none, which is all that tells it from "adamw".
        clip_norm: gradients longer than this are shortened to it; 0 leaves them.
        eps: Adam's, added to the root of the second moment; at 0 a parameter whose second moment is 0 (gradients below
            1e-19 square to 0 in float32) stays. (Adafactor's is 1e-30, added to the squared gradients.)
        atan2_a: Adam-atan2's first constant.
        atan2_b: its second.
        momentum: of "sgd", the decay of a sum of gradients; 0 for none.
        parameter_scale: whether Adafactor's steps are times the root mean square of what they change, at least 1e-3.
        factor_from: rows and columns from which Adafactor factors a matrix's second moments.
        weights: the file of a learned optimizer's meta-trained weights; None: STAR's own, that ship here.
        average: the decay of an average of the parameters, kept beside them (`averaging.averaged`), by which a run is
            evaluated; 0 for none.
    """

    name: Literal["adamw", "adafactor", "sgd", "adam", "adam_atan2", "velo", "star"] = "adamw"
    learning_rate: float = 1e-3
    factors: str = "constant * linear_warmup * cosine_decay"
    warmup_steps: int = 100
    steps_per_cycle: int | None = None
    decay_factor: float = 0.5
    steps_per_decay: int = 20000
    min_learning_rate: float = 1e-8
    b1: float = 0.9
    b2: float = 0.98
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    eps: float = field(default=1e-8, metadata=LATER)
    atan2_a: float = field(default=A, metadata=LATER)
    atan2_b: float = field(default=B, metadata=LATER)
    momentum: float = field(default=0.0, metadata=LATER)
    parameter_scale: bool = field(default=True, metadata=LATER)
    factor_from: int = field(default=128, metadata=LATER)
    weights: str | None = field(default=None, metadata=LATER)
    average: float = field(default=0.0, metadata=LATER)

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise unknown("optimizer", self.name, NAMES)
        if self.weights is not None and self.name not in LEARNED:
            raise UserError(
                f"OptimizerConfig.weights is {self.weights!r}, but {self.name!r} is not learned",
                f"leave weights out, or set name to one of {', '.join(LEARNED)}",
            )
        if not 0 < self.learning_rate < float("inf"):
            raise UserError(f"OptimizerConfig.learning_rate is {self.learning_rate!r}", "give a number above 0")
        if self.warmup_steps < 1:
            raise UserError(f"OptimizerConfig.warmup_steps is {self.warmup_steps!r}", "give 1 or more")
        if not 0 <= self.eps < math.inf:
            raise UserError(f"OptimizerConfig.eps is {self.eps!r}", "give 0 or a small number such as 1e-8")
        if self.factor_from < 1:
            raise UserError(f"OptimizerConfig.factor_from is {self.factor_from!r}", "give 1 or more, such as 128")
        if not 0 <= self.average < 1:
            raise UserError(f"OptimizerConfig.average is {self.average!r}", "give 0 or a number below 1, such as 0.999")
        if not 0 <= self.momentum < 1:
            raise UserError(f"OptimizerConfig.momentum is {self.momentum!r}", "give 0 or a number below 1, such as 0.9")
        for name in ("atan2_a", "atan2_b"):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"OptimizerConfig.{name} is {getattr(self, name)!r}", "give a number above 0")
        for factor in factor_names(self):
            if factor not in FACTORS:
                raise unknown("learning rate factor", factor, FACTORS)


def exponents_name(config: OptimizerConfig) -> Literal["sgd", "adam", "adafactor"]:
    """Whose learning rate exponents an optimizer has under a parameterization.

    Steps of Adam, in any form, and of Adafactor without parameter scaling do not depend on the gradient's size.

    Raises:
        UserError: it is a learned one, whose steps no learning rate scales.
    """
    if config.name in LEARNED:
        raise UserError(f"{config.name} has no learning rate to scale with the width", "leave the parameterization out")
    if config.name == "sgd":
        return "sgd"
    return "adafactor" if config.name == "adafactor" and config.parameter_scale else "adam"


def depends_on_length(config: OptimizerConfig) -> bool:
    """Whether the run is planned by its length, so that another length is another run: VeLO's is."""
    if config.name in LEARNED:
        return config.name == "velo"
    return "cosine_decay" in factor_names(config) and config.steps_per_cycle is None


def factor_names(config: OptimizerConfig) -> list[str]:
    """The schedule's factors, in order."""
    return [factor.strip() for factor in config.factors.split("*")]


def schedule_of(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """The learning rate of each step: the product of the factors, at least the floor; of a learned optimizer always 1.

    Args:
        config: names and numbers.
        steps: the run's length, which a cosine without its own cycle is fitted to.

    Returns:
        step (int []) -> learning rate, float32 [].
    """
    if config.name in LEARNED:
        return optax.constant_schedule(1.0)
    base, warmup = config.learning_rate, config.warmup_steps
    cycle = config.steps_per_cycle or max(1, steps - warmup)

    def schedule(step: jax.typing.ArrayLike) -> jax.Array:
        step = jnp.asarray(step)
        later = jnp.maximum(step, warmup)
        factor = {
            "constant": lambda: base,
            "linear_warmup": lambda: jnp.minimum(1.0, step / warmup),
            "linear_decay": lambda: base * jnp.minimum(step / warmup, 1.0 + config.decay_factor * (warmup - step)),
            "rsqrt_decay": lambda: later**-0.5,
            "rsqrt_normalized_decay": lambda: (later / warmup) ** -0.5,
            "decay_every": lambda: config.decay_factor ** (step // config.steps_per_decay),
            "cosine_decay": lambda: 0.5 * (1.0 + jnp.cos(jnp.pi * ((later - warmup) / cycle % 1.0))),
        }
        rate = jnp.ones((), jnp.float32)
        for name in factor_names(config):
            rate = rate * factor[name]()
        return jnp.maximum(rate, config.min_learning_rate).astype(jnp.float32)

    return schedule


def optimizer_of(config: OptimizerConfig, steps: int, scales: "Scales | None" = None) -> optax.GradientTransformation:
    """The Optax transformation: clipping, then the optimizer under its schedule; or a learned optimizer, alone.

    With `average` the parameters' average comes last, and nothing else changes.

    A learned one wants `update(..., value=loss)`; `step.train_step` and T5X's LossTrainer tell it.

    Adafactor (arXiv:1804.04235) is T5X's under its standard rules: steps are scaled by the parameters' size, and the
    second moments of matrices with at least `factor_from` rows and columns are factored, attention's kernels being
    matrices too.

    Clipping looks at all gradients together. To SGD, whose steps are as long as its gradients, it is a learning rate of
    its own, that grows with the width as gradients fall: leave it out there, `clip_norm=0`, under a parameterization.

    Args:
        config: names and numbers.
        steps: the run's length.
        scales: each parameter's share of the learning rate, its weight decay with it, and of epsilon
            (`models.parameterization.scaling.scales_of`); the state has the same structure with and without.

    Returns:
        The transformation; its update takes the parameters too.

    Raises:
        UserError: a learned optimizer's weights cannot be had, or it is given scales.
    """
    chosen = _without_average(config, steps, scales)
    return optax.chain(chosen, average_of_parameters(config.average)) if config.average else chosen


def _without_average(config: OptimizerConfig, steps: int, scales: "Scales | None") -> optax.GradientTransformation:
    if config.name in LEARNED:
        if scales is not None:
            exponents_name(config)
        return learned(config.name, config.weights, steps)
    chosen = optax.chain(*_direction(config), _rate(config, schedule_of(config, steps)))
    if scales is not None:
        has_epsilon = config.name in ("adam", "adamw", "adafactor")
        chosen = with_scales(
            chosen, learning_rate=scales.learning_rate, epsilon=scales.epsilon if has_epsilon else None
        )
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), chosen) if config.clip_norm else chosen


def _direction(config: OptimizerConfig) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """Where to go before the learning rate, and the weight decay; of Adafactor both are below 0, as in Optax."""
    decay = config.weight_decay
    if config.name == "adafactor":
        # Optax's own decay comes after the learning rate: it would shrink parameters by the same share at any rate
        inner = optax.adafactor(
            None, multiply_by_parameter_scale=config.parameter_scale, min_dim_size_to_factor=config.factor_from
        )
        return on_matrices(inner), optax.add_decayed_weights(-decay)
    if config.name == "sgd":
        inner = optax.trace(config.momentum) if config.momentum else optax.identity()
    elif config.name == "adam_atan2":
        inner = scale_by_adam_atan2(config.b1, config.b2, a=config.atan2_a, b=config.atan2_b)
    else:
        inner = optax.scale_by_adam(config.b1, config.b2, config.eps)
        inner = inner if config.eps else _still_without_gradient(inner)
    return inner, optax.add_decayed_weights(0.0 if config.name == "adam" else decay)


def _still_without_gradient(adam: optax.GradientTransformation) -> optax.GradientTransformation:
    """Adam with an epsilon of 0, under which a parameter whose second moment is 0 stays, instead of moving by m / 0."""

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        updates, state = adam.update(updates, state, params)
        return jax.tree.map(lambda u, v: jnp.where(v == 0, jnp.zeros_like(u), u), updates, state.nu), state

    return optax.GradientTransformation(adam.init, update)


def _rate(config: OptimizerConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    return optax.scale_by_schedule(schedule) if config.name == "adafactor" else optax.scale_by_learning_rate(schedule)


def on_matrices(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """A transformation that sees arrays of three axes, attention's kernels, as matrices.

    Two neighbouring axes become one, so that the matrix is as near to a square as may be: [D, H, K] becomes
    [D, H K], and [H, K, D] becomes [H K, D], which are the rows and columns of T5X's Adafactor.
    """

    def matrix(x: jax.Array) -> jax.Array:
        if x.ndim != 3:
            return x
        a, b, c = x.shape
        wide, tall = (a, b * c), (a * b, c)
        return x.reshape(min(wide, tall, key=lambda shape: max(shape) / min(shape)))

    def matrices(tree: Any) -> Any:
        return None if tree is None else jax.tree.map(matrix, tree)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        changed, state = inner.update(matrices(updates), state, matrices(params))
        return jax.tree.map(lambda x, like: x.reshape(like.shape), changed, updates), state

    return optax.GradientTransformation(lambda params: inner.init(matrices(params)), update)
