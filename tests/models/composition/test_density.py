import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from models.composition.density import of_log_density, of_score
from models.composition.gaussians import gaussian, gaussian_mixture
from models.composition.schedule import NoiseSchedule
from shammie.errors import UserError
from tests.models.composition.laws import score_only

SCHEDULE = NoiseSchedule(levels=10)
X = jnp.array([0.3, -0.8])
ONE = gaussian(np.array([0.5, 0.0]), 0.4, SCHEDULE, name="one")
OTHER = gaussian(np.array([-0.5, 0.2]), 0.7, SCHEDULE, name="other")


@pytest.mark.parametrize("level", [0, 5, 9])
def test_operators_are_of_logs_and_scores(level: int) -> None:
    one, other = float(ONE.log_density(X, level)), float(OTHER.log_density(X, level))
    expected = {one + other: ONE * OTHER, one - other: ONE / OTHER, 2.5 * one: ONE**2.5}
    for log, density in expected.items():
        assert float(density.log_density(X, level)) == pytest.approx(log, rel=1e-5)
        assert density.has_energy
    only = score_only(ONE) * score_only(OTHER) ** -1.0
    assert not only.has_energy
    np.testing.assert_allclose(only.score(X, level), (ONE / OTHER).score(X, level), rtol=1e-4, atol=1e-5)


def test_a_density_at_one_level() -> None:
    target = ONE.at(4)
    assert target.log_density is not None
    assert float(target.log_density(X)) == float(ONE.log_density(X, 4))
    assert np.array_equal(target.score(X), ONE.score(X, 4))
    assert score_only(ONE).at(4).log_density is None


def test_a_weight_may_be_traced() -> None:
    squared = jax.jit(lambda weight: (ONE**weight).log_density(X, 3))(2.0)
    assert float(squared) == pytest.approx(2 * float(ONE.log_density(X, 3)), rel=1e-6)


def test_names_and_what_knows_no_energy() -> None:
    nested = (ONE * score_only(OTHER, "net")) ** 2 / score_only(ONE, "other net")
    assert nested.name == "(one * net) ** 2 / (other net)"
    assert nested.score_only == ("net", "other net")
    with pytest.raises(UserError, match="which its log density needs: of net, other net only the score is known"):
        nested.log_density(X, 0)
    renamed = score_only(ONE, "net").named("mine")
    assert (renamed.name, renamed.score_only) == ("mine", ("mine",))
    assert nested.named("mine").score_only == ("net", "other net")
    np.testing.assert_array_equal(renamed.score(X, 1), ONE.score(X, 1))


def test_what_cannot_be_composed() -> None:
    with pytest.raises(
        UserError, match=r"one is of points of shape \(2,\), line of \(1,\); compose models of the same"
    ):
        _ = ONE * gaussian(np.zeros(1), 1.0, SCHEDULE, name="line")
    with pytest.raises(UserError, match=r"one and coarse have different noise schedules: .*levels=10.*levels=5"):
        _ = ONE / gaussian(np.zeros(2), 1.0, NoiseSchedule(levels=5), name="coarse")


@pytest.mark.parametrize("level", [0, 5, 9])
def test_gaussians_are_those_that_noise_makes(level: int) -> None:
    """By scipy; and mixtures by their parts."""
    signal, noise = SCHEDULE.alpha_bars_T[level], SCHEDULE.noise_variances_T[level]
    means_K2, weights_K = np.array([[0.5, 0.0], [-1.0, 0.3]]), np.array([3.0, 1.0])
    mixed = gaussian_mixture(means_K2, 0.4, SCHEDULE, weights_K)
    parts = [
        scipy.stats.multivariate_normal(signal**0.5 * mean, signal * 0.16 + noise).pdf(np.asarray(X))
        for mean in means_K2
    ]
    assert float(mixed.log_density(X, level)) == pytest.approx(np.log(0.75 * parts[0] + 0.25 * parts[1]), abs=1e-4)
    assert float(ONE.log_density(X, level)) == pytest.approx(np.log(parts[0]), abs=1e-4)


def test_the_score_is_the_gradient() -> None:
    density = of_log_density(lambda x, level: -jnp.sum(x**4) * (level + 1), (2,), SCHEDULE)
    np.testing.assert_allclose(density.score(X, 2), -12 * X**3, rtol=1e-5)
    plain = of_score(lambda x, level: -x, (2,), SCHEDULE, "plain")
    assert (plain.shape, plain.score_only) == ((2,), ("plain",))
