"""Online gradients by forward differentiation: UORO (arXiv:1702.05043) and DODGE (arXiv:2202.08587). N = workers.

Both are unbiased for the gradient at theta itself: they differentiate, and do not smooth. Each worker is one
trajectory, and N W steps an estimate count as environment steps, though each costs a few times a plain step.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from models.evolution.config import EvolutionConfig
from models.evolution.estimator import Estimator, Gradient, Info
from models.evolution.perturbation import draw, is_float
from models.evolution.reverse_mode import Trajectories, first_trajectories, mean_gradient, next_horizon
from models.evolution.unrolled import Key, Loss, Params, State, Unrolled
from models.evolution.workers import INIT, NOISE, STEP, one_key, worker_keys
from shammie.errors import UserError

Floats = list[jax.Array]  # the floating-point leaves of a pytree: the others have no derivative


class _Directions(NamedTuple):
    """What a worker takes along."""

    theta: Floats  # UORO: theta's part of the rank-one estimate of ds/dtheta; DODGE: xi, the sum of all directions
    state: Floats  # UORO: the state's part; DODGE: the derivative of the state along the noise
    noise: Floats | None  # DODGE: the present direction
    started: jax.Array  # bool []


def floats(tree: Any) -> Floats:
    """The floating-point leaves."""
    return [jnp.asarray(leaf) for leaf in jax.tree.leaves(tree) if is_float(leaf)]


def with_floats(tree: Any, values: Floats) -> Any:
    """The tree with other floating-point leaves."""
    leaves, structure = jax.tree.flatten(tree)
    rest = iter(values)
    return jax.tree.unflatten(structure, [next(rest) if is_float(leaf) else leaf for leaf in leaves])


def uoro(problem: Unrolled, config: EvolutionConfig) -> Estimator:
    """Unbiased online recurrent optimization: ds/dtheta is carried as one outer product of random signs' making.

    The estimate of a step is (dL/ds . s~) theta~ + dL/dtheta with what was carried up to it. The two scales that keep
    both parts alike large are those of the paper (its section 3.1); a part that is 0 is dropped.
    """

    def start(theta: Params, key: Key, horizon: jax.Array) -> tuple[State, _Directions]:
        """A fresh state, and the outer product of its own dependence on theta."""

        def floats_of_start(theta_floats: Floats) -> tuple[Floats, State]:
            state = problem.begin(with_floats(theta, theta_floats), one_key(key, 0, INIT), horizon)
            return floats(state), state

        state_floats, pull, state = jax.vjp(floats_of_start, floats(theta), has_aux=True)
        signs = _signs(state_floats, one_key(key, 0, NOISE))
        of_state, of_theta = _balanced(signs, pull(signs)[0])
        return state, _Directions(of_theta, of_state, None, jnp.ones((), bool))

    def step(
        theta: Params, state: State, number: jax.Array, carried: _Directions, step_key: Key, noise_key: Key
    ) -> tuple[State, Loss, Floats, _Directions]:
        def moved(theta_floats: Floats, state_floats: Floats) -> tuple[tuple[Floats, Loss], State]:
            before = with_floats(state, state_floats)
            after, loss = problem.step(with_floats(theta, theta_floats), before, number, step_key)
            return (floats(after), loss), after

        of_theta, of_state = floats(theta), floats(state)
        none = [jnp.zeros_like(leaf) for leaf in of_theta]
        (after_floats, loss), (forward, loss_forward), after = jax.jvp(
            moved, (of_theta, of_state), (none, carried.state), has_aux=True
        )
        _, pull, _ = jax.vjp(lambda t: moved(t, of_state), of_theta, has_aux=True)
        zeros = [jnp.zeros_like(leaf) for leaf in after_floats]
        direct = pull((zeros, jnp.ones_like(loss)))[0]
        estimate = [loss_forward * t + d for t, d in zip(carried.theta, direct, strict=True)]
        signs = _signs(after_floats, noise_key)
        old_state, old_theta = _balanced(forward, carried.theta)
        new_state, new_theta = _balanced(signs, pull((signs, jnp.zeros_like(loss)))[0])
        both = _Directions(
            [a + b for a, b in zip(old_theta, new_theta, strict=True)],
            [a + b for a, b in zip(old_state, new_state, strict=True)],
            None,
            carried.started,
        )
        return after, loss, estimate, both

    return _forward(problem, config, "uoro", start, step, renew=None)


def dodge(problem: Unrolled, config: EvolutionConfig, *, reuse: int | None = None) -> Estimator:
    """Directional derivatives along a random direction that an episode keeps: xi (dL/dtheta . noise), summed.

    What NRES becomes when sigma goes to 0. With `reuse` steps between fresh directions, whose sum xi is, it is what
    GPES_K becomes.

    Args:
        problem: what is unrolled.
        config: settings; sigma does nothing, directions are N(0, 1).
        reuse: K, a multiple of the window or at least the horizon; None for one direction per episode.

    Raises:
        UserError: `reuse` fits neither.
    """
    if reuse is not None and (reuse < 1 or (reuse % config.window and reuse < problem.horizon)):
        raise UserError(
            f"reuse is {reuse}, the window {config.window} and the horizon {problem.horizon}",
            "give a multiple of the window, or the horizon or more",
        )

    def start(theta: Params, key: Key, horizon: jax.Array) -> tuple[State, _Directions]:
        noise = floats(_one_draw(theta, one_key(key, 0, NOISE)))

        def floats_of_start(theta_floats: Floats) -> tuple[Floats, State]:
            state = problem.begin(with_floats(theta, theta_floats), one_key(key, 0, INIT), horizon)
            return floats(state), state

        _, along, state = jax.jvp(floats_of_start, (floats(theta),), (noise,), has_aux=True)
        return state, _Directions(noise, along, noise, jnp.ones((), bool))

    def renewed(theta: Params, number: jax.Array, carried: _Directions, key: Key) -> _Directions:
        """Inside an episode: one more direction where K steps are over."""
        if reuse is None:
            return carried
        due = (number % reuse == 0) & (number > 0)
        fresh = floats(_one_draw(theta, key))
        noise = [jnp.where(due, new, old) for new, old in zip(fresh, carried.noise or [], strict=True)]
        xi = [jnp.where(due, old + new, old) for new, old in zip(fresh, carried.theta, strict=True)]
        return carried._replace(theta=xi, noise=noise, started=carried.started | due)

    def step(
        theta: Params, state: State, number: jax.Array, carried: _Directions, step_key: Key, noise_key: Key
    ) -> tuple[State, Loss, Floats, _Directions]:
        del noise_key

        def moved(theta_floats: Floats, state_floats: Floats) -> tuple[tuple[Floats, Loss], State]:
            before = with_floats(state, state_floats)
            after, loss = problem.step(with_floats(theta, theta_floats), before, number, step_key)
            return (floats(after), loss), after

        primals, tangents = (floats(theta), floats(state)), (carried.noise or [], carried.state)
        (_, loss), (along, loss_along), after = jax.jvp(moved, primals, tangents, has_aux=True)
        return after, loss, [loss_along * leaf for leaf in carried.theta], carried._replace(state=along)

    return _forward(problem, config, "dodge", start, step, renewed)


_Start = Callable[[Params, Key, jax.Array], tuple[State, _Directions]]
_Step = Callable[[Params, State, jax.Array, _Directions, Key, Key], tuple[State, Loss, Floats, _Directions]]
_Renew = Callable[[Params, jax.Array, _Directions, Key], _Directions]


def _forward(
    problem: Unrolled, config: EvolutionConfig, name: str, start: _Start, step: _Step, renew: _Renew | None
) -> Estimator:
    """The estimator of a method that carries directions along one trajectory of each worker."""
    config.check_horizon(problem.horizon)
    whole, window = config.windows_hold(problem.horizon), config.window

    def walked(theta: Params, worker: Trajectories, key: Key) -> tuple[Trajectories, Floats, jax.Array, jax.Array]:
        """A window of one worker: where it is then, sums of its estimates and losses, steps that count."""

        def begun(worker: Trajectories, place: jax.Array | int) -> Trajectories:
            starts = worker.step == 0
            horizon = jnp.where(starts, next_horizon(problem, config, key, place), worker.horizon)
            fresh = start(theta, one_key(key, 2 * window + place, INIT), horizon)
            inner, carried = jax.tree.map(
                lambda new, old: jnp.where(starts, new, old), fresh, (worker.inner, worker.carried)
            )
            if renew is not None:
                carried = renew(theta, worker.step, carried, one_key(key, place, NOISE))
            return worker._replace(horizon=horizon, inner=inner, carried=carried)

        def turn(carry: Any, place: jax.Array) -> tuple[Any, None]:
            worker, total, losses, counted = carry
            if not whole:
                worker = begun(worker, place)
            counts = worker.carried.started
            keys = one_key(key, place, STEP), one_key(key, window + place, NOISE)
            after, loss, estimate, carried = step(theta, worker.inner, worker.step, worker.carried, *keys)
            number = worker.step + 1
            number = jnp.where(number >= worker.horizon, 0, number)
            worker = worker._replace(inner=after, step=number, carried=carried)
            total = [t + jnp.where(counts, e, 0) for t, e in zip(total, estimate, strict=True)]
            return (worker, total, losses + jnp.where(counts, loss, 0), counted + counts.astype(jnp.int32)), None

        worker = begun(worker, 0) if whole else worker
        loss = jax.eval_shape(lambda: problem.step(theta, worker.inner, worker.step, key)[1])
        nothing = [jnp.zeros_like(leaf) for leaf in floats(theta)]
        carry = worker, nothing, jnp.zeros((), loss.dtype), jnp.zeros((), jnp.int32)
        carry, _ = jax.lax.scan(turn, carry, jnp.arange(window, dtype=jnp.int32), unroll=config.unroll)
        return carry

    def gradient(theta: Params, workers: Trajectories, key: Key) -> tuple[Gradient, Trajectories, Info]:
        keys_N = worker_keys(key, workers.number)
        after, totals, losses_N, counted_N = jax.vmap(walked, in_axes=(None, 0, 0))(theta, workers, keys_N)
        count = losses_N.shape[0]
        zeros = jax.tree.map(lambda leaf: jnp.zeros((count, *jnp.shape(leaf)), jnp.result_type(leaf)), theta)
        of_workers = with_floats(zeros, totals)
        total, loss, counted, finite = mean_gradient(config, counted_N, theta, of_workers, losses_N)
        made = jnp.asarray(count * window, jnp.int32)
        return total, after, Info(loss, made, jnp.asarray(window, jnp.int32), counted, finite)

    windows = config.burn_in_windows(problem.horizon)

    def init(theta: Params, key: Key) -> Trajectories:
        start_key, burn_in_key = jax.random.split(key)
        workers = first_trajectories(problem, config, theta, start_key)
        keys_N = worker_keys(start_key, workers.number)
        carried = jax.vmap(lambda k, horizon: start(theta, k, horizon)[1])(keys_N, workers.horizon)
        # a made-up start in the midst of an episode carries nothing, and does not count
        carried = jax.tree.map(jnp.zeros_like, carried)
        workers = workers._replace(carried=carried)
        keys = jax.random.split(burn_in_key, max(windows, 1))[:windows]
        return jax.lax.scan(lambda w, k: (gradient(theta, w, k)[1], None), workers, keys)[0]

    steps = windows * window
    return Estimator(name, init, gradient, config.particles * steps, steps)


def _one_draw(theta: Params, key: Key) -> Params:
    return jax.tree.map(lambda leaf: leaf[0], draw(theta, key, 1.0, 1))


def _signs(like: Floats, key: Key) -> Floats:
    keys = [jax.random.fold_in(key, place) for place in range(len(like))]
    return [jax.random.rademacher(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, like, strict=True)]


def _balanced(of_state: Floats, of_theta: Floats) -> tuple[Floats, Floats]:
    """Both sides of an outer product scaled to alike norms; nothing where one of them is nothing."""
    a, b = _norm(of_state), _norm(of_theta)
    alive = (a > 0) & (b > 0)
    rho = jnp.sqrt(jnp.where(alive, b, 1.0) / jnp.where(alive, a, 1.0))
    state_factor, theta_factor = jnp.where(alive, rho, 0.0), jnp.where(alive, 1 / rho, 0.0)
    return (
        [(leaf * state_factor).astype(leaf.dtype) for leaf in of_state],
        [(leaf * theta_factor).astype(leaf.dtype) for leaf in of_theta],
    )


def _norm(leaves: Floats) -> jax.Array:
    return jnp.sqrt(sum((jnp.sum(jnp.square(leaf)) for leaf in leaves), jnp.zeros(())))
