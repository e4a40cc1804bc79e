"""Sampling down the noise levels by Markov kernels: annealed MCMC (arXiv:2302.11552, algorithm 1).

Chains begin at N(0, I) and run some steps of a kernel at every level, from T - 1 to 0; what they are drawn from at a
level is that level's density, whatever it was composed of. Reverse steps may come between, or alone, and an adapted
step size goes from level to level. Everything is one scan over levels, compiled once whatever their number.

The momentum of Hamiltonian kernels is carried from level to level: its law N(0, mass I) is the same at all of them and
independent of the point, so that carrying it keeps every level's law and saves the direction that a chain had.

N chains, X = the shape of a point, T levels, P recorded levels. `sample` may be called in a caller's jit, where the
parameters of a model are arguments; a call outside compiles anew.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from models.composition.adaptation import adapted, begun, pooled
from models.composition.density import Density
from models.composition.hmc import first_momentum, kernel_of
from models.composition.importance import log_standard_normal, resampling
from models.composition.kernels import Info, State, dying, first_state
from models.composition.reverse import reverse_step
from models.composition.sampler_config import HAMILTONIAN_KINDS, SamplerConfig, adaptation_steps
from shammie.errors import UserError


class Samples(NamedTuple):
    """What chains end with, and how they got there. Levels that had no kernel have NaN.

    Attributes:
        x_NX: the points, float32.
        finite_N: bool; False for chains that met what is not finite and stayed where they were.
        acceptance_T: the mean probability of acceptance over live chains and steps, by level; 1 without a test.
        energy_error_T: the mean of the positive energy errors (`kernels.Info`), by level; NaN where none is known.
        step_sizes_T: by level, after adaptation.
        path_PNX: the points at the end of the recorded levels, in the order asked for; None without.
        log_weights_N: of annealed importance sampling; minus infinity for dead chains; None without.
    """

    x_NX: jax.Array
    finite_N: jax.Array
    acceptance_T: jax.Array
    energy_error_T: jax.Array
    step_sizes_T: jax.Array
    path_PNX: jax.Array | None
    log_weights_N: jax.Array | None


class _Chains(NamedTuple):
    """What goes from level to level."""

    x_NX: jax.Array
    momentum_NX: jax.Array | None
    alive_N: jax.Array
    log_factor: jax.Array  # of the adapted step size, []
    log_weights_N: jax.Array | None
    log_density_N: jax.Array | None  # of x at the level above, for the weights
    path_PNX: jax.Array | None


class _Level(NamedTuple):
    """What the scan reads of each level."""

    level: Any
    steps: Any
    adapt_steps: Any
    step_size: Any  # before adaptation
    slot: Any  # of the path; P where a level is not recorded


def sample(
    key: jax.Array,
    density: Density | Callable[[Any], Density],
    config: SamplerConfig,
    chains: int,
    *,
    cases: Any = None,
    first: jax.Array | None = None,
    record: Sequence[int] = (),
) -> Samples:
    """Draws points.

    Args:
        key: of all that is random.
        density: a density; with `cases` a function from a case to its density.
        config: the sampler.
        chains: N.
        cases: of each chain, a pytree of arrays [N, …]; None without.
        first: where chains begin, float32 [N, X]; None for N(0, I). With it, weights begin at the first level.
        record: levels of which to record the points, after the kernel and before a reverse step.

    Returns:
        See `Samples`; `diagnostics.drawn` makes it the points to use, and says what went wrong.

    Raises:
        UserError: a sampler with a test for a density without an energy; levels that the schedule does not have; cases
            or first points that are not as many as chains; resampling among chains of different cases.
    """
    of_case, whole = _of_case(density, cases, chains)
    if config.tested and not whole.has_energy:
        raise whole.without_energy(f"the Metropolis test of {config.kind!r}")
    if config.resample is not None and cases is not None:
        raise UserError(
            "chains of different cases are of different densities, and cannot be drawn from each other",
            "set resample to None, or sample one case at a time",
        )
    if first is not None and first.shape != (chains, *whole.shape):
        raise UserError(f"first points have shape {first.shape}", f"give {(chains, *whole.shape)}")
    levels = _levels(config, whole, record)
    begin_key, levels_key = jax.random.split(key)
    begin = _begun(begin_key, of_case, whole, config, chains, cases, first, len(record))
    body = _level_of(levels_key, of_case, whole, config, cases)
    ended, (step_sizes_S, acceptance_S, errors_S) = jax.lax.scan(body, begin, jax.tree.map(jnp.asarray, levels))
    ran_S = levels.steps > 0
    by_level = lambda values_S: jnp.full(whole.schedule.levels, jnp.nan).at[levels.level[ran_S]].set(values_S[ran_S])  # noqa: E731
    return Samples(
        ended.x_NX,
        ended.alive_N,
        by_level(acceptance_S),
        by_level(errors_S),
        by_level(step_sizes_S),
        ended.path_PNX,
        ended.log_weights_N,
    )


def _of_case(
    density: Density | Callable[[Any], Density], cases: Any, chains: int
) -> tuple[Callable[[Any], Density], Density]:
    """The density of each case as a function, and of the first one."""
    if isinstance(density, Density):
        if cases is not None:
            raise UserError(
                f"{density.name} is one density, and there are cases", "give a function from case to density"
            )
        return lambda _: density, density
    counts = {len(leaf) for leaf in jax.tree.leaves(cases)}
    if counts != {chains}:
        raise UserError(f"there are {sorted(counts)} cases for {chains} chains", "give each chain one")
    return density, density(jax.tree.map(lambda leaf: leaf[0], cases))


def _levels(config: SamplerConfig, whole: Density, record: Sequence[int]) -> _Level:
    """The levels to go through, in order; NumPy arrays."""
    level_S, steps_S = config.levels(whole.schedule), config.steps_at(whole.schedule)
    adapt_S = np.zeros_like(steps_S) if config.target_acceptance is None else adaptation_steps(config, steps_S)
    slot_S = np.full_like(level_S, len(record))
    for slot, level in enumerate(record):
        if level not in level_S:
            raise UserError(f"level {level} is to be recorded", f"give {level_S[-1]} to {level_S[0]}")
        slot_S[level_S == level] = slot
    return _Level(level_S, steps_S, adapt_S, config.step_sizes(whole.schedule)[level_S].astype(np.float32), slot_S)


def _begun(
    key: jax.Array,
    of_case: Callable[[Any], Density],
    whole: Density,
    config: SamplerConfig,
    chains: int,
    cases: Any,
    first: jax.Array | None,
    recorded: int,
) -> _Chains:
    """The chains before the first level."""
    x_key, momentum_key = jax.random.split(key)
    shape = (chains, *whole.shape)
    x_NX = jax.random.normal(x_key, shape) if first is None else jnp.asarray(first, jnp.float32)
    moving = config.kind in HAMILTONIAN_KINDS
    log_density_N = None
    if config.weighted and first is None:
        log_density_N = jax.vmap(log_standard_normal)(x_NX)
    elif config.weighted:
        top = config.levels(whole.schedule)[0]
        log_density_N = jax.vmap(lambda x, case: of_case(case).log_density(x, top))(x_NX, cases)
    return _Chains(
        x_NX,
        first_momentum(momentum_key, shape, config.mass) if moving else None,
        jnp.ones(chains, bool),
        jnp.zeros(()),
        jnp.zeros(chains) if config.weighted else None,
        log_density_N,
        jnp.zeros((recorded, *shape)) if recorded else None,
    )


def _level_of(
    key: jax.Array, of_case: Callable[[Any], Density], whole: Density, config: SamplerConfig, cases: Any
) -> Callable[[_Chains, _Level], tuple[_Chains, tuple[jax.Array, jax.Array, jax.Array]]]:
    """The scan's body: one level."""
    goes_down = config.is_reverse or config.reverse_between
    down = reverse_step(config, whole.schedule)

    def body(chains: _Chains, at: _Level) -> tuple[_Chains, tuple[jax.Array, jax.Array, jax.Array]]:
        resample_key, adapt_key, steps_key, reverse_key = jax.random.split(jax.random.fold_in(key, at.level), 4)

        def begin(x: jax.Array, momentum: jax.Array | None, alive: jax.Array, case: Any) -> State:
            state = first_state(of_case(case).at(at.level), x, momentum)
            return dying(state, state.alive & alive)

        def moved(key: jax.Array, states: State, step_size: jax.Array) -> tuple[State, Info]:
            one = lambda key, state, case: kernel_of(config, of_case(case).at(at.level), step_size).step(key, state)  # noqa: E731
            return jax.vmap(one)(jax.random.split(key, len(states.position)), states, cases)

        states = jax.vmap(begin)(chains.x_NX, chains.momentum_NX, chains.alive_N, cases)
        log_weights_N = chains.log_weights_N
        if log_weights_N is not None:
            states, log_weights_N = _weighed(resample_key, states, chains, config)
        log_factor = chains.log_factor
        if config.target_acceptance is not None:
            states, log_factor = _adapted(adapt_key, moved, states, at, log_factor, config.target_acceptance)
        step_size = at.step_size * jnp.exp(log_factor)
        sums = (jnp.zeros(len(chains.x_NX)),) * 2
        if not config.is_reverse:

            def step(number: jax.Array, carried: Any) -> Any:
                states, acceptance_N, error_N = carried
                states, info = moved(jax.random.fold_in(steps_key, number), states, step_size)
                return states, acceptance_N + info.acceptance, error_N + jnp.maximum(info.energy_error, 0.0)

            states, *sums = jax.lax.fori_loop(0, at.steps, step, (states, *sums))
        path_PNX = chains.path_PNX
        if path_PNX is not None:
            path_PNX = path_PNX.at[at.slot].set(states.position, mode="drop")
        x_NX, alive_N = states.position, states.alive
        if goes_down:
            noise_NX = jax.random.normal(reverse_key, x_NX.shape)
            lower_NX = jax.vmap(down, in_axes=(0, 0, None, 0))(x_NX, states.score, at.level, noise_NX)
            # where kernels run at level 0, points are of its density already; a step to clean ones would shrink them
            goes = at.level > 0 if config.reverse_between and config.lowest_level == 0 else True
            finite_N = jnp.all(jnp.isfinite(lower_NX), axis=tuple(range(1, x_NX.ndim)))
            alive_N &= finite_N
            here = jax.lax.broadcast_in_dim(alive_N & goes, x_NX.shape, (0,))
            x_NX = jnp.where(here, lower_NX, x_NX)
        log_density_N = None if log_weights_N is None else states.log_density
        ended = _Chains(x_NX, states.momentum, alive_N, log_factor, log_weights_N, log_density_N, path_PNX)
        acceptance, error = (pooled(sum_N, states.alive) / jnp.maximum(at.steps, 1) for sum_N in sums)
        return ended, (step_size, acceptance, error)

    return body


