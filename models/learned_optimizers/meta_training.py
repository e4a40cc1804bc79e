"""Meta-training: theta through the phases of a curriculum, with checkpoints that it goes on from."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from models.evolution import Curve, MetaState, advance, begin, shard_workers
from models.evolution.es import Workers
from models.learned_optimizers import meta_checkpoints
from models.learned_optimizers.curriculum import MetaTrainingConfig, Phase
from models.learned_optimizers.interface import LearnedOptimizer, Theta
from models.learned_optimizers.last_layer import last_layer_scaled
from models.learned_optimizers.meta_optimizer import held, meta_optimizer_of
from shammie.progress import Progress

THETA, SEGMENTS = range(2)  # what the run's keys are for
TASKS, WORKERS, LENGTHS = range(3)  # and those of a segment


class Point(NamedTuple):
    """A stretch of the curve, up to and with an iteration.

    Attributes:
        phase: number of the phase, from 0.
        iteration: updates of theta so far, left-out ones included.
        environment_steps: steps of trainings so far, burn-in included.
        loss: mean over the stretch, of trainings under perturbed theta; 1 is where trainings begin.
        gradient_norm: mean over the stretch's finite ones; None where there were none.
        skipped: updates left out so far, because the gradient was not finite.
    """

    phase: int
    iteration: int
    environment_steps: int
    loss: float
    gradient_norm: float | None
    skipped: int


class Trained(NamedTuple):
    """What meta-training ended with: theta, as numpy arrays, and the curve."""

    theta: Theta
    curve: list[Point]


def meta_train(
    optimizer: LearnedOptimizer,
    config: MetaTrainingConfig,
    *,
    checkpoint: str = "",
    every_seconds: float = 30.0,
    what: str = "",
    tell: Callable[[Point], None] = lambda point: None,
) -> Trained:
    """Meta-trains an optimizer, or goes on with that; where it was interrupted changes no bit of the result.

    With several devices each family's workers are spread over as many of them as divide the workers.

    Args:
        optimizer: the rule.
        config: of everything.
        checkpoint: a file for the whole state, local or remote: read if it is there, replaced now and then, and left
            behind; "": none.
        every_seconds: seconds between two checkpoints, at the least.
        what: words for a live line of how far it is and how long the rest takes; "": none is shown.
        tell: is called with each point of the curve, after the checkpoint if one was due.

    Raises:
        UserError: the checkpoint is of another meta-training, or damaged.
    """
    key = jax.random.key(config.seed)
    meta_optimizer = meta_optimizer_of(config)
    theta = first_theta(optimizer, config, jax.random.fold_in(key, THETA))
    identity = meta_checkpoints.identity_of(optimizer, config)
    saved = meta_checkpoints.read(checkpoint, identity) if checkpoint else None
    curve = [] if saved is None else [Point(*row) for row in saved.curve]
    optimizer_state, made, followed = meta_optimizer.init(theta), np.int64(0), np.int64(0)
    written = time.monotonic()
    with _live_line(what, config, curve[-1].iteration if curve else 0) as progress:
        for number, (phase_number, iterations) in enumerate(_segments(config.phases)):
            if saved is not None and number < saved.segment:
                continue
            segment = _Segment(optimizer, config.phases[phase_number], jax.random.fold_in(key, SEGMENTS + number))
            if saved is not None:
                like = segment.state_like(meta_optimizer, theta)
                state = segment.spread(saved.state(like))
                saved = None
            else:
                state = segment.begin(meta_optimizer, theta, optimizer_state, min(config.stretch, iterations))
                state = state._replace(
                    environment_steps=state.environment_steps + made,
                    sequential_steps=state.sequential_steps + followed,
                )
            before = sum(count for _, count in _segments(config.phases)[:number])
            while (done := int(state.iteration)) < iterations:
                # stretches end where the curve has its points, wherever this process began
                state, curves = segment.advance(meta_optimizer, state, min(config.stretch, iterations - done))
                point = _point(phase_number, before + int(state.iteration), curves, curve[-1].skipped if curve else 0)
                curve.append(point)
                last = point.iteration == config.iterations
                if checkpoint and (last or time.monotonic() - written >= every_seconds):
                    meta_checkpoints.write(checkpoint, identity, number, state, curve)
                    written = time.monotonic()
                if progress is not None:
                    share = _share_done(config.phases, point.iteration)
                    progress.to(point.iteration, f"loss {point.loss:.4f}, {point.skipped} left out", share=share)
                tell(point)
            theta, optimizer_state = state.theta, state.optimizer_state
            made, followed = state.environment_steps, state.sequential_steps
    return Trained(jax.tree.map(np.asarray, theta), curve)


def first_theta(optimizer: LearnedOptimizer, config: MetaTrainingConfig, key: jax.Array) -> Theta:
    """Where meta-training starts: random, the network's last layer made smaller where the config says so.

    Raises:
        UserError: a last layer is to be scaled in an optimizer whose theta is not one small network (VeLO's).
    """
    return last_layer_scaled(optimizer, optimizer.init_theta(key), config.last_layer_scale)


class _Segment:
    """Iterations between two drawings of tasks: their estimators, and how they run."""

    def __init__(self, optimizer: LearnedOptimizer, phase: Phase, key: jax.Array) -> None:
        tasks = phase.tasks_of(jax.random.fold_in(key, TASKS))
        self._key, self._workers_key = jax.random.fold_in(key, LENGTHS), jax.random.fold_in(key, WORKERS)
        # more than one only for full ES, whose workers have no state: any of them takes any other's
        self._estimators = [phase.estimator_of(optimizer, tasks, length) for length in phase.horizons()]
        self._devices = math.gcd(phase.particles, jax.device_count())
        self._burn_in = phase.burn_in()

    def begin(
        self, meta_optimizer: optax.GradientTransformation, theta: Theta, optimizer_state: Any, stretch: int
    ) -> MetaState:
        """The state before the segment's first iteration, burn-in done."""
        start = begin(self._estimators[0], meta_optimizer, theta, self._workers_key)
        state = self.spread(start._replace(optimizer_state=optimizer_state))
        if not self._burn_in:
            return state
        # by the program of the iterations, as compiling another one would take longer than running it
        burning = state._replace(optimizer_state=held(optimizer_state))
        burning = burning._replace(key=jax.random.fold_in(state.key, 0))
        # in whole stretches: another number of iterations would be another program
        for _ in range(-(-self._burn_in // stretch)):
            burning, _ = self.advance(meta_optimizer, burning, stretch)
        return burning._replace(
            theta=state.theta, optimizer_state=state.optimizer_state, iteration=state.iteration, key=state.key
        )

    def state_like(self, meta_optimizer: optax.GradientTransformation, theta: Theta) -> Any:
        """The structure, shapes and types of a state, without the work of making one."""
        workers = jax.eval_shape(self._estimators[0].init, theta, self._workers_key)
        count = np.zeros((), np.int64)
        return MetaState(theta, meta_optimizer.init(theta), workers, jnp.zeros((), jnp.int32), self._key, count, count)

    def spread(self, state: MetaState) -> MetaState:
        """The state with its workers over the devices."""
        if self._devices == 1:
            return state
        auto = jax.sharding.AxisType.Auto
        mesh = jax.make_mesh((self._devices,), ("workers",), axis_types=(auto,), devices=jax.devices()[: self._devices])
        workers = state.workers
        if isinstance(workers, tuple) and not isinstance(workers, Workers):
            return state._replace(workers=tuple(shard_workers(one, mesh) for one in workers))
        return state._replace(workers=shard_workers(workers, mesh))

    def advance(
        self, meta_optimizer: optax.GradientTransformation, state: MetaState, iterations: int
    ) -> tuple[MetaState, list[Curve]]:
        """Some more iterations, and their curves."""
        if len(self._estimators) == 1:
            state, curve = advance(self._estimators[0], meta_optimizer, state, iterations, skip_nonfinite=True)
            return state, [curve]
        curves = []
        for _ in range(iterations):
            key = jax.random.fold_in(self._key, state.iteration)
            choice = int(jax.random.randint(key, (), 0, len(self._estimators)))
            state, curve = advance(self._estimators[choice], meta_optimizer, state, 1, skip_nonfinite=True)
            curves.append(curve)
        return state, curves


def _live_line(what: str, config: MetaTrainingConfig, start: int) -> AbstractContextManager[Progress | None]:
    if not what:
        return nullcontext()
    share = _share_done(config.phases, start) if start else None
    return Progress(what, config.iterations, start=start, share=share)


def _segments(phases: Sequence[Phase]) -> list[tuple[int, int]]:
    """(phase, iterations) of every segment."""
    return [(number, count) for number, phase in enumerate(phases) for count in phase.segments()]


def _point(phase: int, iteration: int, curves: Sequence[Curve], skipped: int) -> Point:
    loss, norms, updated = (
        np.concatenate([getattr(curve, name) for curve in curves]) for name in ("loss", "gradient_norm", "updated")
    )
    finite = norms[np.isfinite(norms)]
    return Point(
        phase=phase,
        iteration=iteration,
        environment_steps=int(curves[-1].environment_steps[-1]),
        loss=float(np.mean(loss, dtype=np.float64)),
        gradient_norm=float(np.mean(finite, dtype=np.float64)) if finite.size else None,
        skipped=skipped + int(np.sum(~updated)),
    )


def _share_done(phases: Sequence[Phase], iteration: int) -> float:
    """The share of all steps that so many iterations made, about; burn-in left out."""
    total = sum(phase.iterations * phase.steps_per_iteration() for phase in phases)
    return sum(count * steps for count, steps in _made(phases, iteration)) / total


def _made(phases: Sequence[Phase], iteration: int) -> Iterator[tuple[int, float]]:
    for phase in phases:
        made = min(iteration, phase.iterations)
        yield made, phase.steps_per_iteration()
        iteration -= made
