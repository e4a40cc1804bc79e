"""Densities on the plane, and what they compose to exactly: the three experiments of the paper's 2D notebook, and one.

    product    ring x bar                     two of the ring's eight modes are left
    mixture    left_bar + right_bar           two bars, and nothing between
    negation   box without inner_box          box^1.3 / inner_box^0.3, a frame
    frame      box without some inner_box     box^2 / (0.9 inner_box + 0.1 box), a frame with a little within

The notebook's negation has no end: under any noise, 1 / inner_box^0.3 grows beyond all bounds away from the inner box,
and the quotient of noised densities lies outside the box's corners. `frame` bounds what is divided by with a mixture,
so that far from the inner box the quotient is the box alone; it is three operations nested, and needs energies.

Components are the notebook's: a ring of eight Gaussians, and uniform densities with hard edges. All edges lie between
cells of the grid, so that compositions on it are exact but for the ring's curve within a cell. What annealed samplers
end at is level 0, which has a little noise: a `Truth` is the composed density with that noise, which also gives it a
log density everywhere. All in float64 on the host but for `draw`. N points, G cells of an axis.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

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
CELLS = 1200  # of an axis: 0.0025 wide each
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


def density_on_grid(name: str) -> np.ndarray:
    """A component's density at the cells' centres, float64 [G, G], x first.

    Raises:
        UserError: no such component.
    """
    if name not in COMPONENTS:
        raise unknown("component of the plane", name, COMPONENTS)
    at_G = centres()
    if name in BOXES:
        low_x, high_x, low_y, high_y = BOXES[name]
        within_GG = np.outer((low_x < at_G) & (at_G < high_x), (low_y < at_G) & (at_G < high_y))
        return within_GG / ((high_x - low_x) * (high_y - low_y))
    x_GK, y_GK = (np.exp(-0.5 * ((at_G[:, None] - means_K) / RING_DEVIATION) ** 2) for means_K in _ring_means().T)
    total_GG = x_GK @ y_GK.T
    return total_GG / (RING_MODES * 2.0 * np.pi * RING_DEVIATION**2)


def centres() -> np.ndarray:
    """Where the cells' centres are on either axis; float64 [G]."""
    return (np.arange(CELLS) + 0.5) * _cell() - HALF_WIDTH


def composed_on_grid(pair: str) -> np.ndarray:
    """The probability of each cell under an exact composition without noise; float64 [G, G], its sum is 1.

    A negation by hard edges is its limit: where the second component has no density at all, any power of it leaves
    nothing elsewhere.

    Raises:
        UserError: no such pair.
    """
    if pair not in PAIRS:
        raise unknown("pair of the plane", pair, PAIRS)
    operation, (first, second) = PAIRS[pair]
    first_GG, second_GG = density_on_grid(first), density_on_grid(second)
    if operation == "product":
        composed_GG = first_GG * second_GG
    elif operation == "mixture":
        composed_GG = 0.5 * first_GG + 0.5 * second_GG
    elif operation == "negation":
        composed_GG = np.where(second_GG > 0, 0.0, first_GG ** (1.0 + STRENGTH))
    else:
        by_GG = (1.0 - BOUND) * second_GG + BOUND * first_GG
        powers_GG = first_GG ** (1.0 + BOUNDED_STRENGTH), by_GG**BOUNDED_STRENGTH
        composed_GG = np.divide(*powers_GG, out=np.zeros_like(first_GG), where=first_GG > 0)
    return composed_GG / composed_GG.sum()


@dataclass(frozen=True, eq=False)
class Truth:
    """What perfect samplers of perfect models would draw from at a level: signal * x + noise * z, x composed exactly.

    Noise does not commute with products and negations; at level 0 it is so faint that this hardly matters (for the
    product the deviation along x is the same to 1e-6).

    Attributes:
        pair: one of `PAIRS`.
        clean_GG: the probability of each cell without noise.
        log_density_GG: log of the noised density at the cells' centres, at least `LOWEST`.
        signal: sqrt(abar) of the level; 1 without noise.
        noise: sqrt(1 - abar) of the level.
    """

    pair: str
    clean_GG: np.ndarray
    log_density_GG: np.ndarray
    signal: float
    noise: float

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
        cumulative = np.cumsum(self.clean_GG.ravel())
        cells = np.searchsorted(cumulative, generator.uniform(0.0, cumulative[-1], count), side="right")
        places_ND = np.stack(np.unravel_index(cells, self.clean_GG.shape), axis=1)
        clean_ND = (places_ND + generator.uniform(size=(count, 2))) * _cell() - HALF_WIDTH
        return self.signal * clean_ND + self.noise * generator.standard_normal((count, 2))

    def covariance(self) -> np.ndarray:
        """Of the points, exactly; float64 [2, 2]."""
        at_G = centres()
        x, y = self.clean_GG.sum(axis=1), self.clean_GG.sum(axis=0)
        mean_D = np.array([x @ at_G, y @ at_G])
        second_DD = np.array([[x @ at_G**2, at_G @ self.clean_GG @ at_G], [0.0, y @ at_G**2]])
        second_DD[1, 0] = second_DD[0, 1]
        within = _cell() ** 2 / 12.0
        return self.signal**2 * (second_DD - np.outer(mean_D, mean_D) + within * np.eye(2)) + self.noise**2 * np.eye(2)


def truth(pair: str, signal: float = 1.0, noise: float = 0.0) -> Truth:
    """The exact composed density of a pair.

    Args:
        pair: one of `PAIRS`.
        signal: sqrt(abar) of the level that samplers end at (`NoiseSchedule.signal`), about 1.
        noise: sqrt(1 - abar) of it; 0 for the clean density, whose log is `LOWEST` beyond its edges.

    Raises:
        UserError: no such pair.
    """
    clean_GG = composed_on_grid(pair)
    # the noised density at y is that of the grid, blurred by noise / signal, at y / signal
    blurred_GG = ndimage.gaussian_filter(clean_GG, noise / (signal * _cell()), mode="constant", truncate=8.0)
    density_GG = blurred_GG / (_cell() * signal) ** 2
    if signal != 1.0:
        places = (np.stack(np.meshgrid(centres(), centres(), indexing="ij")) / signal + HALF_WIDTH) / _cell() - 0.5
        density_GG = ndimage.map_coordinates(density_GG, places, order=1, mode="constant")
    log_density_GG = np.log(np.maximum(density_GG, np.exp(LOWEST)))
    return Truth(pair, clean_GG, log_density_GG, signal, noise)


def _cell() -> float:
    return 2.0 * HALF_WIDTH / CELLS