def _weighed(key: jax.Array, states: State, chains: _Chains, config: SamplerConfig) -> tuple[State, jax.Array]:
    """The chains at a new level, drawn anew where their weights ask for it, and their log weights there."""
    assert chains.log_weights_N is not None
    assert chains.log_density_N is not None
    gained_N = chains.log_weights_N + states.log_density - chains.log_density_N
    log_weights_N = jnp.where(states.alive & ~jnp.isnan(gained_N), gained_N, -jnp.inf)
    if config.resample is None:
        return states, log_weights_N
    which_N, log_weights_N = resampling(key, log_weights_N, config.resample)
    return jax.tree.map(lambda leaf: leaf[which_N], states), log_weights_N


def _adapted(
    key: jax.Array,
    moved: Callable[[jax.Array, State, jax.Array], tuple[State, Info]],
    states: State,
    at: _Level,
    log_factor: jax.Array,
    target: float,
) -> tuple[State, jax.Array]:
    """The chains after the steps that adapt a level's step size, and the log of its factor."""

    def step(number: jax.Array, carried: Any) -> Any:
        states, search = carried
        step_size = at.step_size * jnp.exp(search.log_factor)
        states, info = moved(jax.random.fold_in(key, number), states, step_size)
        return states, adapted(search, pooled(info.acceptance, states.alive), target, at.adapt_steps)

    states, search = jax.lax.fori_loop(0, at.adapt_steps, step, (states, begun(log_factor)))
    return states, search.mean
