"""Closed forms of stability and loss against eigenvalues and the Lyapunov equation (star.md, 5)."""

import numpy as np
import pytest

from models.star.noisy_quadratic import dynamics, spectral_radius, stationary_loss
from models.star.stability import closed_form_loss, radius_map, stability_limit, stable_rates
from shammie.errors import UserError

AGGMO = (0.9, 0.99, 0.999)


@pytest.mark.parametrize(
    ("decays", "limit"),
    [((), 2), ((0.9,), 38), ((0.99,), 398), ((0.999,), 3998), (AGGMO, 103.169)],
)
def test_the_facts_limits_and_that_the_radius_crosses_1_there(decays: tuple[float, ...], limit: float) -> None:
    """Tests 2 and 3."""
    found = stability_limit(decays)
    assert found == pytest.approx(limit, abs=1e-3)
    assert float(radius_map([found], [1.0], decays)[0, 0]) == pytest.approx(1, abs=1e-9)
    below, above = radius_map([found * (1 - 1e-6), found * (1 + 1e-6)], [1.0], decays)[:, 0]
    assert below < 1 < above
    # stable all the way up, not only near the end
    assert np.all(radius_map(np.linspace(0.001, 0.999, 200) * found, [1.0], decays) < 1)


def test_the_facts_radius_of_aggmo() -> None:
    """Test 3."""
    assert float(radius_map([1.0], [1.0], AGGMO)[0, 0]) == pytest.approx(0.99854, abs=5e-6)
    assert float(radius_map([0.5], [2.0], AGGMO)[0, 0]) == pytest.approx(0.99854, abs=5e-6)  # a h counts, if p is 0


@pytest.mark.parametrize("decays", [(), (0.5,), (0.9,)])
@pytest.mark.parametrize("eigenvalue", [-1.2, -0.5, -0.05, 0.0, 0.3, 1.5])
def test_stable_rates_are_where_the_radius_is_below_1(decays: tuple[float, ...], eigenvalue: float) -> None:
    rates, curvatures = np.geomspace(0.011, 90, 60), np.geomspace(0.013, 7, 25)
    stable = radius_map(rates, curvatures, decays, eigenvalue) < 1
    for curvature, found in zip(curvatures, stable.T, strict=True):
        low, high = stable_rates(curvature, decays, eigenvalue)
        np.testing.assert_array_equal(found, (rates > low) & (rates < high))
    assert stable.any()
    assert not stable.all()


def test_momentum_answers_too_late_to_what_ascends_fast() -> None:
    """With b = 0.9 no rate helps a direction that grows by a ninth or more each step; SGD helps any."""
    assert np.isnan(stable_rates(1.0, (0.9,), -0.12)).all()
    assert np.all(radius_map(np.geomspace(0.01, 100, 400), [1.0], (0.9,), -0.12) > 1)
    assert stable_rates(1.0, (), -0.12) == pytest.approx((0.12, 2.12))
    assert stable_rates(1.0, (0.9,), -0.1) == pytest.approx((0.1, 2.1 * 19))
    assert stable_rates(2.0, AGGMO) == pytest.approx((0, 103.169 / 2), abs=1e-3)


@pytest.mark.parametrize("decays", [(), (0.9,), AGGMO])
def test_the_map_of_one_direction_is_the_dynamics_of_all(decays: tuple[float, ...]) -> None:
    curvatures = np.array([0.1, 0.5, 1.0, 2.0])
    for rate in (0.3, 1.5, 60.0):
        whole = spectral_radius(dynamics(np.diag(curvatures), rate, -0.02 * np.eye(4), decays).A)
        assert float(radius_map([rate], curvatures, decays, -0.02).max()) == pytest.approx(float(whole), rel=1e-9)


def test_closed_form_losses_are_those_of_the_lyapunov_equation() -> None:
    curvatures, variances = np.array([0.1, 0.5, 1.0, 2.0]), np.array([0.1, 0.2, 0.3, 0.4])
    block = np.array([0.1, -0.2, 0.05, 0.3])

    def solved(rate: float, decays: tuple[float, ...], block: np.ndarray) -> float:
        system = dynamics(np.diag(curvatures), rate, np.diag(block), decays)
        return stationary_loss(np.diag(curvatures), np.diag(variances), system)

    assert closed_form_loss(0.3, curvatures, variances, eigenvalues_D=block) == pytest.approx(solved(0.3, (), block))
    for rate, decay in ((0.3, 0.0), (0.3, 0.9), (10.0, 0.9), (100.0, 0.99)):
        found = closed_form_loss(rate, curvatures, variances, decay)
        assert found == pytest.approx(solved(rate, (decay,), 0 * block), rel=1e-9)
    # SGD's sum of h s / (2 - a h)
    assert closed_form_loss(0.3, curvatures, variances) == pytest.approx(
        0.01 / 1.97 + 0.1 / 1.85 + 0.3 / 1.7 + 0.8 / 1.4, rel=1e-12
    )


def test_bad_input() -> None:
    with pytest.raises(UserError, match=r"the curvature is 0\.0"):
        stable_rates(0.0)
    with pytest.raises(UserError, match="no closed form for 3 averages"):
        stable_rates(1.0, AGGMO, 0.1)
    with pytest.raises(UserError, match=r"the rate 1\.1 is unstable"):
        closed_form_loss(1.1, np.array([2.0]), np.ones(1))
    with pytest.raises(UserError, match=r"decay of 0\.9 and a block"):
        closed_form_loss(0.1, np.ones(1), np.ones(1), 0.9, np.ones(1))
    with pytest.raises(UserError, match=r"a decay is 1\.0"):
        stability_limit([1.0])
