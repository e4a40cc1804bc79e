"""How sampling went: chains that are not finite, acceptance that collapsed, and how well chains of one level mix.

N chains, S steps, M finite chains, X = the shape of a point, T levels.
"""

import warnings
from typing import NamedTuple

import blackjax.diagnostics
import jax
import jax.numpy as jnp
import numpy as np

from models.composition.annealing import Samples
from models.composition.density import Density
from models.composition.hmc import first_momentum, kernel_of
from models.composition.kernels import Info, State
from models.composition.sampler_config import HAMILTONIAN_KINDS, SamplerConfig
from shammie.errors import UserError

COLLAPSED = 0.1  # acceptance below which a level's chains hardly move


class Drawn(NamedTuple):
    """The points to use, on the host.

    Attributes:
        x_MX: of the chains that stayed finite, float32.
        log_weights_M: of these; None without.
        dropped: how many chains did not.
    """

    x_MX: np.ndarray
    log_weights_M: np.ndarray | None
    dropped: int


def drawn(samples: Samples, config: SamplerConfig) -> Drawn:
    """Drops the chains that met what is not finite, and warns of these and of step sizes that are too large.

    Args:
        samples: of `sample`.
        config: what they were made with.

    Raises:
        UserError: no chain stayed finite.
    """
    finite_N = np.asarray(samples.finite_N)
    dropped = int(np.sum(~finite_N))
    if dropped == len(finite_N):
        raise UserError(
            f"all {dropped} chains of {config.kind!r} met numbers that are not finite",
            "lower step_size, set target_acceptance, or look at the model's scores: a quotient may be no density",
        )
    for line in troubles(samples, config):
        warnings.warn(line, stacklevel=2)
    weights_N = samples.log_weights_N
    weights_M = None if weights_N is None else np.asarray(weights_N)[finite_N]
    return Drawn(np.asarray(samples.x_NX)[finite_N], weights_M, dropped)


def troubles(samples: Samples, config: SamplerConfig) -> list[str]:
    """What went wrong, a line each: chains that are not finite, the level where acceptance collapsed."""
    lines = []
    finite_N, acceptance_T = np.asarray(samples.finite_N), np.asarray(samples.acceptance_T)
    if not finite_N.all():
        lines.append(f"{np.sum(~finite_N)} of {len(finite_N)} chains of {config.kind!r} met numbers that are not finite"
                     " and were dropped; lower step_size, or set target_acceptance")  # fmt: skip
    collapsed = int(np.sum(acceptance_T < COLLAPSED)) if config.tested else 0
    if collapsed:
        worst = int(np.nanargmin(acceptance_T))
        cure = "set target_acceptance, which adapts it" if config.target_acceptance is None else "raise adapt_steps"
        lines.append(
            f"{config.kind!r} accepted {acceptance_T[worst]:.3f} of its proposals at level {worst}, and less than"
            f" {COLLAPSED:g} at {collapsed} levels: step size {float(samples.step_sizes_T[worst]):.3g} is too large"
            f" there; {cure}, or lower step_size"
        )
    return lines


class Recorded(NamedTuple):
    """A run at one level.

    Attributes:
        x_NSX: the point after each step, float32.
        info: `kernels.Info` of each step, arrays [N, S].
    """

    x_NSX: jax.Array
    info: Info


def recorded(
    key: jax.Array, density: Density, config: SamplerConfig, level: int, first_NX: jax.Array, steps: int
) -> Recorded:
    """Runs a kernel at one level, at its step size without adaptation, and records every point.

    Args:
        key: of all that is random.
        density: what to sample.
        config: of a kernel; its kind, step size and scaling, leapfrog steps, damping and mass are read.
        level: where.
        first_NX: where chains begin.
        steps: S.

    Raises:
        UserError: a kind that is no kernel, or one with a test for a density without an energy.
    """
    if config.tested and not density.has_energy:
        raise density.without_energy(f"the Metropolis test of {config.kind!r}")
    kernel = kernel_of(config, density.at(level), float(config.step_sizes(density.schedule)[level]))
    begin_key, steps_key = jax.random.split(key)
    moving = config.kind in HAMILTONIAN_KINDS
    momentum_NX = first_momentum(begin_key, first_NX.shape, config.mass) if moving else None

    def step(states: State, key: jax.Array) -> tuple[State, tuple[jax.Array, Info]]:
        states, info = jax.vmap(kernel.step)(jax.random.split(key, len(first_NX)), states)
        return states, (states.position, info)

    begun = jax.vmap(kernel.init)(first_NX, momentum_NX)
    _, of_steps = jax.lax.scan(step, begun, jax.random.split(steps_key, steps))
    return Recorded(*jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), of_steps))


class Mixing(NamedTuple):
    """How well chains of one level mix, for each number of a point (Vehtari et al. 2021).

    Attributes:
        effective_draws_X: how many independent draws the chains are worth together, for their bulk.
        rhat_X: rank-normalised split R-hat: 1 where chains agree, above 1.01 where they do not.
    """

    effective_draws_X: np.ndarray
    rhat_X: np.ndarray


def mixing(x_NSX: jax.typing.ArrayLike) -> Mixing:
    """ESS and R-hat of a recorded run, by blackjax's diagnostics.

    Args:
        x_NSX: two chains or more of four steps or more.

    Raises:
        UserError: fewer.
    """
    draws_NSX = jnp.asarray(x_NSX)
    if draws_NSX.shape[0] < 2 or draws_NSX.shape[1] < 4:
        raise UserError(
            f"ESS and R-hat of {draws_NSX.shape[0]} chains of {draws_NSX.shape[1]} steps", "give 2 and 4 or more"
        )
    with jax.numpy_rank_promotion("allow"):
        found = _mixing(draws_NSX)
    return Mixing(*(np.asarray(one) for one in found))


@jax.jit
def _mixing(draws_NSX: jax.Array) -> tuple[jax.Array, jax.Array]:
    return blackjax.diagnostics.ess_bulk(draws_NSX), blackjax.diagnostics.rhat(draws_NSX)
