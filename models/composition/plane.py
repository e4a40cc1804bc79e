"""Densities on the plane, and what they compose to exactly: the three experiments of the paper's 2D notebook, and one.

    product    ring x bar                     two of the ring's eight modes are left
    mixture    left_bar + right_bar           two bars, and nothing between
    negation   box without inner_box          box^1.3 / inner_box^0.3, a frame
    frame      box without some inner_box     box^2 / (0.9 inner_box + 0.1 box), a frame with a little within

The notebook's negation has no end: under any noise, 1 / inner_box^0.3 grows beyond all bounds away from the inner box,
and the quotient of noised densities lies outside the box's corners. `frame` bounds what is divided by with a mixture,
so that far from the inner box the quotient is the box alone; it is three operations nested, and needs energies.

Components are the notebook's: a ring of eight Gaussians, and uniform densities with hard edges. Annealed samplers end
at level 0, which has a little noise: there a `Truth` is the composition of the components with that noise, each in
closed form, on a fine grid. Of the notebook's negation it is the noised frame, which is what is meant by it. All in
float64 on the host but for `draw`. N points, G cells of an axis, K modes, D axes.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage
from scipy.special import ndtr

from shammie.errors import unknown

RING_MODES, RING_RADIUS, RING_DEVIATION = 8, 0.5, 0.03
BOXES: Mapping[str, tuple[float, float, float, float]] = {  # low x, high x, low y, high y
    "bar": (-0.2, 0.2, -1.0, 1.0),
    "left_bar": (-0.3, -0.1, -1.0, 1.0),
    "right_bar": (0.1, 0.3, -1.0, 1.0),
    "box": (-0.7, 0.7, -0.7, 0.7),
    "inner_box": (-0.3, 0.3, -0.3, 0.3),
}
COMPONENTS = ("ring", *BOXES)
STRENGTH = 0.3  # of the notebook's negation
BOUNDED_STRENGTH, BOUND = 1.0, 0.1  # of the bounded one, and the box's share of what is divided by
HALF_WIDTH = 1.5  # of the window that the grid covers
CELLS = 1200  # of an axis: 0.0025 wide each; all edges of boxes lie between cells
LOWEST = -20.0  # nats, of points where the truth has next to nothing: else one stray point would outweigh all others


class Pair(NamedTuple):
    """An experiment.

    Attributes:
        operation: "product", "mixture", "negation" or "bounded_negation".
        components: the first, and the second, which a negation leaves out.
    """

    operation: str
    components: tuple[str, str]


PAIRS: Mapping[str, Pair] = {
    "product": Pair("product", ("ring", "bar")),
    "mixture": Pair("mixture", ("left_bar", "right_bar")),
    "negation": Pair("negation", ("box", "inner_box")),
    "frame": Pair("bounded_negation", ("box", "inner_box")),
}


class Component(NamedTuple):
    """A component as arrays of the same shapes for all, so that one compiled program draws from any.

    A point is a mean, uniform noise and Gaussian noise. K = `RING_MODES`, also for boxes.

    Attributes:
        means_KD: float32 [K, 2], each as likely.
        half_widths_D: of the uniform noise, float32 [2].
        deviation: of the Gaussian noise, float32 [].
    """

    means_KD: np.ndarray
    half_widths_D: np.ndarray
    deviation: np.ndarray


def component(name: str) -> Component:
    """A component by name.

    Raises:
        UserError: no such component.
    """
    if name not in COMPONENTS:
        raise unknown("component of the plane", name, COMPONENTS)
    if name in BOXES:
        low_x, high_x, low_y, high_y = BOXES[name]
        middle_D = np.array([(low_x + high_x) / 2, (low_y + high_y) / 2], np.float32)
        half_D = np.array([(high_x - low_x) / 2, (high_y - low_y) / 2], np.float32)
        return Component(np.tile(middle_D, (RING_MODES, 1)), half_D, np.zeros((), np.float32))
    return Component(_ring_means().astype(np.float32), np.zeros(2, np.float32), np.asarray(RING_DEVIATION, np.float32))


def draw_of(component: Component, key: jax.Array) -> jax.Array:
    """A point of a component; float32 [2]."""
    mode_key, uniform_key, noise_key = jax.random.split(key, 3)
    mean_D = jnp.asarray(component.means_KD)[jax.random.randint(mode_key, (), 0, RING_MODES)]
    within_D = component.half_widths_D * jax.random.uniform(uniform_key, (2,), minval=-1.0)
    return mean_D + within_D + component.deviation * jax.random.normal(noise_key, (2,))


def draw(name: str, key: jax.Array) -> jax.Array:
    """A point of the component of a name; float32 [2].

    Raises:
        UserError: no such component.
    """
    return draw_of(component(name), key)


def _ring_means() -> np.ndarray:
    """The middles of the ring's modes, the first at (radius, 0); float64 [K, 2]."""
    angles_K = 2.0 * np.pi * np.arange(RING_MODES) / RING_MODES
    return RING_RADIUS * np.stack([np.cos(angles_K), np.sin(angles_K)], axis=1)


def density_on_grid(name: str, signal: float = 1.0, noise: float = 0.0) -> np.ndarray:
    """The density of signal * x + noise * z at the cells' centres, x of a component; float64 [G, G], x first.

    Args:
        name: one of `COMPONENTS`.
        signal: sqrt(abar) of a level.
        noise: sqrt(1 - abar) of it.

    Raises:
        UserError: no such component.
    """
    if name not in COMPONENTS:
        raise unknown("component of the plane", name, COMPONENTS)
    if name in BOXES:
        low_x, high_x, low_y, high_y = BOXES[name]
        return np.outer(_uniform(low_x, high_x, signal, noise), _uniform(low_y, high_y, signal, noise))
    at_G, variance = centres(), signal**2 * RING_DEVIATION**2 + noise**2
    x_GK, y_GK = (np.exp(-((at_G[:, None] - signal * means_K) ** 2) / (2 * variance)) for means_K in _ring_means().T)
    return x_GK @ y_GK.T / (RING_MODES * 2.0 * np.pi * variance)


