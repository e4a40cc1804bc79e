import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.composition.schedule import NoiseSchedule
from shammie.errors import UserError


@pytest.mark.parametrize("kind", ["cosine", "linear"])
def test_the_ladder(kind: str) -> None:
    schedule = NoiseSchedule(kind=kind, levels=100)
    np.testing.assert_allclose(schedule.alpha_bars_T, np.cumprod(1 - schedule.betas_T), rtol=1e-12)
    np.testing.assert_allclose(schedule.noise_variances_T, 1 - schedule.alpha_bars_T, rtol=1e-10)
    assert np.all(np.diff(schedule.alpha_bars_T) < 0)
    assert schedule.alpha_bars_T[-1] < 1e-4
    assert schedule.noise_variances_T[0] < 2e-3


def test_both_kinds_are_their_papers() -> None:
    linear = NoiseSchedule(kind="linear", levels=1000)
    assert linear.betas_T[[0, -1]].tolist() == pytest.approx([1e-4, 0.02])
    cosine = NoiseSchedule(levels=1000)
    part = np.cos((np.arange(1001) / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(cosine.alpha_bars_T[:990], (part / part[0])[1:991], rtol=1e-9)
    assert cosine.betas_T[-1] == 0.999


def test_faint_noise_is_not_lost() -> None:
    """1 - abar is right to float32's last digit where abar is 1 but for 5e-6."""
    schedule = NoiseSchedule(kind="linear", levels=20_000)
    assert float(schedule.noise(0)) == pytest.approx(schedule.betas_T[0] ** 0.5, rel=1e-6)


def test_points_at_a_level() -> None:
    """Mean sqrt(abar) x_0, variance 1 - abar."""
    schedule, x = NoiseSchedule(levels=10), jnp.array([0.7, -2.0])
    noise_N2 = jax.random.normal(jax.random.key(0), (50_000, 2))
    for level in (0, 4, 9):
        noised_N2 = np.asarray(jax.vmap(lambda noise, at=level: schedule.noised(x, at, noise))(noise_N2))
        np.testing.assert_allclose(noised_N2.mean(axis=0), schedule.alpha_bars_T[level] ** 0.5 * x, atol=0.02)
        np.testing.assert_allclose(noised_N2.var(axis=0), schedule.noise_variances_T[level], rtol=0.03)
    assert float(schedule.beta(3)) == pytest.approx(schedule.betas_T[3])


def test_what_is_no_schedule() -> None:
    with pytest.raises(UserError, match="did you mean cosine"):
        NoiseSchedule(kind="cosin")
    with pytest.raises(UserError, match="levels is 1"):
        NoiseSchedule(levels=1)
    with pytest.raises(UserError, match="betas"):
        NoiseSchedule(kind="linear", levels=4)
