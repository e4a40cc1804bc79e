"""Hamiltonian kernels whose momentum is refreshed in part, with and without a Metropolis test (Horowitz 1991).

A step: v' = c v + sqrt((1 - c^2) mass) z, then L leapfrog steps (blackjax's velocity Verlet) to (x*, v*). The test
compares joint energies; where it rejects, x is kept and v = -v': without that flip the law is wrong wherever steps are
rejected. Each leapfrog step asks for one score. blackjax's `ghmc` is another kernel. X = the shape of a point.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import blackjax.mcmc.integrators as integrators
import jax
import jax.numpy as jnp

from models.composition.density import Target
from models.composition.kernels import (
    LARGEST_ERROR,
    Info,
    Kernel,
    State,
    chosen,
    energies_of,
    first_state,
    mala,
    ula,
    value_and_score,
)
from models.composition.sampler_config import HAMILTONIAN_KINDS, SamplerConfig
from shammie.errors import unknown

VERLET = (0.5, 1.0, 0.5)  # of a step: momentum, position, momentum


def hmc(
    target: Target,
    step_size: jax.typing.ArrayLike,
    leapfrog_steps: int = 3,
    damping: float = 0.5,
    mass: float = 1.0,
) -> Kernel:
    """Hamiltonian Monte Carlo, which keeps the density exactly.

    Args:
        target: a density at one level, with energies.
        step_size: of a leapfrog step.
        leapfrog_steps: L.
        damping: c, 0 for plain HMC.
        mass: of every axis.

    Raises:
        UserError: only its scores are known.
    """
    energies_of(target, "hmc")
    propose = _proposal(target, step_size, leapfrog_steps, damping, mass)

    def step(key: jax.Array, state: State) -> tuple[State, Info]:
        refresh_key, test_key = jax.random.split(key)
        begun, ended, error = propose(refresh_key, state)
        acceptance = jnp.where(ended.alive, jnp.minimum(jnp.exp(-error), 1.0), 0.0)
        accepted = jax.random.uniform(test_key) < acceptance
        kept = state._replace(momentum=-_momentum(begun))
        return chosen(accepted, ended, kept), Info(acceptance, accepted, error, state.alive)

    return Kernel(lambda x, momentum=None: _at_rest(target, x, momentum), step)


def uhmc(
    target: Target,
    step_size: jax.typing.ArrayLike,
    leapfrog_steps: int = 3,
    damping: float = 0.5,
    mass: float = 1.0,
) -> Kernel:
    """The same without a test: scores suffice, and its law is off by terms of step_size^2. Arguments as of `hmc`."""
    propose = _proposal(target, step_size, leapfrog_steps, damping, mass)

    def step(key: jax.Array, state: State) -> tuple[State, Info]:
        _, ended, error = propose(key, state)
        if target.log_density is None:
            error = jnp.asarray(jnp.nan)
        alive = state.alive & ended.alive
        return chosen(alive, ended, state._replace(alive=alive)), Info(jnp.ones(()), alive, error, alive)

    return Kernel(lambda x, momentum=None: _at_rest(target, x, momentum), step)


KERNELS: Mapping[str, Callable[..., Kernel]] = MappingProxyType({"ula": ula, "mala": mala, "uhmc": uhmc, "hmc": hmc})


def kernel_of(config: SamplerConfig, target: Target, step_size: jax.typing.ArrayLike) -> Kernel:
    """A config's kernel at one level.

    Args:
        config: of one of KERNELS.
        target: the density at that level.
        step_size: eps there.

    Raises:
        UserError: "reverse" and "ddim" are no kernels; a test without energies.
    """
    if config.kind not in KERNELS:
        raise unknown("kernel", config.kind, KERNELS)
    if config.kind in HAMILTONIAN_KINDS:
        given = (config.leapfrog_steps, config.damping, config.mass)
        return KERNELS[config.kind](target, step_size, *given)
    return KERNELS[config.kind](target, step_size)


def first_momentum(key: jax.Array, shape: tuple[int, ...], mass: float = 1.0) -> jax.Array:
    """A momentum of the law that the kernels keep, N(0, mass I)."""
    return jnp.sqrt(mass) * jax.random.normal(key, shape)


def leapfrog(target: Target, state: State, step_size: jax.typing.ArrayLike, steps: int, mass: float = 1.0) -> State:
    """Hamilton's equations by the leapfrog rule: reversible, volume-preserving, of energy error O(step_size^2).

    Args:
        target: a density at one level.
        state: with a momentum.
        step_size: of each step.
        steps: how many, one score each.
        mass: of every axis.
    """
    values = value_and_score(target)

    def drift(x: jax.Array, velocity: jax.Array, step_size: jax.typing.ArrayLike, share: float, _: None) -> tuple:
        moved = x + step_size * share * velocity
        return moved, *values(moved), None

    # blackjax's velocity_verlet itself takes no scores without a log density; its parts do
    kinetic: Any = lambda momentum: 0.5 * jnp.sum(momentum**2) / mass  # noqa: E731
    kick = integrators.euclidean_momentum_update_fn(kinetic)
    one: Any = integrators.generalized_two_stage_integrator(
        kick, drift, list(VERLET), integrators.format_euclidean_state_output
    )
    first = integrators.IntegratorState(state.position, _momentum(state), *state[1:3])  # pyright: ignore[reportArgumentType]
    x, momentum, log_density, score = jax.lax.fori_loop(0, steps, lambda _, at: one(at, step_size), first)
    return State(x, log_density, score, momentum, state.alive)


def _proposal(
    target: Target, step_size: jax.typing.ArrayLike, leapfrog_steps: int, damping: float, mass: float
) -> Callable[[jax.Array, State], tuple[State, State, jax.Array]]:
    """(key, state) to the state with its momentum refreshed, the one proposed, and the energy error between them."""

    def kinetic(state: State) -> jax.Array:
        return 0.5 * jnp.sum(_momentum(state) ** 2) / mass

    def propose(key: jax.Array, state: State) -> tuple[State, State, jax.Array]:
        fresh = first_momentum(key, state.position.shape, mass)
        begun = state._replace(momentum=damping * _momentum(state) + jnp.sqrt(1.0 - damping**2) * fresh)
        ended = leapfrog(target, begun, step_size, leapfrog_steps, mass)
        moving = kinetic(ended)  # not finite where any score on the way was not
        error = (moving - ended.log_density) - (kinetic(begun) - begun.log_density)
        alive = state.alive & jnp.isfinite(moving) & (ended.log_density < jnp.inf)
        error = jnp.clip(jnp.nan_to_num(error, nan=LARGEST_ERROR), -LARGEST_ERROR, LARGEST_ERROR)
        return begun, ended._replace(alive=alive), error

    return propose


def _at_rest(target: Target, x: jax.Array, momentum: jax.Array | None) -> State:
    return first_state(target, x, jnp.zeros_like(x) if momentum is None else momentum)


def _momentum(state: State) -> jax.Array:
    assert state.momentum is not None
    return state.momentum
