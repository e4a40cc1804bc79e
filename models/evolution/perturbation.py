"""Perturbations of any pytree of parameters. N = workers, S = trajectories of a worker."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from models.evolution.unrolled import Key, Params


def is_float(leaf: Any) -> bool:
    """Whether a parameter can be perturbed: integers, booleans and keys are left alone."""
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)


def draw(theta: Params, key: Key, sigma: float, count: int) -> Params:
    """Normal perturbations sigma * N(0, 1); theta's structure, leaves [N, ...] in their own dtypes.

    Leaves that are not floating point get zeros.
    """
    leaves, structure = jax.tree.flatten(theta)
    kinds = sorted({jnp.result_type(leaf) for leaf in leaves if is_float(leaf)}, key=str)
    noise: list[Any] = [jnp.zeros((count, *jnp.shape(leaf)), jnp.result_type(leaf)) for leaf in leaves]
    for number, kind in enumerate(kinds):
        # one draw for all workers and leaves: a key for each of them would cost more than the numbers
        places = [place for place, leaf in enumerate(leaves) if jnp.result_type(leaf) == kind]
        sizes = [math.prod(jnp.shape(leaves[place])) for place in places]
        kind_key = jax.random.fold_in(key, number) if number else key
        normal = jax.random.normal(kind_key, (count, sum(sizes)), kind)
        parts = jnp.split(normal * jnp.asarray(sigma, kind), list(itertools.accumulate(sizes))[:-1], axis=1)
        for place, part in zip(places, parts, strict=True):
            noise[place] = part.reshape(count, *jnp.shape(leaves[place]))
    return jax.tree.unflatten(structure, noise)


def zero_noise(theta: Params, count: int) -> Params:
    """No perturbation; theta's structure, leaves [N, ...]."""
    return jax.tree.map(lambda leaf: jnp.zeros((count, *jnp.shape(leaf)), jnp.result_type(leaf)), theta)


def perturbed(theta: Params, noise: Params, signs: Sequence[float]) -> Params:
    """Parameters with perturbations, theta + sign * noise, for every sign and worker; leaves [S, N, ...]."""

    def one(leaf: Any, of_noise: jax.Array) -> jax.Array:
        if not is_float(leaf):
            return jnp.broadcast_to(jnp.asarray(leaf), (len(signs), *of_noise.shape))
        scales = jnp.asarray(signs, of_noise.dtype).reshape(-1, *[1] * of_noise.ndim)
        return jnp.asarray(leaf)[(None, None)] + scales * of_noise[None]

    return jax.tree.map(one, theta, noise)


def choose(which_N: jax.Array, one: Any, other: Any, axis: int = 0) -> Any:
    """`one` for the workers that are marked, else `other`; pytrees whose leaves have the workers on `axis`."""

    def pick(a: jax.Array, b: jax.Array) -> jax.Array:
        shape = [1] * a.ndim
        shape[axis] = which_N.shape[0]
        return jnp.where(which_N.reshape(shape), a, b)

    return jax.tree.map(pick, one, other)


def weighted_sum(noise: Params, weights_N: jax.Array) -> Params:
    """The sum over workers of weight * noise; theta's structure. Leaves that are not floating point get zeros."""

    def one(leaf: jax.Array) -> jax.Array:
        if not is_float(leaf):
            return jnp.zeros(leaf.shape[1:], leaf.dtype)
        return jnp.tensordot(weights_N.astype(leaf.dtype), leaf, axes=1)

    return jax.tree.map(one, noise)
