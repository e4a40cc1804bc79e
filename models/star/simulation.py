"""The noisy quadratic model run as it is trained: chains of steps, and meta-gradients through them, in JAX.

The update rule is written out here, not as the matrices of `models.star.noisy_quadratic`, so that each checks the
other. Arithmetic is float64 whatever JAX's own setting is. Arrays' letters: D dimensions, K averages, Z = (K + 1) D,
N chains, T steps, L lengths.
"""

import functools
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from models.star.noisy_quadratic import checked_decays, checked_hessian
from shammie.errors import UserError


class Chains(NamedTuple):
    """What `simulate` returns.

    Attributes:
        losses_T: the mean loss over chains before each step, float64.
        states_NZ: each chain's last (x, m_1, ..., m_K), float64.
    """

    losses_T: np.ndarray
    states_NZ: np.ndarray


class MetaGradients(NamedTuple):
    """Of each chain, for each number of steps: the gradient with respect to the rate and to the learned block.

    Attributes:
        rate_LN: float64.
        block_LNDD: float64.
    """

    rate_LN: np.ndarray
    block_LNDD: np.ndarray

    def norms(self) -> np.ndarray:
        """The root mean square over chains of the norms of both together, float64 [L]."""
        squares_LN = self.rate_LN**2 + np.sum(self.block_LNDD**2, axis=(-2, -1))
        return np.sqrt(squares_LN.mean(axis=1))


def simulate(
    key: jax.Array,
    hessian_DD: np.ndarray,
    noise_DD: np.ndarray,
    rate: float,
    block_DD: np.ndarray | None = None,
    decays: Sequence[float] = (),
    *,
    steps: int,
    chains: int,
    start_D: np.ndarray | None = None,
) -> Chains:
    """Monte Carlo: independent chains of the optimizer.

    Args:
        key: of the targets.
        hessian_DD: H.
        noise_DD: S, the targets' covariance.
        rate: a, of the nominal step.
        block_DD: P; None for 0.
        decays: b of each average: none for SGD, one for momentum, several for AggMo.
        steps: T.
        chains: N.
        start_D: the first x; None for 0. Averages start at 0.

    Raises:
        UserError: H, S or a decay cannot be, or a count is not above 0.
    """
    _check_counts(steps=steps, chains=chains)
    with jax.enable_x64(True):
        problem = _problem(hessian_DD, noise_DD, decays)
        theta = _theta(problem, rate, block_DD)
        losses, states = _simulate(key, problem, theta, _start(problem, start_D), steps, chains)
        return Chains(np.asarray(losses), np.asarray(states))


def meta_gradients(
    key: jax.Array,
    hessian_DD: np.ndarray,
    noise_DD: np.ndarray,
    rate: float,
    block_DD: np.ndarray | None = None,
    decays: Sequence[float] = (),
    *,
    lengths: Sequence[int],
    chains: int,
    start_D: np.ndarray | None = None,
    of: Literal["loss", "distance"] = "loss",
) -> MetaGradients:
    """Meta-gradients after unrolls of some lengths, by reverse mode through the scan of steps.

    Args:
        key: of the targets; the same for all lengths.
        hessian_DD: H.
        noise_DD: S.
        rate: a, of the nominal step.
        block_DD: P; None for 0.
        decays: b of each average.
        lengths: T, each; steps before the loss that is differentiated.
        chains: N.
        start_D: the first x; None for 0.
        of: what is differentiated: the last step's "loss", or its "distance" from the target, sqrt(2 loss).

    Raises:
        UserError: as for `simulate`.
    """
    _check_counts(chains=chains, lengths=min(lengths, default=0))
    with jax.enable_x64(True):
        problem = _problem(hessian_DD, noise_DD, decays)
        theta = _theta(problem, rate, block_DD)
        found = _meta_gradients(
            key, problem, theta, _start(problem, start_D), jnp.asarray(lengths), max(lengths), chains, of == "distance"
        )
        return MetaGradients(*(np.asarray(one) for one in found))


def growth_per_step(lengths: Sequence[int], norms_L: np.ndarray) -> float:
    """The factor by which norms grow each step, beside the T that they are times: exp of the slope of log(norm / T).

    x_T moves with theta as T rho^T, since each of T steps may be the one that theta changes. So the "distance" grows
    by rho a step, and the quadratic loss, which has x_T times its derivative, by rho^2. This holds of a radius above 1
    that a single real eigenvalue has; of a pair of complex ones up to the ripple of their phase.
    """
    lengths_L = np.asarray(lengths, np.float64)
    return float(np.exp(np.polyfit(lengths_L, np.log(norms_L / lengths_L), 1)[0]))


