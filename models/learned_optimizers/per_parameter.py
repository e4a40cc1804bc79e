"""The small network that each parameter's features go through, without ever storing the features.

A tensor's features are divided by their root mean squares over the tensor. These are folded into the first layer's
weights, so that the network is one loop over the parameters; and what is constant along an axis (the rows and columns
of factored moments) goes through the first layer before it is spread.

G = tensors of a group, F = features, H = hidden units, O = outputs.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from models.learned_optimizers.accumulators import Factors, Moments, factors_of
from models.learned_optimizers.grouping import STACKED_SIZE

NORMALIZER_EPSILON = 1e-5
RMS_EPSILON = 1e-6
FACTORED_EPSILON = 1e-8
UNROLLED_UNITS = 8  # up to here a layer is written out per unit, which fuses; above it is a matrix product

Layers = Sequence[tuple[jax.Array, jax.Array]]  # weights [G or 1, F, H] and biases [G or 1, H] of each layer


def inverse_rms(moments: Moments) -> list[jax.Array]:
    """1 / sqrt(rms + 1e-6), [G, *shape] for each decay."""
    return [jax.lax.rsqrt(rms + RMS_EPSILON) for rms in moments.rms]


def adafactor_features(
    g: jax.Array, p: jax.Array, moments: Moments, *, velo: bool
) -> tuple[list[jax.Array], list[jax.Array]]:
    """The features of gradients, parameters and averages, each broadcastable to [G, *shape].

    VeLO (arXiv:2211.09760, as released) has 30: clipped gradients and the gradient over the root of rms are only its
    own. STAR and the Adafactor-MLP (arXiv:2203.11860) have 28. Counts are those of three momenta, one rms and three
    factored decays.

    Args:
        g: gradients [G, *shape].
        p: parameters, the same.
        moments: with this gradient.
        velo: whose features.

    Returns:
        The features, in the order of the released weights' first layer, and 1 / sqrt(rms + 1e-6) of each decay.
    """
    roots = inverse_rms(moments)
    factors = factors_of(moments, g.shape[1:])
    features = [g, jnp.clip(g, -0.1, 0.1), p] if velo else [g, p]
    features += [*moments.momentum, *moments.rms]
    # with one rms decay, as all have, these are one for each momentum
    adam = [m * r for r in roots for m in moments.momentum]
    features += [*adam, *roots]
    features += [_product(g, *scale) for scale in factors.scale]
    if velo:
        features += [g * r for r in roots]
    features += [*factors.row, *factors.col]
    features += [jax.lax.rsqrt(v + FACTORED_EPSILON) for v in (*factors.row, *factors.col)]
    features += _scaled_momenta(moments, factors, factored=g.ndim > 2, velo=velo)
    return features, roots


def _scaled_momenta(moments: Moments, factors: Factors, *, factored: bool, velo: bool) -> list[jax.Array]:
    if factored:
        return [_product(m, *scale) for m, scale in zip(moments.momentum, factors.scale, strict=True)]
    epsilon = 0.0 if velo else RMS_EPSILON  # the two differ here, and only for tensors that are not factored
    return [m * jax.lax.rsqrt(v + epsilon) for m, v in zip(moments.momentum, factors.row, strict=True)]


def _product(x: jax.Array, *factors: jax.Array) -> jax.Array:
    for factor in factors:
        x = x * factor
    return x


def network_outputs(
    features: Sequence[jax.Array], layers: Layers, shape: tuple[int, ...], constant: jax.Array | None = None
) -> list[jax.Array]:
    """What the network gives for each parameter.

    Args:
        features: F arrays broadcastable to [G, *shape].
        layers: weights and biases; after all but the last one comes a ReLU. The first layer's weights may have more
            rows than there are features: those are for `constant`.
        shape: [G, *shape], of the outputs.
        constant: features that are the same for all parameters and are not divided by anything, [C].

    Returns:
        The outputs, O arrays [G, *shape].
    """
    (w, b), *rest = layers
    places = _by_shape(features)
    scales_GF = jax.lax.rsqrt(NORMALIZER_EPSILON + _mean_squares(features, places, math.prod(shape)))
    if constant is not None:
        b = b + jnp.einsum("c,gch->gh", constant, w[:, len(features) :], precision=jax.lax.Precision.HIGHEST)
    w = w[:, : len(features)] * scales_GF[..., None]
    if w.shape[-1] > UNROLLED_UNITS:
        return _by_products(features, [(w, b), *rest], shape)
    units = _first_layer(features, places, w, b, len(shape))
    for w, b in rest:
        units = jax.nn.relu(units)
        units = _weighted([units[i] for i in range(w.shape[1])], w, len(shape)) + _spread(b, len(shape))
    return list(units)


def _by_shape(features: Sequence[jax.Array]) -> list[list[int]]:
    places: dict[tuple[int, ...], list[int]] = {}
    for i, feature in enumerate(features):
        places.setdefault(feature.shape, []).append(i)
    return list(places.values())


def _mean_squares(features: Sequence[jax.Array], places: Sequence[list[int]], size: int) -> jax.Array:
    """The mean square of each feature over each tensor, [G, F]; small ones are stacked, to compile faster."""
    if size > STACKED_SIZE:
        return jnp.stack([jnp.mean(jnp.square(f), axis=tuple(range(1, f.ndim))) for f in features], axis=-1)
    order, means = np.argsort([i for some in places for i in some]), []
    for some in places:
        stacked = jnp.stack([features[i] for i in some])
        means.append(jnp.mean(jnp.square(stacked), axis=tuple(range(2, stacked.ndim))))
    return jnp.concatenate(means)[order].T


def _first_layer(
    features: Sequence[jax.Array], places: Sequence[list[int]], w: jax.Array, b: jax.Array, rank: int
) -> jax.Array:
    """[H, G, *shape]; features of one shape are summed before they are spread to the whole."""
    parts = [_weighted([features[i] for i in some], w[:, np.asarray(some)], rank) for some in places]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total + _spread(b, rank)


def _weighted(inputs: Sequence[jax.Array], w_GFH: jax.Array, rank: int) -> jax.Array:
    total = inputs[0][None] * _spread(w_GFH[:, 0], rank)
    for i, x in enumerate(inputs[1:], 1):
        total = total + x[None] * _spread(w_GFH[:, i], rank)
    return total


def _spread(x_GH: jax.Array, rank: int) -> jax.Array:
    return x_GH.T.reshape(x_GH.shape[1], -1, *(1,) * (rank - 1))


def _by_products(features: Sequence[jax.Array], layers: Layers, shape: tuple[int, ...]) -> list[jax.Array]:
    """The same for wide layers, as matrix products over features that are stored."""
    units = jnp.stack([jnp.broadcast_to(f, shape).reshape(shape[0], -1) for f in features], axis=1)  # [G, F, size]
    for number, (w, b) in enumerate(layers):
        if number:
            units = jax.nn.relu(units)
        w = jnp.broadcast_to(w, (shape[0], *w.shape[1:])).astype(units.dtype)
        units = jnp.einsum("gfh,gfn->ghn", w, units, precision=jax.lax.Precision.HIGHEST) + b[..., None]
    return [units[:, o].reshape(shape) for o in range(units.shape[1])]
