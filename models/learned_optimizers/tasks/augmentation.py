"""Augmentations of tasks, with which VeLO was meta-trained to be robust (arXiv:2211.09760).

What a task becomes is chosen from a key before anything is compiled (`choose`), since it changes shapes; numbers that
do not, such as the scales of weights, are drawn for each training with the task's world.
"""

import functools
import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from models.learned_optimizers.tasks.gradients import delayed, evolution, in_subspace, log_uniform, unit_length
from models.learned_optimizers.tasks.task import Key, Task
from shammie.errors import UserError, unknown

Level = Literal["none", "global", "tensor", "parameter"]
LEVELS = ("none", "global", "tensor", "parameter")
PROBABILITIES = (
    "evolution_gradient",
    "reduced_batch",
    "bfloat16",
    "normalized_gradient",
    "subspace_gradient",
    "delayed_gradient",
)


@dataclass(frozen=True)
class AugmentationConfig:
    """Probabilities of augmentations, independent of each other, and ranges; the defaults are VeLO's.

    Attributes:
        scale_levels: levels of reparametrised weights, one of which is taken: the same scale for all weights
            ("global"), one for each tensor or each parameter, or "none". Naming one twice makes it twice as likely.
        scale_ranges: bounds of scales, one of which is taken; scales are log-uniform in it.
        evolution_gradient: probability of gradients by evolution strategies.
        evolution_std: bounds of their perturbations' standard deviation, log-uniform.
        evolution_pairs: numbers of antithetic pairs, one of which is taken.
        reduced_batch: probability of smaller batches.
        batch_share: bounds of what is left of a batch, uniform; at least one example is.
        bfloat16: probability of bfloat16 parameters, gradients and data.
        normalized_gradient: probability of gradients of length 1.
        subspace_gradient: probability of gradients in a random subspace.
        subspace_directions: bounds of its dimensions, log-uniform.
        subspace_sign: given a subspace, the probability that only the signs of coordinates count.
        delayed_gradient: probability of gradients from some steps ago.
        delay_steps: bounds of how many, log-uniform.
    """

    scale_levels: tuple[Level, ...] = ("none", "none", "global", "global", "tensor", "tensor", "parameter")
    scale_ranges: tuple[tuple[float, float], ...] = ((1e-3, 1e3), (1e-2, 1e2), (0.1, 10.0))
    evolution_gradient: float = 0.08
    evolution_std: tuple[float, float] = (1e-3, 0.1)
    evolution_pairs: tuple[int, ...] = (1, 2, 4, 8, 16)
    reduced_batch: float = 0.2
    batch_share: tuple[float, float] = (0.01, 1.0)
    bfloat16: float = 0.2
    normalized_gradient: float = 0.05
    subspace_gradient: float = 0.08
    subspace_directions: tuple[int, int] = (1, 1024)
    subspace_sign: float = 0.5
    delayed_gradient: float = 0.05
    delay_steps: tuple[int, int] = (1, 8)

    def __post_init__(self) -> None:
        for name in (*PROBABILITIES, "subspace_sign"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"AugmentationConfig.{name} is {getattr(self, name)}", "give a probability")
        for level in self.scale_levels:
            if level not in LEVELS:
                raise unknown("level", level, LEVELS)
        for name in ("scale_levels", "scale_ranges", "evolution_pairs"):
            if not getattr(self, name):
                raise UserError(f"AugmentationConfig.{name} is empty", "give at least one to take")
        ranges = [(name, getattr(self, name)) for name in ("evolution_std", "subspace_directions", "delay_steps")]
        for name, bounds in [*ranges, *(("scale_ranges", one) for one in self.scale_ranges)]:
            if not 0 < bounds[0] <= bounds[1] < math.inf:
                raise UserError(f"AugmentationConfig.{name}: {bounds}", "give two numbers above 0, the smaller first")
        if not 0 <= self.batch_share[0] <= self.batch_share[1] <= 1:
            raise UserError(f"AugmentationConfig.batch_share is {self.batch_share}", "give two numbers from 0 to 1")


NO_AUGMENTATION = AugmentationConfig(("none",), **dict.fromkeys(PROBABILITIES, 0.0))


@dataclass(frozen=True)
class Augmentation:
    """What was chosen for a task; the defaults leave it as it is.

    Attributes:
        scale_level: whose scales reparametrised weights have.
        scale_range: bounds of scales.
        evolution_pairs: antithetic pairs of gradients by evolution strategies; 0: gradients are exact.
        evolution_std: bounds of their standard deviation.
        batch_share: what is left of a batch.
        bfloat16: whether parameters, gradients and data are bfloat16.
        normalized_gradient: whether gradients have length 1.
        subspace_directions: dimensions of a random subspace; 0: the whole space.
        subspace_sign: whether only the signs of coordinates in it count.
        delay_steps: how old gradients are.
    """

    scale_level: Level = "none"
    scale_range: tuple[float, float] = (1.0, 1.0)
    evolution_pairs: int = 0
    evolution_std: tuple[float, float] = (0.01, 0.01)
    batch_share: float = 1.0
    bfloat16: bool = False
    normalized_gradient: bool = False
    subspace_directions: int = 0
    subspace_sign: bool = False
    delay_steps: int = 0


