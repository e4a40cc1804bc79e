"""One run of learning with one estimator: its settings, and what is seen on the way. P = points that are looked at."""

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from models.evolution.config import EvolutionConfig
from models.evolution.es import gpes, nres, pes, truncated_es
from models.evolution.estimator import Estimator
from models.evolution.forward_mode import dodge, uoro
from models.evolution.meta_training import advance, begin
from models.evolution.perturbation import draw, perturbed
from models.evolution.problems import Posed, horizon_of, is_deterministic, pose
from models.evolution.reverse_mode import backprop, truncated_backprop
from models.evolution.unrolled import Key, Params, Unrolled, mean_loss
from models.evolution.whole_episode import full_es
from shammie.configs import from_plain
from shammie.errors import UserError, unknown
from shammie.files import canonical_json

BUILDERS = {
    "full_es": full_es,
    "truncated_es": truncated_es,
    "pes": pes,
    "nres": nres,
    "backprop": backprop,
    "truncated_backprop": truncated_backprop,
    "uoro": uoro,
    "dodge": dodge,
}
ESTIMATORS = (*BUILDERS, "gpes")
OPTIMIZERS = {"sgd": optax.sgd, "adam": optax.adam}

EVALUATION_SEED = 20230412  # one for all runs, so that they are compared on the same episodes and perturbations
SHOWN_NUMBERS = 16  # of the last theta
EPISODES_AT_ONCE = 256


def estimator_of(name: str, problem: Unrolled, config: EvolutionConfig, reuse: int = 0) -> Estimator:
    """The estimator of a name.

    Args:
        name: one of ESTIMATORS.
        problem: what is unrolled.
        config: settings.
        reuse: K of "gpes"; others ignore it.

    Raises:
        UserError: none is called so (the nearest are named), or the settings do not go with the problem.
    """
    if name == "gpes":
        return gpes(problem, config, reuse=reuse)
    if name not in BUILDERS:
        raise unknown("estimator", name, ESTIMATORS)
    return BUILDERS[name](problem, config)


@dataclass(frozen=True)
class Learning:
    """A run: all that decides what it comes to.

    Attributes:
        problem: one of `problems.PROBLEMS`.
        options: of the problem.
        estimator: one of ESTIMATORS.
        reuse: K of "gpes".
        particles: N.
        window: W, steps; it need not divide the horizon.
        sigma: standard deviation of perturbations.
        normalize_loss: as in `EvolutionConfig`.
        optimizer: "sgd" or "adam".
        learning_rate: of it.
        drop_at: the iteration from which the learning rate is a tenth; 0 for never.
        iterations: updates.
        skip_nonfinite: leave out updates whose gradient is not finite.
        seed: of everything that is drawn.
        points: how often the parameters are looked at, evenly over the iterations, beside the first.
        episodes: how many the unperturbed loss is the mean of; deterministic problems need one.
        pairs: antithetic perturbations that the smoothed loss is the mean of; 0 leaves it out.
        unroll: as in `EvolutionConfig`.
    """

    problem: str = "lorenz"
    options: Mapping[str, Any] = field(default_factory=dict)
    estimator: str = "nres"
    reuse: int = 0
    particles: int = 200
    window: int = 100
    sigma: float = 0.04
    normalize_loss: bool = False
    optimizer: str = "sgd"
    learning_rate: float = 1e-5
    drop_at: int = 0
    iterations: int = 1000
    skip_nonfinite: bool = False
    seed: int = 101
    points: int = 20
    episodes: int = 1
    pairs: int = 64
    unroll: int = 1

    def __post_init__(self) -> None:
        if self.estimator not in ESTIMATORS:
            raise unknown("estimator", self.estimator, ESTIMATORS)
        if self.optimizer not in OPTIMIZERS:
            raise unknown("optimizer", self.optimizer, OPTIMIZERS)
        for name, least in (("iterations", 1), ("points", 1), ("episodes", 1), ("pairs", 0), ("drop_at", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise UserError(f"Learning.{name} is {value!r}", f"give a whole number of at least {least}")
        if not self.learning_rate > 0:
            raise UserError(f"Learning.learning_rate is {self.learning_rate!r}", "give a positive number")
        horizon = horizon_of(self.problem, self.options)
        evolution = self.config()
        evolution.check_horizon(horizon)
        if self.estimator == "gpes":
            evolution.check_reuse(self.reuse, horizon)

    def config(self) -> EvolutionConfig:
        """The estimator's settings."""
        return EvolutionConfig(
            self.particles, self.window, self.sigma, normalize_loss=self.normalize_loss, unroll=self.unroll
        )

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {**asdict(self), "options": dict(self.options)}

    @staticmethod
    def from_json(config: Mapping[str, Any]) -> "Learning":
        """What `to_json` gave.

        Raises:
            UserError: there is a setting too many, or one is refused.
        """
        return from_plain(Learning, config, "setting of a run")


class Seen(NamedTuple):
    """What a run came to, as numpy arrays.

    Attributes:
        iterations: updates made, int64 [P].
        environment_steps: steps of trajectories made for them, burn-in included, int64 [P].
        sequential_steps: those of them that follow each other, int64 [P].
        loss: of the parameters themselves, float64 [P].
        smoothed_loss: mean over perturbations of sigma, float64 [P]; empty where there are none.
        skipped: updates that were left out.
        theta: the last parameters, float64 [d], where they are no more than SHOWN_NUMBERS; else empty.
    """

    iterations: np.ndarray
    environment_steps: np.ndarray
    sequential_steps: np.ndarray
    loss: np.ndarray
    smoothed_loss: np.ndarray
    skipped: int
    theta: np.ndarray


def learn(run: Learning) -> Seen:
    """Makes a run."""
    posed, estimator, optimizer = _built(canonical_json({**run.to_json(), "seed": 0}))
    first_key, key = jax.random.split(jax.random.key(run.seed))
    state = begin(estimator, optimizer, posed.first_theta(first_key), key)
    states, skipped = [state], 0
    for steps in parts(run.iterations, run.points):
        state, curve = advance(estimator, optimizer, state, steps, skip_nonfinite=run.skip_nonfinite)
        skipped += int(np.sum(~curve.updated))
        states.append(state)
    evaluate = _evaluation(
        canonical_json({"problem": run.problem, "options": run.options}), run.episodes, run.pairs, run.sigma
    )
    loss_P, smoothed_P = evaluate(jax.tree.map(lambda *leaves: jnp.stack(leaves), *[one.theta for one in states]))
    last = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(state.theta)]).astype(np.float64)
    return Seen(
        np.array([int(one.iteration) for one in states], np.int64),
        np.array([int(one.environment_steps) for one in states], np.int64),
        np.array([int(one.sequential_steps) for one in states], np.int64),
        np.asarray(loss_P, np.float64),
        np.asarray(smoothed_P, np.float64) if run.pairs else np.zeros(0),
        skipped,
        last if last.size <= SHOWN_NUMBERS else np.zeros(0),
    )


