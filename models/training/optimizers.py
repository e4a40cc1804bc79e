"""Optimizers by name, with the learning rate schedules of T5X."""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from shammie.errors import UserError, unknown

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
        name: "adamw" or "adafactor".
        learning_rate: the schedule's base.
        factors: names joined by "*" whose product is the schedule, as T5X's create_learning_rate_scheduler has them.
        warmup_steps: of the linear warm-up, and where the decays begin.
        steps_per_cycle: of a cosine; None: one half wave from the warm-up's end to the run's.
        decay_factor: of linear_decay (its slope) and decay_every (its factor).
        steps_per_decay: of decay_every.
        min_learning_rate: the schedule's floor.
        b1: Adam's first decay.
        b2: Adam's second decay.
        weight_decay: decoupled, times the learning rate.
        clip_norm: gradients longer than this are shortened to it; 0 leaves them.
    """

    name: Literal["adamw", "adafactor"] = "adamw"
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

    def __post_init__(self) -> None:
        if self.name not in ("adamw", "adafactor"):
            raise unknown("optimizer", self.name, ("adamw", "adafactor"))
        if not 0 < self.learning_rate < float("inf"):
            raise UserError(f"OptimizerConfig.learning_rate is {self.learning_rate!r}", "give a number above 0")
        if self.warmup_steps < 1:
            raise UserError(f"OptimizerConfig.warmup_steps is {self.warmup_steps!r}", "give 1 or more")
        for factor in factor_names(self):
            if factor not in FACTORS:
                raise unknown("learning rate factor", factor, FACTORS)


def depends_on_length(config: OptimizerConfig) -> bool:
    """Whether the schedule is fitted to the run's length, so that another length is another run."""
    return "cosine_decay" in factor_names(config) and config.steps_per_cycle is None


def factor_names(config: OptimizerConfig) -> list[str]:
    """The schedule's factors, in order."""
    return [factor.strip() for factor in config.factors.split("*")]


def schedule_of(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """The learning rate of each step: the product of the factors, at least the floor.

    Args:
        config: names and numbers.
        steps: the run's length, which a cosine without its own cycle is fitted to.

    Returns:
        step (int []) -> learning rate, float32 [].
    """
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


def optimizer_of(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """The Optax transformation: clipping, then the optimizer under its schedule.

    Adafactor (arXiv:1804.04235) is T5X's under its standard rules: steps are scaled by the parameters' size, and the
    second moments of matrices with at least 128 rows and columns are factored, attention's kernels being matrices too.
    """
    schedule = schedule_of(config, steps)
    if config.name == "adafactor":
        # Optax's own decay comes after the learning rate: it would shrink parameters by the same share at any rate
        decay = optax.add_decayed_weights(-config.weight_decay)
        chosen = optax.chain(on_matrices(optax.adafactor(None)), decay, optax.scale_by_schedule(schedule))
    else:
        chosen = optax.adamw(schedule, b1=config.b1, b2=config.b2, weight_decay=config.weight_decay)
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), chosen) if config.clip_norm else chosen


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