def _uniform(low: float, high: float, signal: float, noise: float) -> np.ndarray:
    """The density of noised uniform numbers at the cells' centres; float64 [G]."""
    at_G = centres()
    if noise == 0.0:
        share_G = (signal * low < at_G) & (at_G < signal * high)
    else:  # from the middle outwards, on the side where the normal's tail is thin: no difference of two numbers near 1
        away_G, half = np.abs(at_G - signal * (low + high) / 2.0), signal * (high - low) / 2.0
        share_G = ndtr((half - away_G) / noise) - ndtr((-half - away_G) / noise)
    return share_G / (signal * (high - low))


def centres() -> np.ndarray:
    """Where the cells' centres are on either axis; float64 [G]."""
    return (np.arange(CELLS) + 0.5) * _cell() - HALF_WIDTH


def composed_on_grid(pair: str, signal: float = 1.0, noise: float = 0.0) -> np.ndarray:
    """The probability of each cell under an exact composition of noised components; float64 [G, G], its sum is 1.

    The notebook's negation is its limit without noise, noised afterwards: where the second component has no density at
    all, any power of it leaves nothing elsewhere.

    Args:
        pair: one of `PAIRS`.
        signal: sqrt(abar) of a level.
        noise: sqrt(1 - abar) of it.

    Raises:
        UserError: no such pair.
    """
    if pair not in PAIRS:
        raise unknown("pair of the plane", pair, PAIRS)
    operation, names = PAIRS[pair]
    first_GG, second_GG = (density_on_grid(name, signal, noise) for name in names)
    if operation == "product":
        composed_GG = first_GG * second_GG
    elif operation == "mixture":
        composed_GG = 0.5 * first_GG + 0.5 * second_GG
    elif operation == "negation":  # the box where the inner one, which lies within, is not
        composed_GG = np.maximum(_area(names[0]) * first_GG - _area(names[1]) * second_GG, 0.0)
    else:
        by_GG = (1.0 - BOUND) * second_GG + BOUND * first_GG
        ratio_GG = np.divide(first_GG, by_GG, out=np.zeros_like(first_GG), where=by_GG > 0)
        composed_GG = first_GG * ratio_GG**BOUNDED_STRENGTH
    return composed_GG / composed_GG.sum()


def _area(box: str) -> float:
    low_x, high_x, low_y, high_y = BOXES[box]
    return (high_x - low_x) * (high_y - low_y)


@dataclass(frozen=True, eq=False)
class Truth:
    """A density on the plane, by its cells: what perfect samplers of perfect models would draw from at a level.

    Attributes:
        pair: one of `PAIRS`.
        probability_GG: of each cell, x first.
    """

    pair: str
    probability_GG: np.ndarray

    @functools.cached_property
    def log_density_GG(self) -> np.ndarray:
        """At the cells' centres, at least `LOWEST`; float64 [G, G]."""
        return np.log(np.maximum(self.probability_GG / _cell() ** 2, np.exp(LOWEST)))

    def log_density(self, x_ND: np.ndarray) -> np.ndarray:
        """Log density of points, in nats; float64 [N], at least `LOWEST`.

        Args:
            x_ND: float [N, 2].
        """
        places = (np.asarray(x_ND, np.float64).T + HALF_WIDTH) / _cell() - 0.5
        return ndimage.map_coordinates(self.log_density_GG, places, order=1, mode="constant", cval=LOWEST)

    def sample(self, seed: int, count: int) -> np.ndarray:
        """Exact draws, by the inverse of the cells' distribution; float64 [count, 2]."""
        generator = np.random.default_rng(seed)
        cumulative = np.cumsum(self.probability_GG.ravel())
        cells = np.searchsorted(cumulative, generator.uniform(0.0, cumulative[-1], count), side="right")
        places_ND = np.stack(np.unravel_index(cells, self.probability_GG.shape), axis=1)
        return (places_ND + generator.uniform(size=(count, 2))) * _cell() - HALF_WIDTH

    def covariance(self) -> np.ndarray:
        """Of the points, exactly; float64 [2, 2]."""
        at_G, (x_G, y_G) = centres(), (self.probability_GG.sum(axis=axis) for axis in (1, 0))
        mean_D = np.array([x_G @ at_G, y_G @ at_G])
        both = at_G @ self.probability_GG @ at_G
        second_DD = np.array([[x_G @ at_G**2, both], [both, y_G @ at_G**2]])
        return second_DD - np.outer(mean_D, mean_D) + _cell() ** 2 / 12.0 * np.eye(2)


def truth(pair: str, signal: float = 1.0, noise: float = 0.0) -> Truth:
    """The exact composed density of a pair.

    Args:
        pair: one of `PAIRS`.
        signal: sqrt(abar) of the level that samplers end at (`NoiseSchedule.signal`), about 1.
        noise: sqrt(1 - abar) of it, so little that the window holds it; 0 for the clean density.

    Raises:
        UserError: no such pair.
    """
    return Truth(pair, composed_on_grid(pair, signal, noise))


def _cell() -> float:
    return 2.0 * HALF_WIDTH / CELLS
