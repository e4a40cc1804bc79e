"""The mean and variance of a single worker's estimate at fixed parameters, measured. M = episodes, d = parameters."""

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from models.evolution.config import EvolutionConfig
from models.evolution.learning import ESTIMATORS, estimator_of
from models.evolution.problems import horizon_of, pose
from models.evolution.unrolled import Key
from shammie.configs import from_plain
from shammie.errors import UserError, unknown
from shammie.files import canonical_json

EPISODES_AT_ONCE = 4096


@dataclass(frozen=True)
class Moments:
    """What is measured.

    Attributes:
        problem: one of `problems.PROBLEMS`; its parameters are those that learning would start from.
        options: of the problem.
        estimator: one of `learning.ESTIMATORS`.
        reuse: K of "gpes".
        window: W, steps; it divides the horizon.
        sigma: standard deviation of perturbations.
        episodes: M; each gives the estimates of all its windows.
        seed: of everything that is drawn.
    """

    problem: str = "linear"
    options: Mapping[str, Any] = field(default_factory=dict)
    estimator: str = "nres"
    reuse: int = 0
    window: int = 1
    sigma: float = 0.1
    episodes: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.estimator not in ESTIMATORS:
            raise unknown("estimator", self.estimator, ESTIMATORS)
        if self.episodes < 2:
            raise UserError(f"Moments.episodes is {self.episodes!r}", "give at least 2: one shows no spread")
        horizon = horizon_of(self.problem, self.options)
        evolution = EvolutionConfig(1, self.window, self.sigma)
        evolution.check_horizon(horizon)
        if horizon % self.window:
            raise UserError(
                f"Moments.window is {self.window} and the horizon {horizon}",
                "give a window that divides it, so that all windows are alike (learning needs none that does)",
            )
        if self.estimator == "gpes":
            evolution.check_reuse(self.reuse, horizon)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {**asdict(self), "options": dict(self.options)}

    @staticmethod
    def from_json(config: Mapping[str, Any]) -> "Moments":
        """What `to_json` gave.

        Raises:
            UserError: there is a setting too many, or one is refused.
        """
        return from_plain(Moments, config, "setting of moments")


class Measured(NamedTuple):
    """Moments of the estimate of one worker at a window that is uniform over the episode.

    Attributes:
        mean: of the estimate, float64 [d].
        mean_error: its standard error, float64 [d].
        variance: trace of the covariance.
        variance_error: its standard error.
    """

    mean: np.ndarray
    mean_error: np.ndarray
    variance: float
    variance_error: float


def measure(wanted: Moments) -> Measured:
    """Measures: episodes are independent, the windows of one are not, so errors come from episodes."""
    estimates = _estimates(canonical_json({**wanted.to_json(), "seed": 0}))
    means_MD, squares_M = estimates(jax.random.split(jax.random.key(wanted.seed), wanted.episodes))
    return moments_of(np.asarray(means_MD, np.float64), np.asarray(squares_M, np.float64))


def moments_of(means_MD: np.ndarray, squares_M: np.ndarray) -> Measured:
    """Moments from those of each episode.

    E|g|^2 - |E g|^2; the second term is taken without its bias, and the error by the delta method.

    Args:
        means_MD: mean of an episode's estimates.
        squares_M: mean of their squared lengths.
    """
    episodes = len(squares_M)
    mean_D = means_MD.mean(axis=0)
    mean_error_D = means_MD.std(axis=0, ddof=1) / episodes**0.5
    square = float(np.sum(mean_D**2) - np.sum(mean_error_D**2))
    pulls_M = squares_M - 2 * means_MD @ mean_D
    return Measured(
        mean_D,
        mean_error_D,
        float(squares_M.mean()) - square,
        float(pulls_M.std(ddof=1)) / episodes**0.5,
    )


@functools.lru_cache(maxsize=16)
def _estimates(text: str) -> Callable[[Key], tuple[jax.Array, jax.Array]]:
    """Of keys [M] each episode's mean estimate [M, d] and mean squared length [M]."""
    wanted = Moments.from_json(json.loads(text))
    posed = pose(wanted.problem, wanted.options)
    config = EvolutionConfig(1, wanted.window, wanted.sigma, offsets=False)
    estimator = estimator_of(wanted.estimator, posed.problem, config, wanted.reuse)
    theta = posed.first_theta(jax.random.key(0))
    whole = wanted.estimator in ("full_es", "backprop")
    windows = 1 if whole else posed.problem.horizon // wanted.window

    def of_episode(key: Key) -> tuple[jax.Array, jax.Array]:
        start_key, key = jax.random.split(key)

        def turn(workers: Any, number: jax.Array) -> tuple[Any, jax.Array]:
            gradient, workers, _ = estimator.gradient(theta, workers, jax.random.fold_in(key, number))
            return workers, jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(gradient)])

        estimates_WD = jax.lax.scan(turn, estimator.init(theta, start_key), jnp.arange(windows))[1]
        return jnp.mean(estimates_WD, axis=0), jnp.mean(jnp.sum(jnp.square(estimates_WD), axis=1))

    return jax.jit(lambda keys: jax.lax.map(of_episode, keys, batch_size=EPISODES_AT_ONCE))