class _Problem(NamedTuple):
    hessian_DD: jax.Array
    root_DD: jax.Array  # root @ root.T is the targets' covariance
    decays_K: jax.Array


def _problem(hessian_DD: np.ndarray, noise_DD: np.ndarray, decays: Sequence[float]) -> _Problem:
    hessian, noise = checked_hessian(hessian_DD), np.asarray(noise_DD, np.float64)
    if noise.shape != hessian.shape:
        raise UserError(f"the noise has shape {noise.shape}", f"give a covariance of shape {hessian.shape}")
    variances, directions = np.linalg.eigh(noise)
    if variances[0] < -1e-9 * max(variances[-1], 1.0):
        raise UserError(f"the noise has the variance {variances[0]:.6g}", "give eigenvalues of at least 0")
    root = directions * np.sqrt(np.maximum(variances, 0))  # Cholesky would refuse a direction without noise
    return _Problem(jnp.asarray(hessian), jnp.asarray(root), jnp.asarray(checked_decays(decays)))


def _theta(problem: _Problem, rate: float, block_DD: np.ndarray | None) -> tuple[jax.Array, jax.Array]:
    shape = problem.hessian_DD.shape
    block = np.zeros(shape) if block_DD is None else np.asarray(block_DD, np.float64)
    if block.shape != shape:
        raise UserError(f"the learned block has shape {block.shape}", f"give {shape}, as the Hessian")
    return jnp.asarray(rate, jnp.float64), jnp.asarray(block)


def _start(problem: _Problem, start_D: np.ndarray | None) -> jax.Array:
    """The first (x, averages), float64 [K + 1, D]."""
    state = jnp.zeros((len(problem.decays_K) + 1, len(problem.hessian_DD)), jnp.float64)
    return state if start_D is None else state.at[0].set(jnp.asarray(start_D, jnp.float64))


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise UserError(f"{name} is {value}", "give at least 1")


def _step(problem: _Problem, theta: Any, state: jax.Array, target_D: jax.Array) -> jax.Array:
    rate, block_DD = theta
    x_D, averages_KD = state[0], state[1:]
    gradient_D = problem.hessian_DD @ (x_D - target_D)
    decays = problem.decays_K[:, None]
    averages_KD = decays * averages_KD + (1 - decays) * gradient_D[None, :]
    nominal_D = averages_KD.mean(0) if len(averages_KD) else gradient_D
    x_D = x_D - rate * nominal_D - block_DD @ gradient_D
    return jnp.concatenate([x_D[None, :], averages_KD])


def _loss(problem: _Problem, state: jax.Array, target_D: jax.Array) -> jax.Array:
    away_D = state[0] - target_D
    return away_D @ problem.hessian_DD @ away_D / 2


@functools.partial(jax.jit, static_argnums=(4, 5))
def _simulate(key: jax.Array, problem: _Problem, theta: Any, start: jax.Array, steps: int, chains: int) -> Any:
    def all_step(states: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        targets_ND = jax.random.normal(key, (chains, start.shape[1]), jnp.float64) @ problem.root_DD.T
        losses_N = jax.vmap(functools.partial(_loss, problem))(states, targets_ND)
        return jax.vmap(functools.partial(_step, problem, theta))(states, targets_ND), losses_N.mean()

    states, losses_T = jax.lax.scan(
        all_step, jnp.broadcast_to(start[None], (chains, *start.shape)), jax.random.split(key, steps)
    )
    return losses_T, states.reshape(chains, -1)


@functools.partial(jax.jit, static_argnums=(5, 6, 7))
def _meta_gradients(
    key: jax.Array,
    problem: _Problem,
    theta: Any,
    start: jax.Array,
    lengths_L: jax.Array,
    longest: int,
    chains: int,
    distance: bool,
) -> Any:
    targets_NTD = jax.random.normal(key, (chains, longest + 1, start.shape[1]), jnp.float64) @ problem.root_DD.T

    def measured(theta: Any, length: jax.Array, targets_TD: jax.Array) -> jax.Array:
        def one(state: jax.Array, now: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
            number, target_D = now
            # one compiled scan of the longest length serves all: the shorter ones stand still at their end
            return jnp.where(number < length, _step(problem, theta, state, target_D), state), None

        state, _ = jax.lax.scan(one, start, (jnp.arange(longest), targets_TD[:-1]))
        loss = _loss(problem, state, targets_TD[length])
        return jnp.sqrt(2 * loss) if distance else loss

    over_chains = jax.vmap(jax.grad(measured), in_axes=(None, None, 0))
    return jax.vmap(over_chains, in_axes=(None, 0, None))(theta, lengths_L, targets_NTD)