def choose(config: AugmentationConfig, key: Key) -> Augmentation:
    """What a task becomes. Each augmentation has random numbers of its own: one's probability does not move others."""
    uniform = iter(np.asarray(jax.random.uniform(key, (14,)), np.float64).tolist())

    def one_of(values: tuple[Any, ...]) -> Any:
        return values[int(next(uniform) * len(values))]

    def happens(probability: float) -> bool:
        return next(uniform) < probability

    def whole(bounds: tuple[int, int]) -> int:
        """A log-uniform whole number: the real one between low and high + 1, cut off."""
        low, high = bounds
        return min(high, int(low * ((high + 1) / low) ** next(uniform)))

    level, scale_range = one_of(config.scale_levels), one_of(config.scale_ranges)
    evolves, pairs = happens(config.evolution_gradient), one_of(config.evolution_pairs)
    reduces, share = happens(config.reduced_batch), next(uniform)
    low, high = config.batch_share
    bfloat16, normalizes = happens(config.bfloat16), happens(config.normalized_gradient)
    projects, directions = happens(config.subspace_gradient), whole(config.subspace_directions)
    sign = happens(config.subspace_sign)
    delays, steps = happens(config.delayed_gradient), whole(config.delay_steps)
    kept = Augmentation()
    return Augmentation(
        scale_level=level,
        scale_range=kept.scale_range if level == "none" else scale_range,
        evolution_pairs=pairs if evolves else 0,
        evolution_std=config.evolution_std if evolves else kept.evolution_std,
        batch_share=low + (high - low) * share if reduces else 1.0,
        bfloat16=bfloat16,
        normalized_gradient=normalizes,
        subspace_directions=directions if projects else 0,
        subspace_sign=projects and sign,
        delay_steps=steps if delays else 0,
    )


@functools.cache  # the same task again, so that what is compiled for it is compiled once
def augmented(task: Task, augmentation: Augmentation) -> Task:
    """The task with an augmentation. Gradients are normalised, then projected, then delayed."""
    a, rule = augmentation, task.gradients
    if a.scale_level != "none":
        task = reparametrized(task, a.scale_level, a.scale_range)
    if a.batch_share < 1:
        task = with_reduced_batch(task, a.batch_share)
    if a.bfloat16:
        task = in_bfloat16(task)
    named = []
    if a.evolution_pairs:
        rule = evolution(a.evolution_pairs, a.evolution_std)
        named.append(f"evolution_{a.evolution_pairs}")
    if a.normalized_gradient:
        rule = unit_length(rule)
        named.append("unit_length")
    if a.subspace_directions:
        rule = in_subspace(rule, a.subspace_directions, sign=a.subspace_sign)
        named.append(f"{'signs_' if a.subspace_sign else ''}subspace_{a.subspace_directions}")
    if a.delay_steps:
        rule = delayed(rule, a.delay_steps)
        named.append(f"delayed_{a.delay_steps}")
    return replace(task, gradients=rule, name="+".join([task.name, *named]))


def reparametrized(task: Task, level: Level, scale_range: tuple[float, float]) -> Task:
    """The task in weights w / s: its loss is that of w * s, its first weights are divided by s.

    The function that is trained stays the same, and so does its first loss; how it trains does not. Scales s belong to
    the world, which becomes (the task's world, scales).

    Args:
        task: which task.
        level: "global", "tensor" or "parameter": what has a scale of its own.
        scale_range: bounds of s, log-uniform.
    """
    if level not in LEVELS[1:]:
        raise unknown("level", level, LEVELS[1:])

    def draw(key: Key) -> Any:
        world_key, scale_key = jax.random.split(key)
        world = task.draw(world_key)
        leaves, structure = jax.tree.flatten(jax.eval_shape(task.init, world, world_key))
        shapes = [leaf.shape if level == "parameter" else () for leaf in leaves]
        if level == "global":
            scales = [log_uniform(scale_key, scale_range)] * len(leaves)
        else:
            keys = jax.random.split(scale_key, len(leaves))
            scales = [log_uniform(one, scale_range, shape) for one, shape in zip(keys, shapes, strict=True)]
        return world, jax.tree.unflatten(structure, scales)

    def init(world: Any, key: Key) -> Any:
        inner, scales = world
        return jax.tree.map(lambda w, s: (w / s).astype(w.dtype), task.init(inner, key), scales)

    def loss(world: Any, params: Any, batch: Any) -> jax.Array:
        inner, scales = world
        return task.loss(inner, jax.tree.map(lambda w, s: (w * s).astype(w.dtype), params, scales), batch)

    def batch(world: Any, key: Key) -> Any:
        return task.batch(world[0], key)

    return replace(task, name=f"{task.name}+scaled_by_{level}", draw=draw, init=init, batch=batch, loss=loss)


def with_reduced_batch(task: Task, share: float) -> Task:
    """The task with the first examples of each batch only.

    Args:
        task: which task.
        share: of the examples, which is rounded down, but at least one is left.
    """
    size = max(1, int(task.batch_size * share))

    def batch(world: Any, key: Key) -> Any:
        return jax.tree.map(lambda x: x[:size], task.batch(world, key))

    return replace(task, name=f"{task.name}+batch_{size}", batch=batch, batch_size=size)


def in_bfloat16(task: Task) -> Task:
    """The task with parameters, so gradients, and data in bfloat16; losses are float32.

    Networks that choose the type of their activations, as `models.lm` does, go on with it.
    """

    def narrow(x: jax.Array) -> jax.Array:
        return x.astype(jnp.bfloat16) if jnp.issubdtype(x.dtype, jnp.floating) else x

    def init(world: Any, key: Key) -> Any:
        return jax.tree.map(narrow, task.init(world, key))

    def batch(world: Any, key: Key) -> Any:
        return jax.tree.map(narrow, task.batch(world, key))

    def loss(world: Any, params: Any, batch: Any) -> jax.Array:
        return task.loss(world, params, batch).astype(jnp.float32)

    return replace(task, name=f"{task.name}+bfloat16", init=init, batch=batch, loss=loss)
