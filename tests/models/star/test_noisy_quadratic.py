"""The noisy quadratic model: matrices and covariances against chains of the update rule itself (star.md, 5)."""

import jax
import numpy as np
import pytest
from scipy.linalg import solve_discrete_lyapunov

from models.star.noisy_quadratic import (
    dynamics,
    eigenvalues,
    expected_losses,
    random_blocks,
    random_hessian,
    require_stable,
    spectral_radius,
    stationary_covariance,
    stationary_loss,
)
from models.star.simulation import simulate
from shammie.errors import UserError

EIGENVALUES = (0.1, 0.5, 1.0, 2.0)
NOISE = np.diag([0.1, 0.2, 0.3, 0.4])


def _vector() -> tuple[np.ndarray, np.ndarray]:
    """H and P of the facts' test vector: seed 0 gives their radius and loss."""
    random = np.random.default_rng(0)
    return random_hessian(EIGENVALUES, random), random_blocks(1, 4, 0.05, random)[0]


def test_the_facts_radius_covariance_and_loss() -> None:
    """Test 1."""
    hessian, block = _vector()
    system = dynamics(hessian, 0.3, block)
    assert float(spectral_radius(system.A)) == pytest.approx(0.97463, abs=5e-6)
    assert require_stable(system.A) == pytest.approx(0.97463, abs=5e-6)
    assert stationary_loss(hessian, NOISE, system) == pytest.approx(0.40631, abs=5e-6)
    np.testing.assert_allclose(system.A, np.eye(4) - (0.3 * np.eye(4) + block) @ hessian, atol=1e-15)
    np.testing.assert_allclose(system.B, (0.3 * np.eye(4) + block) @ hessian, atol=1e-15)


@pytest.mark.parametrize(("decays", "chains"), [((), 20_000), ((0.5,), 10_000), ((0.3, 0.8), 10_000)])
def test_chains_have_the_covariance_of_the_equation(decays: tuple[float, ...], chains: int) -> None:
    """Test 1: within 4.5 standard errors of the Monte Carlo, entry by entry."""
    hessian, block = _vector()
    system = dynamics(hessian, 0.3, block, decays)
    expected = stationary_covariance(system, NOISE)
    found = simulate(jax.random.key(0), hessian, NOISE, 0.3, block, decays, steps=150, chains=chains)
    assert found.states_NZ.dtype == np.float64
    assert found.states_NZ.shape == (chains, 4 * (len(decays) + 1))
    variance = np.diag(expected)
    error = np.sqrt((np.outer(variance, variance) + expected**2) / chains)
    assert np.abs((found.states_NZ.T @ found.states_NZ / chains - expected) / error).max() < 4.5
    assert found.losses_T[-20:].mean() == pytest.approx(stationary_loss(hessian, NOISE, system), rel=0.01)
    exact = expected_losses(hessian, NOISE, system, np.zeros(4), 150)
    np.testing.assert_allclose(found.losses_T, exact, rtol=6 * np.sqrt(2 / chains))
    assert exact[-1] == pytest.approx(stationary_loss(hessian, NOISE, system), rel=1e-3)


def test_expected_losses_without_noise_are_those_of_the_rule() -> None:
    hessian, block = _vector()
    start, nothing = np.array([1.0, -2.0, 0.5, 3.0]), np.zeros((4, 4))
    for rate, decays in ((0.3, ()), (1.2, (0.9,)), (1.5, ())):  # the last diverges
        exact = expected_losses(hessian, nothing, dynamics(hessian, rate, block, decays), start, 40)
        ran = simulate(
            jax.random.key(0), hessian, nothing, rate, block, decays, steps=40, chains=1, start_D=start
        ).losses_T
        np.testing.assert_allclose(ran, exact, rtol=1e-10)
        assert exact[0] == pytest.approx(start @ hessian @ start / 2)


def test_the_detector_fails_a_deliberately_unstable_rate() -> None:
    """Test 5. The equation has a solution even there, which is no covariance: it must not be handed out."""
    hessian, block = _vector()
    unstable = dynamics(hessian, 1.1, block)
    assert float(spectral_radius(unstable.A)) > 1.1
    for call in (
        lambda: require_stable(unstable.A),
        lambda: stationary_covariance(unstable, NOISE),
        lambda: stationary_loss(hessian, NOISE, unstable),
    ):
        with pytest.raises(UserError, match=r"unstable: its spectral radius is 1\.\d+"):
            call()
    no_covariance = solve_discrete_lyapunov(unstable.A, unstable.B @ NOISE @ unstable.B.T)
    assert np.all(np.isfinite(no_covariance))
    assert np.linalg.eigvalsh(no_covariance)[0] < 0
    losses = simulate(jax.random.key(0), hessian, NOISE, 1.1, block, steps=40, chains=1).losses_T
    assert losses[-1] > 1000 * losses[0]
    with pytest.raises(UserError, match="unstable"):
        require_stable(np.eye(3))
    with pytest.raises(UserError, match="unstable"):
        require_stable(dynamics(hessian, 0.0).A)


def test_a_nominal_step_moves_random_blocks_into_the_unit_disk() -> None:
    """The paper's claim: zero-mean blocks alone have half of their directions ascend."""
    random = np.random.default_rng(1)
    hessian, blocks = random_hessian(EIGENVALUES, random), random_blocks(500, 4, 0.05, random)
    alone, helped = dynamics(hessian, 0.0, blocks).A, dynamics(hessian, 0.3, blocks).A
    assert alone.shape == (500, 4, 4)
    assert np.mean(eigenvalues(alone).real > 1) == pytest.approx(0.5, abs=0.05)
    assert np.mean(spectral_radius(alone) < 1) < 0.15
    assert np.all(spectral_radius(helped) < 1)
    np.testing.assert_array_equal(dynamics(hessian, 0.3, blocks[7]).A, helped[7])


def test_random_hessians_have_the_eigenvalues_asked_for() -> None:
    hessian, _ = _vector()
    np.testing.assert_allclose(np.linalg.eigvalsh(hessian), EIGENVALUES, rtol=1e-12)
    np.testing.assert_array_equal(hessian, hessian.T)
    assert np.abs(hessian - np.diag(np.diag(hessian))).max() > 0.1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"decays": (1.0,)}, "a decay is 1.0"),
        ({"decays": (0.9, -0.1)}, "a decay is -0.1"),
        ({"rate": float("nan")}, "the rate is nan"),
        ({"block_DD": np.zeros((3, 4))}, r"shape \(3, 4\)"),
        ({"hessian_DD": np.array([[1.0, 0.5], [0.0, 1.0]])}, "not finite and symmetric"),
        ({"hessian_DD": np.diag([1.0, -0.5])}, "eigenvalue -0.5"),
        ({"hessian_DD": np.ones(3)}, r"shape \(3,\)"),
    ],
)
def test_bad_input(change: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        dynamics(**({"hessian_DD": np.eye(2), "rate": 0.1} | change))
