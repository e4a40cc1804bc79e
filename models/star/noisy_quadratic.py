"""The noisy quadratic model: when a learned optimizer with a nominal term is stable, and what loss it ends at.

Source: arXiv:2209.11208, the analysis of stability. The loss of step t is (x - mu_t)^T H (x - mu_t) / 2, its target
mu_t drawn anew from N(0, S) each step. With g = H (x - mu) the optimizer moves

    x <- x - a nominal - P g

by a nominal step, which is g (SGD), its average (momentum), or the mean of several averages (AggMo), each of them
m <- b m + (1 - b) g; and by a learned linear block P. All of it is linear, z <- A z + B mu, with the state
z = (x, m_1, ..., m_K), so that all is known: it is stable if and only if A's spectral radius is below 1.

Everything here is NumPy in float64; arrays' letters: D dimensions, K averages, Z = (K + 1) D.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_discrete_lyapunov

from shammie.errors import UserError


class Dynamics(NamedTuple):
    """z <- A z + B mu.

    Attributes:
        A: float64 [..., Z, Z].
        B: float64 [..., Z, D].
    """

    A: np.ndarray
    B: np.ndarray


def dynamics(
    hessian_DD: np.ndarray, rate: float, block_DD: np.ndarray | None = None, decays: Sequence[float] = ()
) -> Dynamics:
    """The dynamics of SGD, momentum or AggMo with a learned linear block.

    SGD has A = I - (a I + P) H and B = (a I + P) H; averages add rows and columns (the companion form).

    Args:
        hessian_DD: H, symmetric, its eigenvalues at least 0.
        rate: a, of the nominal step; 0 is the learned block alone.
        block_DD: P, [..., D, D], leading axes for many blocks at once; None for 0.
        decays: b of each average, in [0, 1): none for SGD, one for momentum, several for AggMo.

    Raises:
        UserError: H, P or a decay cannot be.
    """
    hessian = checked_hessian(hessian_DD)
    decays_K = checked_decays(decays)
    side = len(hessian)
    block = np.zeros((side, side)) if block_DD is None else np.asarray(block_DD, np.float64)
    if block.shape[-2:] != (side, side):
        raise UserError(f"the learned block has shape {block.shape}", f"give [..., {side}, {side}], as the Hessian")
    if not (np.isfinite(rate) and np.all(np.isfinite(block))):
        raise UserError(f"the rate is {rate} or the learned block is not finite", "give finite numbers")
    count = len(decays_K)
    # the share of a fresh gradient that the nominal step uses at once
    fresh = np.mean(1 - decays_K) if count else 1.0
    to_x = (rate * fresh * np.eye(side) + block) @ hessian
    size = (count + 1) * side
    A, B = np.zeros((*block.shape[:-2], size, size)), np.zeros((*block.shape[:-2], size, side))
    A[..., :side, :side], B[..., :side, :] = np.eye(side) - to_x, to_x
    for k, decay in enumerate(decays_K):
        own = slice((k + 1) * side, (k + 2) * side)
        A[..., :side, own] = -rate * decay / count * np.eye(side)
        A[..., own, own] = decay * np.eye(side)
        A[..., own, :side], B[..., own, :] = (1 - decay) * hessian, -(1 - decay) * hessian
    return Dynamics(A, B)


def eigenvalues(A_ZZ: np.ndarray) -> NDArray[np.complex128]:
    """A's eigenvalues, complex128 [..., Z]."""
    return np.linalg.eigvals(A_ZZ).astype(np.complex128)


def spectral_radius(A_ZZ: np.ndarray) -> np.ndarray:
    """The largest absolute eigenvalue, float64 [...]: stable below 1."""
    return np.abs(eigenvalues(A_ZZ)).max(axis=-1)


def require_stable(A_ZZ: np.ndarray) -> float:
    """The detector: A's spectral radius, if it is below 1.

    Raises:
        UserError: it is not, so that the loss diverges and meta-gradients grow without bound.
    """
    radius = float(spectral_radius(A_ZZ))
    if not radius < 1:
        raise UserError(
            f"the optimizer is unstable: its spectral radius is {radius:.6g}", "lower the rate or the block"
        )
    return radius


