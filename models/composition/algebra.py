"""Operations on densities beside `*`, `/` and `**`: mixtures, negation, guidance, canvases (arXiv:2302.11552).

    product((ring, bar))                         both at once
    mixture((left, right))                       one or the other; needs energies
    negation(box, without=middle, strength=0.3)  one but not the other
    guided(scene, (left, right), weight=4.0)     conditions, sharpened against the unconditional model
    scene * likelihood(log_label, ...) ** 4.0    guidance by a classifier

Each is a density again, so they nest at will. X = the shape of a point.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from models.composition.density import AtLevel, Density, bracketed, check_alike, combined, of_log_density
from models.composition.schedule import NoiseSchedule
from shammie.errors import UserError


def product(parts: Sequence[Density]) -> Density:
    """What all parts find likely: prod q_i."""
    _check_some(parts, "product")
    return combined(tuple(parts), (1.0,) * len(parts), " * ".join(bracketed(part) for part in parts))


def mixture(
    parts: Sequence[Density], weights: Sequence[float] | None = None, log_normalisers: Sequence[float] | None = None
) -> Density:
    """What any part finds likely: sum_i w_i q_i / Z_i.

    Scores alone do not say how much of a point is of which part: all parts must have energies. And a learned energy
    says nothing about its Z_i: unless all have the same by chance, parts weigh otherwise than `weights` asks for.

    Args:
        parts: two or more.
        weights: of the parts, positive; None for equal ones. They are divided by their sum.
        log_normalisers: log Z_i of the parts, at every level; None for 0.

    Raises:
        UserError: a part without an energy, or weights that are none.
    """
    _check_some(parts, "mixture")
    check_alike(tuple(parts))
    for part in parts:
        if not part.has_energy:
            raise part.without_energy("a mixture")
    weights = (1.0,) * len(parts) if weights is None else weights
    logs = (0.0,) * len(parts) if log_normalisers is None else log_normalisers
    if len(weights) != len(parts) or len(logs) != len(parts) or not all(0 < one < math.inf for one in weights):
        raise UserError(
            f"a mixture of {len(parts)} densities has weights {tuple(weights)} and normalisers {tuple(logs)}",
            "give one positive weight and one log normaliser for each",
        )
    log_weights = [math.log(one / sum(weights)) - log for one, log in zip(weights, logs, strict=True)]

    def log_density(x: jax.Array, level: jax.typing.ArrayLike) -> jax.Array:
        logs = [log + part.log_density(x, level) for log, part in zip(log_weights, parts, strict=True)]
        return jax.scipy.special.logsumexp(jnp.stack(logs))

    name = " + ".join(bracketed(part) for part in parts)
    return of_log_density(log_density, parts[0].shape, parts[0].schedule, name)


def negation(of: Density, *, without: Density, strength: float) -> Density:
    """What one density finds likely and the other does not: of^(1 + strength) / without^strength.

    Args:
        of: what points should be.
        without: what they should not be.
        strength: above 0; too much of it and no density is left where `without` has the thinner tails.
    """
    if not 0 < strength < math.inf:
        raise UserError(f"a negation's strength is {strength!r}", "give a number above 0, such as 0.3")
    name = f"{bracketed(of)} without {bracketed(without)}"
    return combined((of, without), (1.0 + strength, -strength), name)


def guided(free: Density, given: Sequence[Density], weight: float | jax.Array) -> Density:
    """Classifier-free guidance by one or several conditions: q(x) prod_i (q(x | c_i) / q(x))^w.

    With one condition a weight of 1 is the conditional density itself. (Ho and Salimans 2022; Liu et al. 2022, eq. 11.)

    Args:
        free: the unconditional model.
        given: the conditional ones.
        weight: w.
    """
    _check_some(given, "guidance")
    rest = 1.0 - weight * len(given)
    name = f"{bracketed(free)} guided by {', '.join(part.name for part in given)}"
    return combined((free, *given), (rest, *[weight] * len(given)), name)


def likelihood(function: AtLevel, shape: Sequence[int], schedule: NoiseSchedule, name: str = "likelihood") -> Density:
    """A factor that guides a model by a classifier: multiply a model with a power of it. Alone it is no density.

    Args:
        function: (point [X], level []) to a classifier's log probability of what is wanted, float32 [].
        shape: X.
        schedule: the noise that the classifier was trained under.
        name: for people.
    """
    return of_log_density(function, tuple(shape), schedule, name)


def product_over(
    density_of: Callable[[Any], Density], cases: Any, weights_K: jax.typing.ArrayLike | None = None
) -> Density:
    """A product of many densities of one model as one batch: prod_k q(x | c_k)^w_k, compiled once whatever K is.

    Args:
        density_of: a condition to the density given it.
        cases: the conditions, a pytree of arrays [K, …].
        weights_K: the powers, float [K], any of which may be 0; None for 1.
    """
    count = len(jax.tree.leaves(cases)[0])
    weights = jnp.ones(count) if weights_K is None else jnp.asarray(weights_K)
    first = density_of(jax.tree.map(lambda leaf: leaf[0], cases))
    name = f"{first.name} and {count - 1} more" if count > 1 else first.name
    if first.has_energy:
        energies: AtLevel = lambda x, level: jnp.dot(  # noqa: E731
            weights, jax.vmap(lambda case: density_of(case).log_density(x, level))(cases)
        )
        return of_log_density(energies, first.shape, first.schedule, name)
    scores: AtLevel = lambda x, level: jnp.tensordot(  # noqa: E731
        weights, jax.vmap(lambda case: density_of(case).score(x, level))(cases), axes=1
    )
    return Density(first.shape, first.schedule, name, first.score_only, None, scores)


def uniform(shape: Sequence[int], schedule: NoiseSchedule) -> Density:
    """The density that is the same everywhere: what a product leaves as it is."""
    return of_log_density(lambda x, level: jnp.zeros((), x.dtype), tuple(shape), schedule, "uniform")


def on_canvas(part: Density, canvas: Sequence[int], corner: Sequence[int]) -> Density:
    """A density of a window of a larger point, which says nothing about the rest: tapestries are products of these.

    Args:
        part: of the window, X.
        canvas: the larger point's shape, of as many axes.
        corner: where the window begins, one number for each axis; windows may overlap.

    Raises:
        UserError: the window does not lie in the canvas.
    """
    fits = len(canvas) == len(corner) == len(part.shape) and all(
        0 <= at <= whole - size for at, whole, size in zip(corner, canvas, part.shape, strict=True)
    )
    if not fits:
        raise UserError(
            f"a window of shape {part.shape} at {tuple(corner)} does not lie in a canvas of {tuple(canvas)}",
            "give canvas and corner one number for each axis of the window, and keep the window within",
        )
    name = f"{part.name} at {','.join(map(str, corner))}"
    cut = lambda x: jax.lax.dynamic_slice(x, tuple(corner), part.shape)  # noqa: E731
    if part.has_energy:
        return of_log_density(lambda x, level: part.log_density(cut(x), level), tuple(canvas), part.schedule, name)

    def score(x: jax.Array, level: jax.typing.ArrayLike) -> jax.Array:
        return jax.lax.dynamic_update_slice(jnp.zeros_like(x), part.score(cut(x), level), tuple(corner))

    return Density(tuple(canvas), part.schedule, name, part.score_only, None, score)


def tapestry(
    density_of: Callable[[Any], Density], canvas: Sequence[int], corners: Sequence[Sequence[int]], cases: Any
) -> Density:
    """A canvas larger than a model's points: the product of its densities over overlapping windows, as one batch.

    Each window may be given something else; where windows overlap they must agree (arXiv:2302.11552, section 5.4).

    Args:
        density_of: a window's condition to its density, of shape X.
        canvas: the shape of the whole, of as many axes as X.
        corners: where each window begins.
        cases: the windows' conditions, a pytree of arrays [windows, ...].

    Raises:
        UserError: a window outside the canvas, or a canvas that the windows do not cover.
    """
    _check_some(corners, "tapestry")
    first = density_of(jax.tree.map(lambda leaf: leaf[0], cases))
    covered = np.zeros(tuple(canvas), bool)
    for corner in corners:
        on_canvas(first, canvas, corner)
        covered[tuple(slice(at, at + size) for at, size in zip(corner, first.shape, strict=True))] = True
    if not covered.all():
        raise UserError(
            f"{len(corners)} windows of {first.shape} leave {np.count_nonzero(~covered)} of {covered.size} numbers of a"
            f" canvas of {tuple(canvas)} without a density",
            "add windows, or make the canvas smaller",
        )
    corners_WA = jnp.asarray(corners, jnp.int32)
    cut = lambda x, corner: jax.lax.dynamic_slice(x, tuple(corner), first.shape)  # noqa: E731
    name = f"tapestry of {len(corners)}"
    if first.has_energy:

        def log_density(x: jax.Array, level: jax.typing.ArrayLike) -> jax.Array:
            one = lambda case, corner: density_of(case).log_density(cut(x, corner), level)  # noqa: E731
            return jnp.sum(jax.vmap(one)(cases, corners_WA))

        return of_log_density(log_density, tuple(canvas), first.schedule, name)

    def score(x: jax.Array, level: jax.typing.ArrayLike) -> jax.Array:
        def one(case: Any, corner: jax.Array) -> jax.Array:
            return jax.lax.dynamic_update_slice(
                jnp.zeros_like(x), density_of(case).score(cut(x, corner), level), tuple(corner)
            )

        return jnp.sum(jax.vmap(one)(cases, corners_WA), axis=0)

    return Density(tuple(canvas), first.schedule, name, first.score_only, None, score)


def _check_some(parts: Sequence[Any], what: str) -> None:
    if not parts:
        raise UserError(f"a {what} of no densities", "give one or more")
