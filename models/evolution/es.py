"""Online evolution strategies: the family GPES_K, with PES and NRES as its ends, and biased truncated ES.

Every worker goes through its own episode. A window moves all of them W steps on and gives one estimate,
xi * sum_t (L_t(+) - L_t(-)) / (2 sigma^2), summed over workers and divided by the number of steps
(arXiv:2304.12180, algorithms 1 to 3; PES is arXiv:2112.13835). N = workers, S = trajectories of a worker.

Noise and state are renewed at the start of the step that needs them, not at the end of the step before: so an initial
state that depends on theta sees the noise of its own episode.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from models.evolution.config import EvolutionConfig
from models.evolution.estimate import scale, weights
from models.evolution.estimator import Estimator, Gradient, Info
from models.evolution.packing import Packed, pack, unpack
from models.evolution.perturbation import choose, draw, perturbed, weighted_sum, zero_noise
from models.evolution.unrolled import Key, Params, State, Unrolled
from models.evolution.workers import HORIZON, INIT, NOISE, STEP, draw_horizons, draw_offsets, keys_for, one_key

PAIR = (1.0, -1.0)
BRANCHES = (1.0, -1.0, 0.0)  # truncated ES: the pair, and the unperturbed trajectory that the next window starts from


class Workers(NamedTuple):
    """The workers between two windows.

    Attributes:
        number: which worker, int32 [N]; its random numbers follow from it.
        step: steps made in its episode, int32 [N]; 0 means that a new one begins.
        horizon: of its episode, int32 [N].
        inner: states, leaves [S, N, ...]; truncated ES keeps only the unperturbed one, S = 1.
        noise: the current perturbation, sigma included, leaves [N, ...].
        accumulated: xi, the sum of the episode's perturbations so far, leaves [N, ...]; None where it is `noise`.
        ahead: the perturbation that each worker takes next, leaves [N, ...]; None where all take one every window.
        taken: whether `ahead` has become the noise and must be drawn anew before the next time, bool [N]; or None.
        started: whether any noise was drawn since the made-up start, bool [N].
    """

    number: jax.Array
    step: jax.Array
    horizon: jax.Array
    inner: State
    noise: Params
    accumulated: Params | None
    ahead: Params | None
    taken: jax.Array | None
    started: jax.Array


class _Sums(NamedTuple):
    """What a window adds up: differences, not both losses, since those may be large beside what they differ by."""

    pending: jax.Array  # differences of a pair's losses since the noise last changed, float [N]
    steps: jax.Array  # since the noise last changed, int32 [N]
    difference: jax.Array | None  # over the whole window, float [N]; None where that is the same
    plus: jax.Array  # losses of the trajectories at theta + noise, float [N]
    counted: jax.Array  # int32 [N]
    finite: jax.Array  # bool [N]
    gradient: Gradient  # what was weighed already, theta's structure


def gpes(problem: Unrolled, config: EvolutionConfig, *, reuse: int) -> Estimator:
    """Generalised PES: a fresh perturbation every `reuse` steps of an episode, weighed by the sum of all so far.

    Unbiased for the smoothed objective for every `reuse`; PES has reuse = W, NRES reuse >= T.

    Args:
        problem: what is unrolled.
        config: settings.
        reuse: K, a multiple of the window, or at least the horizon.

    Raises:
        UserError: `reuse` fits neither.
    """
    config.check_reuse(reuse, problem.horizon)
    return _online(problem, config, f"gpes_{reuse}", PAIR, reuse, lambda step_N: step_N % reuse == 0)


def pes(problem: Unrolled, config: EvolutionConfig) -> Estimator:
    """Persistent evolution strategies: a fresh perturbation every window."""
    return replace(gpes(problem, config, reuse=config.window), name="pes")


def nres(problem: Unrolled, config: EvolutionConfig) -> Estimator:
    """Noise-reuse evolution strategies: one perturbation per episode, so that nothing has to be accumulated."""
    return _online(problem, config, "nres", PAIR, problem.horizon)


def truncated_es(problem: Unrolled, config: EvolutionConfig) -> Estimator:
    """Truncated ES as the paper's authors run it: biased, since it forgets what a perturbation did before the window.

    Each worker keeps one unperturbed trajectory. A window branches a pair off it, and makes the steps of the
    unperturbed one too: 3 N W steps.
    """
    return _online(problem, config, "truncated_es", BRANCHES, config.window)


def _online(
    problem: Unrolled,
    config: EvolutionConfig,
    name: str,
    signs: tuple[float, ...],
    reuse: int,
    renew: Callable[[jax.Array], jax.Array] | None = None,
) -> Estimator:
    """The estimator of online methods.

    Args:
        problem: what is unrolled.
        config: settings.
        name: the estimator's.
        signs: PAIR, or BRANCHES where trajectories are perturbed for a window only.
        reuse: how many steps of an episode have the same noise.
        renew: steps int32 [N] -> who draws noise, which is then accumulated; None draws it once per episode (PAIR) or
            once per window (BRANCHES).
    """
    config.check_horizon(problem.horizon)
    branching = signs is BRANCHES
    ahead = min(reuse, problem.horizon) > config.window
    # otherwise a worker may end or renew within a window, and each step has to look
    whole = config.windows_hold(problem.horizon)
    window = config.window
    begin_each = jax.vmap(jax.vmap(problem.begin), in_axes=(0, None, None))
    step_each = jax.vmap(jax.vmap(problem.step), in_axes=(0, 0, None, None))

    def noise_for(theta: Params, key: Key, place: jax.Array | int) -> Params:
        return draw(theta, one_key(key, place, NOISE), config.sigma, config.particles)

    def refilled(theta: Params, workers: Workers, key: Key, place: jax.Array | int, which_N: jax.Array) -> Workers:
        """Workers whose `ahead` can be taken by those marked.

        Random numbers for one are drawn as fast as for all, and in most windows some worker begins its episode. So all
        that was taken is drawn anew when somebody has nothing left: once an episode, where all are alike long.
        """
        if workers.taken is None:
            return workers
        ahead, taken_N = jax.lax.cond(
            jnp.any(which_N & workers.taken),
            lambda ahead, taken_N: (
                choose(taken_N, noise_for(theta, key, place), ahead),
                jnp.zeros_like(taken_N),
            ),
            lambda ahead, taken_N: (ahead, taken_N),
            workers.ahead,
            workers.taken,
        )
        return workers._replace(ahead=ahead, taken=taken_N | which_N)

    def drawn(theta: Params, workers: Workers, key: Key, place: jax.Array | int, which_N: jax.Array) -> Workers:
        """New noise for some workers."""
        workers = refilled(theta, workers, key, place, which_N)
        fresh = workers.ahead if ahead else noise_for(theta, key, place)
        accumulated = workers.accumulated
        if accumulated is not None:
            begun = choose(workers.step == 0, jax.tree.map(jnp.zeros_like, accumulated), accumulated)
            accumulated = choose(which_N, jax.tree.map(jnp.add, begun, fresh), begun)
        noise = choose(which_N, fresh, workers.noise)
        return workers._replace(noise=noise, accumulated=accumulated, started=workers.started | which_N)

    def begun(theta: Params, workers: Workers, key: Key, place: jax.Array | int) -> Workers:
        """New episodes for the workers at step 0."""
        at_start_N = workers.step == 0

        def renewed(horizon_N: jax.Array, inner: State) -> tuple[jax.Array, State]:
            horizons_N = draw_horizons(config, problem.horizon, keys_for(key, workers.number, place, HORIZON))
            horizon_N = jnp.where(at_start_N, horizons_N, horizon_N)
            thetas = perturbed(theta, workers.noise, signs)
            fresh = begin_each(thetas, keys_for(key, workers.number, place, INIT), horizon_N)
            return horizon_N, choose(at_start_N, fresh, inner, axis=1)

        # only what changes goes through the condition: the rest would be copied
        horizon_N, inner = jax.lax.cond(
            jnp.any(at_start_N), renewed, lambda *same: same, workers.horizon, workers.inner
        )
        return workers._replace(horizon=horizon_N, inner=inner)

    def renewed(
        theta: Params, workers: Workers, sums: _Sums, key: Key, place: jax.Array | int
    ) -> tuple[Workers, _Sums]:
        """New noise and new episodes for the workers that are due; what they summed under the old noise is weighed."""
        if not branching:
            which_N = workers.step == 0 if renew is None else renew(workers.step)
            if whole:
                workers = drawn(theta, workers, key, place, which_N)
            else:
                workers, sums = jax.lax.cond(
                    jnp.any(which_N),
                    lambda: (drawn(theta, workers, key, place, which_N), _weighed(config, workers, sums, which_N)),
                    lambda: (workers, sums),
                )
        return begun(theta, workers, key, place), sums

    def moved(
        workers: Workers, thetas: Params, sums: _Sums, key: Key, place: jax.Array, step_N: jax.Array
    ) -> tuple[State, jax.Array, _Sums]:
        """All trajectories one step on, and their losses [S, N], which the caller adds up."""
        inner, losses_SN = step_each(thetas, workers.inner, step_N, keys_for(key, workers.number, place, STEP))
        if not whole:
            sums = sums._replace(steps=sums.steps + 1)
        if config.skip_nonfinite:
            finite_N = jnp.isfinite(losses_SN[0] - losses_SN[1])
            losses_SN = jnp.where(finite_N[None], losses_SN, 0)
            # `counted` is of the whole window, `steps` of the present noise
            skipped_N = (~finite_N & workers.started).astype(jnp.int32)
            sums = sums._replace(
                steps=sums.steps - skipped_N, counted=sums.counted - skipped_N, finite=sums.finite & finite_N
            )
        return inner, losses_SN, sums

    def run(theta: Params, workers: Workers, key: Key) -> tuple[Workers, _Sums]:
        """A window of all workers."""
        count = workers.step.shape[0]
        if branching:
            noise = draw(theta, one_key(key, 0, NOISE), config.sigma, count)
            inner = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(signs), *x.shape[1:])), workers.inner)
            workers = workers._replace(noise=noise, inner=inner, started=jnp.ones(count, bool))
        keys_N = keys_for(key, workers.number, 0, STEP)
        loss = jax.eval_shape(step_each, perturbed(theta, workers.noise, signs), workers.inner, workers.step, keys_N)[1]
        none_N = jnp.zeros(count, jnp.int32)
        sums = _Sums(
            pending=jnp.zeros(count, loss.dtype),
            steps=none_N + window if whole else none_N,
            difference=None if whole else jnp.zeros(count, loss.dtype),
            plus=jnp.zeros(count, loss.dtype),
            counted=none_N + window,
            finite=jnp.ones(count, bool),
            gradient=None if whole else jax.tree.map(jnp.zeros_like, theta),
        )
        numbers = jnp.arange(window, dtype=jnp.int32)
        if whole:
            workers, sums = renewed(theta, workers, sums, key, 0)
            thetas = perturbed(theta, workers.noise, signs)

            zeros_SN = jnp.zeros((len(signs), count), loss.dtype)
            start = workers.inner, zeros_SN
            packed = pack(start, zeros_SN)

            def step(packed: Packed, sums: _Sums, place: jax.Array) -> tuple[Packed, _Sums]:
                inner, totals_SN = unpack(packed, start, zeros_SN)
                at = workers._replace(inner=inner)
                inner, losses_SN, sums = moved(at, thetas, sums, key, place, workers.step + place)
                if packed.rows is None:
                    sums = _added(sums, losses_SN)
                else:  # beside a few numbers' state, a difference would cost as much again as the step
                    totals_SN += losses_SN
                return pack((inner, totals_SN), zeros_SN), sums

            def turn(carry: Any, places: jax.Array) -> tuple[Any, None]:
                packed, sums = carry
                for place in places:
                    packed, sums = step(packed, sums, place)
                if together > 1:
                    # two steps make one kernel; more would compute the first ones over and over. An even number of
                    # kernels in a turn of the loop needs no copy of the state
                    packed = jax.lax.optimization_barrier(packed)
                return (packed, sums), None

            together = 2 if packed.rows is not None and config.unroll > 1 and window % 2 == 0 else 1
            unroll = min(-(-config.unroll // together), window // together)
            turns = numbers.reshape(-1, together)
            (packed, sums), _ = jax.lax.scan(turn, (packed, sums), turns, unroll=unroll)
            inner, totals_SN = unpack(packed, start, zeros_SN)
            sums = _added(sums, totals_SN)
            step_N = workers.step + window
            workers = workers._replace(inner=inner, step=jnp.where(step_N >= workers.horizon, 0, step_N))
        else:

            def look_and_turn(carry: Any, place: jax.Array) -> tuple[Any, None]:
                workers, sums = carry
                workers, sums = renewed(theta, workers, sums, key, place)
                # steps before the first noise, which may come within the window
                sums = sums._replace(counted=sums.counted - (~workers.started).astype(jnp.int32))
                thetas = perturbed(theta, workers.noise, signs)
                inner, losses_SN, sums = moved(workers, thetas, sums, key, place, workers.step)
                sums = _added(sums, jnp.where(workers.started[None], losses_SN, 0))
                step_N = workers.step + 1
                step_N = jnp.where(step_N >= workers.horizon, 0, step_N)
                return (workers._replace(inner=inner, step=step_N), sums), None

            (workers, sums), _ = jax.lax.scan(look_and_turn, (workers, sums), numbers)
        return workers, sums

    def gradient(theta: Params, workers: Workers, key: Key) -> tuple[Gradient, Workers, Info]:
        workers, sums = run(theta, workers, key)
        everyone_N = jnp.ones_like(workers.started)
        # a worker that no noise was drawn for yet does not count
        counted_N = jnp.where(workers.started, sums.counted, 0)
        difference_N = sums.pending if sums.difference is None else sums.difference
        sums = _weighed(config, workers, sums, everyone_N)
        counted = jnp.sum(counted_N)
        total_SN = jnp.stack([sums.plus, sums.plus - difference_N])
        means_SN = total_SN / jnp.maximum(counted_N, 1).astype(total_SN.dtype)[None]
        factor = scale(config, counted, means_SN, counted_N > 0)
        total = jax.tree.map(lambda g: g * factor.astype(g.dtype), sums.gradient)
        loss = jnp.sum(jnp.where(workers.started[None], total_SN, 0)) / (2 * jnp.maximum(counted, 1))
        finite_N = sums.finite & jnp.isfinite(difference_N)
        count = workers.step.shape[0]
        if branching:
            workers = workers._replace(
                inner=jax.tree.map(lambda x: x[2:], workers.inner), noise=jax.tree.map(jnp.zeros_like, workers.noise)
            )
        info = Info(
            loss,
            jnp.asarray(len(signs) * count * window, jnp.int32),
            jnp.asarray(window, jnp.int32),
            counted,
            jnp.sum(finite_N.astype(jnp.int32)),
        )
        return total, workers, info

    windows = config.burn_in_windows(problem.horizon)

    def init(theta: Params, key: Key) -> Workers:
        count = config.particles
        number_N = jnp.arange(count, dtype=jnp.int32)
        start_key, burn_in_key = jax.random.split(key)
        horizon_N = draw_horizons(config, problem.horizon, keys_for(start_key, number_N, 0, HORIZON))
        step_N = draw_offsets(config, horizon_N, keys_for(start_key, number_N, 0, STEP))
        none = zero_noise(theta, count)
        kept = (0.0,) if branching else signs
        workers = Workers(
            number=number_N,
            step=step_N,
            horizon=horizon_N,
            inner=begin_each(perturbed(theta, none, kept), keys_for(start_key, number_N, 0, INIT), horizon_N),
            noise=none,
            accumulated=None if renew is None else none,
            ahead=none if ahead else None,
            taken=jnp.ones(count, bool) if ahead else None,
            started=jnp.zeros(count, bool),
        )
        window_keys = jax.random.split(burn_in_key, max(windows, 1))[:windows]
        return jax.lax.scan(lambda w, k: (gradient(theta, w, k)[1], None), workers, window_keys)[0]

    steps = windows * window
    return Estimator(name, init, gradient, len(signs) * config.particles * steps, steps)


def _added(sums: _Sums, losses_SN: jax.Array) -> _Sums:
    """Losses go into the sums."""
    difference_N = losses_SN[0] - losses_SN[1]
    difference = None if sums.difference is None else sums.difference + difference_N
    return sums._replace(pending=sums.pending + difference_N, difference=difference, plus=sums.plus + losses_SN[0])


def _weighed(config: EvolutionConfig, workers: Workers, sums: _Sums, which_N: jax.Array) -> _Sums:
    """What some workers summed under their present noise goes into the gradient, and their sums start again."""
    xi = workers.noise if workers.accumulated is None else workers.accumulated
    used_N = which_N & workers.started
    weights_N = jnp.where(used_N, weights(config, sums.pending, sums.steps), 0)
    added = weighted_sum(xi, weights_N)
    gradient = added if sums.gradient is None else jax.tree.map(jnp.add, sums.gradient, added)
    return sums._replace(
        gradient=gradient,
        pending=jnp.where(which_N, 0, sums.pending),
        steps=jnp.where(which_N, 0, sums.steps),
    )
