"""Markov kernels that keep a density: `init(x) -> state`, `step(key, state) -> (state, info)`, for one chain.

Langevin's are blackjax's: `diffusions.overdamped_langevin` (ULA) and `mala`. Hamiltonian ones are in `hmc`. A state
holds the log density and score at its point, so that a step asks for none that was known. Callers vmap over chains.
X = the shape of a point.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import blackjax.mcmc.diffusions as diffusions
import blackjax.mcmc.mala as blackjax_mala
import jax
import jax.numpy as jnp

from models.composition.density import Target
from shammie.errors import UserError

_OVERDAMPED: Any = diffusions.overdamped_langevin  # blackjax's annotations are narrower than what it takes
_MALA: Any = blackjax_mala.build_kernel()
_MALA_STATE: Any = blackjax_mala.MALAState
LARGEST_ERROR = 69.0  # of an energy, in nats: exp(-69) is 1e-30, which no test accepts


class State(NamedTuple):
    """Where a chain is.

    Attributes:
        position: the point, [X].
        log_density: there, up to a constant; 0 where only scores are known.
        score: there, [X].
        momentum: [X], of Hamiltonian kernels; else None.
        alive: bool []; False for a chain that met what is not finite: it stays where it last was well.
    """

    position: jax.Array
    log_density: jax.Array
    score: jax.Array
    momentum: jax.Array | None
    alive: jax.Array


class Info(NamedTuple):
    """What a step did.

    Attributes:
        acceptance: the probability that its proposal was accepted, [] float32; 1 without a Metropolis test.
        accepted: bool [].
        energy_error: of the proposal, float32 [], in nats, from -69 to 69: what the test is made of (of "hmc" and
            "uhmc": the new energy less the old, kinetic energy included; of "mala" minus log acceptance, never
            negative). NaN where no energy is known, and of "ula".
        finite: bool []; False for a chain that is dead.
    """

    acceptance: jax.Array
    accepted: jax.Array
    energy_error: jax.Array
    finite: jax.Array


class Kernel(NamedTuple):
    """A Markov kernel.

    Attributes:
        init: (point [X], momentum [X] or None) to a state; one score is evaluated. Without a momentum a Hamiltonian
            chain begins at rest.
        step: (key, state) to (state, info).
    """

    init: Callable[..., State]
    step: Callable[[jax.Array, State], tuple[State, Info]]


def value_and_score(target: Target) -> Callable[[jax.Array], tuple[jax.Array, jax.Array]]:
    """(log density, score) of a point, in one pass; 0 for the former where only scores are known."""
    if target.log_density is not None:
        return jax.value_and_grad(target.log_density)
    return lambda x: (jnp.zeros((), x.dtype), target.score(x))


def dying(state: State, alive: jax.Array) -> State:
    """The state, dead where `alive` (bool []) is False: its log density is infinite, which no test leaves."""
    return state._replace(log_density=jnp.where(alive, state.log_density, jnp.inf), alive=alive)


def first_state(target: Target, x: jax.Array, momentum: jax.Array | None = None) -> State:
    """The state at a point: dead where its score is not finite, or its log density NaN or infinite upwards."""
    log_density, score = value_and_score(target)(x)
    alive = sound(x, log_density, score)
    return dying(State(x, log_density, score, momentum, alive), alive)


def sound(x: jax.Array, log_density: jax.Array, score: jax.Array) -> jax.Array:
    """Whether a chain can go on from here, bool []."""
    # a log density of minus infinity is a place without density, which a chain may begin at and leave
    return jnp.all(jnp.isfinite(x)) & jnp.all(jnp.isfinite(score)) & (log_density < jnp.inf)


def chosen(condition: jax.Array, one: State, other: State) -> State:
    """`one` where the condition (bool []) holds, else `other`."""
    return jax.tree.map(lambda left, right: jnp.where(condition, left, right), one, other)


def ula(target: Target, step_size: jax.typing.ArrayLike) -> Kernel:
    """Unadjusted Langevin: x + eps score + sqrt(2 eps) z. Its law is off by terms of eps; scores suffice.

    Args:
        target: a density at one level.
        step_size: eps.
    """
    langevin = _OVERDAMPED(value_and_score(target))

    def step(key: jax.Array, state: State) -> tuple[State, Info]:
        moved = langevin(key, (state.position, state.log_density, state.score), step_size)
        x, log_density, score = moved
        alive = state.alive & sound(x, log_density, score)
        there = State(x, log_density, score, state.momentum, alive)
        return chosen(alive, there, state._replace(alive=alive)), Info(jnp.ones(()), alive, jnp.asarray(jnp.nan), alive)

    return Kernel(lambda x, momentum=None: first_state(target, x), step)


def mala(target: Target, step_size: jax.typing.ArrayLike) -> Kernel:
    """Langevin with a Metropolis test, which keeps the density exactly (Roberts and Tweedie 1996).

    Args:
        target: a density at one level, with energies.
        step_size: eps, as of `ula`.

    Raises:
        UserError: only its scores are known.
    """
    whole = energies_of(target, "mala")

    def log_density(x: jax.Array) -> jax.Array:
        # blackjax rejects what is NaN, and would accept plus infinity
        value = whole(x)
        return jnp.where(value < jnp.inf, value, -jnp.inf)

    def step(key: jax.Array, state: State) -> tuple[State, Info]:
        before = _MALA_STATE(state.position, state.log_density, state.score)
        moved, info = _MALA(key, before, log_density, step_size)
        error = jnp.minimum(-jnp.log(info.acceptance_rate), LARGEST_ERROR)
        after = State(moved.position, moved.logdensity, moved.logdensity_grad, state.momentum, state.alive)
        return after, Info(info.acceptance_rate, info.is_accepted, error, state.alive)

    return Kernel(lambda x, momentum=None: first_state(target, x), step)


def energies_of(target: Target, kernel: str) -> Callable[[jax.Array], jax.Array]:
    """The target's log density; UserError where only its scores are known."""
    if target.log_density is None:
        raise UserError(f"{kernel} needs a log density for its Metropolis test", "sample by scores: 'ula' or 'uhmc'")
    return target.log_density