def parts(iterations: int, points: int) -> list[int]:
    """Iterations in as many equal parts as points, but for the last: few lengths, since each is compiled."""
    size = -(-iterations // points)
    return [min(size, iterations - start) for start in range(0, iterations, size)]


@functools.lru_cache(maxsize=16)  # the runs of a group share what is compiled for the first
def _built(text: str) -> tuple[Posed, Estimator, optax.GradientTransformation]:
    run = Learning.from_json(json.loads(text))
    posed = pose(run.problem, run.options)
    rate: Any = run.learning_rate
    if run.drop_at:
        rate = optax.piecewise_constant_schedule(run.learning_rate, {run.drop_at: 0.1})
    return posed, estimator_of(run.estimator, posed.problem, run.config(), run.reuse), OPTIMIZERS[run.optimizer](rate)


@functools.lru_cache(maxsize=16)
def _evaluation(text: str, episodes: int, pairs: int, sigma: float) -> Callable[[Params], tuple[Any, Any]]:
    """Of parameters [P, ...] the losses and smoothed losses [P], on the same episodes and perturbations for all."""
    told = json.loads(text)
    problem = pose(told["problem"], told["options"]).problem
    if is_deterministic(told["problem"]):
        episodes = 1

    def mean_of(thetas: Params, keys: Key) -> jax.Array:
        """The mean loss of some parameters, each in one episode, not all at once."""
        one = lambda pair: mean_loss(problem, *pair)  # noqa: E731
        return jnp.mean(jax.lax.map(one, (thetas, keys), batch_size=EPISODES_AT_ONCE))

    def of_point(theta: Params) -> tuple[jax.Array, jax.Array]:
        episode_key, noise_key, pair_key = jax.random.split(jax.random.key(EVALUATION_SEED), 3)
        same = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (episodes, *leaf.shape)), theta)
        loss = mean_of(same, jax.random.split(episode_key, episodes))
        if not pairs:
            return loss, loss
        several_SN = perturbed(theta, draw(theta, noise_key, sigma, pairs), (1.0, -1.0))
        keys_N = jax.random.split(pair_key, pairs)
        return loss, (mean_of(_row(several_SN, 0), keys_N) + mean_of(_row(several_SN, 1), keys_N)) / 2

    return jax.jit(lambda thetas_P: jax.lax.map(of_point, thetas_P))


def _row(tree: Params, place: int) -> Params:
    return jax.tree.map(lambda leaf: leaf[place], tree)
