"""How a task's gradients are estimated: exactly, or worse, as VeLO's meta-training has it (arXiv:2211.09760).

Optimizers meet gradients in use that are noisy, scaled, partial or old; these rules bring them into small tasks.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jax.scipy.fft import dct, idct

from models.evolution import perturbation
from shammie.errors import UserError

LossOfParams = Callable[[Any], jax.Array]  # params -> float32 []
Memory = Any


class GradientRule(NamedTuple):
    """A way to get from a loss to gradients.

    Attributes:
        draw: key -> random numbers that stay for one training, a pytree; () if there are none.
        init: params -> the memory before the first step, a pytree.
        estimate: (loss function of params, params, numbers, memory, key) -> (loss, gradients, new memory). Gradients
            have the parameters' structure, shapes and dtypes.
    """

    draw: Callable[[Any], Any]
    init: Callable[[Any], Memory]
    estimate: Callable[[LossOfParams, Any, Any, Memory, Any], tuple[jax.Array, Any, Memory]]


def _exactly(loss: LossOfParams, params: Any, numbers: Any, memory: Memory, key: Any) -> tuple[jax.Array, Any, Memory]:
    del numbers, key
    value, gradient = jax.value_and_grad(loss)(params)
    return value, gradient, memory


def _nothing(_: Any) -> tuple[()]:
    return ()


EXACT = GradientRule(_nothing, _nothing, _exactly)


def evolution(pairs: int, std: tuple[float, float]) -> GradientRule:
    """Gradients by evolution strategies: the mean over antithetic pairs of e (L(p + s e) - L(p - s e)) / (2 s).

    Args:
        pairs: perturbations e ~ N(0, I) of a step, each used with both signs.
        std: bounds of s, which a training draws log-uniformly.
    """
    _at_least_one("pairs", pairs)
    if not 0 < std[0] <= std[1] < math.inf:
        raise UserError(f"standard deviations of {std}", "give two numbers above 0, the smaller first")

    def estimate(loss: LossOfParams, params: Any, s: Any, memory: Memory, key: Any) -> tuple[jax.Array, Any, Memory]:
        def slope_along(noise: Any) -> jax.Array:
            def moved(step: jax.Array) -> jax.Array:
                return loss(jax.tree.map(lambda p, e: (p + step * e).astype(p.dtype), params, noise))

            return (moved(s) - moved(-s)) / (2 * s)

        # drawn and added up in float32 for parameters of any dtype
        noise = perturbation.draw(jax.tree.map(_float32, params), key, 1.0, pairs)
        total = perturbation.weighted_sum(noise, jax.vmap(slope_along)(noise))
        return loss(params), jax.tree.map(lambda e, p: (e / pairs).astype(p.dtype), total, params), memory

    return GradientRule(lambda key: log_uniform(key, std), _nothing, estimate)


def in_subspace(rule: GradientRule, directions: int, *, sign: bool = False) -> GradientRule:
    """Projects gradients on a random subspace, a new one each step; the mean is directions / parameters times them.

    Random rows of a cosine transform of the gradient with random signs: an exact projection at n log n operations,
    where Gaussian directions need directions * n numbers and are a projection only nearly. (The reference adds the
    parts along random unit vectors, which has the same mean.)

    Args:
        rule: whose gradients.
        directions: dimensions of the subspace; with at least as many as parameters, gradients are the rule's.
        sign: whether only the signs of the gradient's coordinates in the subspace count.
    """
    _at_least_one("directions", directions)

    def estimate(loss: LossOfParams, params: Any, numbers: Any, memory: Memory, key: Any) -> Any:
        rule_key, flip_key, row_key = jax.random.split(key, 3)
        value, gradient, memory = rule.estimate(loss, params, numbers, memory, rule_key)
        wide, back = ravel_pytree(jax.tree.map(_float32, gradient))
        if directions < wide.size or sign:
            flips = jax.random.rademacher(flip_key, wide.shape, jnp.float32)
            kept = jax.random.permutation(row_key, wide.size) < directions
            coordinates = dct(flips * wide, norm="ortho")
            coordinates = jnp.sign(coordinates) if sign else coordinates
            wide = flips * idct(jnp.where(kept, coordinates, 0.0), norm="ortho")
        return value, jax.tree.map(lambda part, g: part.astype(g.dtype), back(wide), gradient), memory

    return rule._replace(estimate=estimate)


def unit_length(rule: GradientRule) -> GradientRule:
    """Divides gradients by their norm over all parameters; where it is 0 they stay 0."""

    def estimate(loss: LossOfParams, params: Any, numbers: Any, memory: Memory, key: Any) -> Any:
        value, gradient, memory = rule.estimate(loss, params, numbers, memory, key)
        norm = optax.tree.norm(jax.tree.map(_float32, gradient))
        factor = jnp.where(norm == 0, 0.0, 1 / jnp.where(norm == 0, 1.0, norm))
        return value, jax.tree.map(lambda g: (g * factor).astype(g.dtype), gradient), memory

    return rule._replace(estimate=estimate)


def delayed(rule: GradientRule, steps: int) -> GradientRule:
    """Gradients and losses of parameters from some steps ago on the present batch, as asynchronous workers send them.

    Step t sees the parameters of step t - steps, and the first ones before there were any.

    Args:
        rule: whose gradients.
        steps: how old they are; the memory holds as many copies of the parameters.
    """
    _at_least_one("steps of delay", steps)

    def init(params: Any) -> Memory:
        copies = jax.tree.map(lambda p: jnp.broadcast_to(p[None], (steps, *p.shape)), params)
        return rule.init(params), copies, jnp.zeros((), jnp.int32)

    def estimate(loss: LossOfParams, params: Any, numbers: Any, memory: Memory, key: Any) -> Any:
        inner, copies, slot = memory
        old = jax.tree.map(lambda c: jax.lax.dynamic_index_in_dim(c, slot, keepdims=False), copies)
        value, gradient, inner = rule.estimate(loss, old, numbers, inner, key)
        copies = jax.tree.map(lambda c, p: jax.lax.dynamic_update_index_in_dim(c, p, slot, 0), copies, params)
        return value, gradient, (inner, copies, (slot + 1) % steps)

    return rule._replace(init=init, estimate=estimate)


def log_uniform(key: Any, bounds: tuple[float, float], shape: tuple[int, ...] = ()) -> jax.Array:
    """Numbers whose logarithm is uniform between the bounds; float32."""
    low, high = bounds
    return jnp.exp(jax.random.uniform(key, shape, minval=math.log(low), maxval=math.log(high)))


def _float32(x: jax.Array) -> jax.Array:
    return x.astype(jnp.float32)


def _at_least_one(what: str, count: int) -> None:
    if count < 1:
        raise UserError(f"{what}: {count}", "give at least 1")