def stationary_covariance(system: Dynamics, noise_DD: np.ndarray) -> np.ndarray:
    """The covariance C of z that A and B settle at: C = A C A^T + B S B^T; float64 [Z, Z].

    Args:
        system: A and B, without leading axes.
        noise_DD: S, the targets' covariance.

    Raises:
        UserError: A is unstable. The equation has a solution even then, but it is no covariance.
    """
    require_stable(system.A)
    covariance = solve_discrete_lyapunov(system.A, system.B @ noise_DD @ system.B.T)
    return (covariance + covariance.T) / 2


def stationary_loss(hessian_DD: np.ndarray, noise_DD: np.ndarray, system: Dynamics) -> float:
    """The expected loss that the optimizer settles at: tr(H (C_xx + S)) / 2, for x_t does not depend on mu_t.

    Raises:
        UserError: A is unstable.
    """
    side = len(hessian_DD)
    covariance_DD = stationary_covariance(system, noise_DD)[:side, :side]
    return float(np.trace(hessian_DD @ (covariance_DD + noise_DD)) / 2)


def expected_losses(
    hessian_DD: np.ndarray, noise_DD: np.ndarray, system: Dynamics, start_D: np.ndarray, steps: int
) -> np.ndarray:
    """The expected losses before each step, exactly, from x = start and averages of 0; float64 [T]. May be unstable."""
    side = len(hessian_DD)
    mean_Z = np.zeros(len(system.A))
    mean_Z[:side] = start_D
    moment_ZZ = np.outer(mean_Z, mean_Z)  # of z, not about its mean: the noise has none, so one recursion has it all
    driven_ZZ = system.B @ noise_DD @ system.B.T
    losses = []
    for _ in range(steps):
        losses.append(np.trace(hessian_DD @ (moment_ZZ[:side, :side] + noise_DD)) / 2)
        moment_ZZ = system.A @ moment_ZZ @ system.A.T + driven_ZZ
    return np.array(losses)


def random_hessian(eigenvalues_D: Sequence[float], random: np.random.Generator) -> np.ndarray:
    """A Hessian with these eigenvalues in random directions, float64 [D, D]."""
    directions, _ = np.linalg.qr(random.standard_normal((len(eigenvalues_D), len(eigenvalues_D))))
    hessian = (directions * np.asarray(eigenvalues_D, np.float64)) @ directions.T
    return (hessian + hessian.T) / 2


def random_blocks(count: int, dimensions: int, scale: float, random: np.random.Generator) -> np.ndarray:
    """What untrained networks may be like: blocks P of independent N(0, scale^2), float64 [count, D, D].

    Without a nominal term half of their directions ascend, and hardly any block is stable.
    """
    return scale * random.standard_normal((count, dimensions, dimensions))


def checked_hessian(hessian_DD: np.ndarray) -> np.ndarray:
    """H in float64; UserError where it is not symmetric with eigenvalues of at least 0 (to rounding)."""
    hessian = np.asarray(hessian_DD, np.float64)
    if hessian.ndim != 2 or hessian.shape[0] != hessian.shape[1] or not hessian.size:
        raise UserError(f"the Hessian has shape {hessian.shape}", "give [D, D]")
    if not np.all(np.isfinite(hessian)) or not np.allclose(hessian, hessian.T, rtol=1e-9, atol=1e-12):
        raise UserError("the Hessian is not finite and symmetric", "give (H + H^T) / 2")
    least, most = np.linalg.eigvalsh(hessian)[[0, -1]]
    if least < -1e-9 * max(most, 1.0):
        raise UserError(f"the Hessian has the eigenvalue {least:.6g}", "give eigenvalues of at least 0")
    return hessian


def checked_decays(decays: Sequence[float]) -> np.ndarray:
    """Decays in float64 [K]; UserError where one is not in [0, 1)."""
    for decay in decays:
        if not 0 <= decay < 1:
            raise UserError(f"a decay is {decay}", "give decays in [0, 1)")
    return np.asarray(decays, np.float64).reshape(-1)
