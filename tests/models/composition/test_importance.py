import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from models.composition.annealing import sample
from models.composition.diagnostics import drawn
from models.composition.gaussians import gaussian
from models.composition.importance import effective_share, log_normaliser, log_standard_normal, normalised, resampling
from models.composition.sampler_config import SamplerConfig
from models.composition.schedule import NoiseSchedule

SCHEDULE = NoiseSchedule(levels=30)
ONE, OTHER = (np.array([0.3, 0.0]), 0.4), (np.array([-0.2, 0.2]), 0.3)


def exact() -> tuple[float, np.ndarray, float]:
    """Log of the integral of the product of both Gaussians at level 0, and the product's mean and variance."""
    signal, noise = SCHEDULE.alpha_bars_T[0], SCHEDULE.noise_variances_T[0]
    variances = [signal * deviation**2 + noise for _, deviation in (ONE, OTHER)]
    means = [signal**0.5 * mean for mean, _ in (ONE, OTHER)]
    log = scipy.stats.norm.logpdf(means[0] - means[1], scale=sum(variances) ** 0.5).sum()
    variance = 1 / sum(1 / v for v in variances)
    return float(log), variance * (means[0] / variances[0] + means[1] / variances[1]), variance


@pytest.mark.parametrize("resample", [None, 0.8])
def test_the_normaliser_of_a_product_of_gaussians(resample: float | None) -> None:
    """With so few steps that the points themselves are off: the weights make up for it."""
    product = gaussian(*ONE, SCHEDULE) * gaussian(*OTHER, SCHEDULE)
    config = SamplerConfig(
        kind="mala", step_size=0.02, scaling="noise_variance", steps=1, weighted=True, resample=resample
    )
    found = jax.jit(lambda key: sample(key, product, config, 10_000))(jax.random.key(0))
    log, mean, variance = exact()
    left = drawn(found, config)
    assert left.log_weights_M is not None
    log_weights_N = jnp.asarray(left.log_weights_M)
    share = float(effective_share(log_weights_N))
    assert float(log_normaliser(log_weights_N)) == pytest.approx(log, abs=0.05)
    weights_N = np.asarray(normalised(log_weights_N), np.float64)
    x_NX = np.asarray(left.x_MX, np.float64)
    np.testing.assert_allclose(weights_N @ x_NX, mean, atol=0.02)
    assert weights_N @ (x_NX[:, 0] - mean[0]) ** 2 == pytest.approx(variance, rel=0.08)
    if resample is None:
        assert np.var(x_NX[:, 0]) > 1.3 * variance
        assert share < 0.5
    else:
        assert share > 0.5


def test_weights_begin_at_the_first_level_with_first_points() -> None:
    """From exact draws of the top level the mean weight is the ratio of both levels' normalisers, here 1."""
    density = gaussian(np.array([0.3]), 0.4, SCHEDULE)
    first_NX = jax.random.normal(jax.random.key(1), (10_000, 1))  # the top level's law, but for its 1e-6 of signal
    config = SamplerConfig(kind="mala", step_size=0.1, scaling="noise_variance", steps=2, weighted=True)
    found = jax.jit(lambda key, x_NX: sample(key, density, config, 10_000, first=x_NX))(jax.random.key(0), first_NX)
    assert found.log_weights_N is not None
    assert float(log_normaliser(found.log_weights_N)) == pytest.approx(0, abs=0.03)
    assert float(found.log_weights_N.std()) > 0.1


def test_a_dead_chain_weighs_nothing_and_is_not_drawn() -> None:
    density = gaussian(np.array([0.3]), 0.4, NoiseSchedule(levels=4))
    first_NX = jax.random.normal(jax.random.key(1), (40, 1)).at[3].set(jnp.nan)
    config = SamplerConfig(kind="mala", step_size=0.1, scaling="noise_variance", steps=2, weighted=True)
    draw = jax.jit(lambda key, config: sample(key, density, config, 40, first=first_NX), static_argnums=1)
    found = draw(jax.random.key(0), config)
    assert found.log_weights_N is not None
    assert np.flatnonzero(np.isneginf(found.log_weights_N)).tolist() == [3]
    again = draw(jax.random.key(0), SamplerConfig(kind="mala", weighted=True, resample=1.0))
    assert np.all(again.finite_N)  # others took its place
    assert np.all(np.isfinite(again.x_NX))


def test_shares_and_resampling() -> None:
    assert float(effective_share(jnp.full(8, -3.0))) == pytest.approx(1)
    assert float(effective_share(jnp.array([0.0, -jnp.inf, -jnp.inf, -jnp.inf]))) == pytest.approx(0.25)
    assert float(effective_share(jnp.full(4, -jnp.inf))) == 0
    weights_N = jnp.log(jnp.array([0.1] * 1000 + [0.2] * 1000 + [0.7] * 1000))
    which_N, after_N = resampling(jax.random.key(0), weights_N, 0.9)
    counts = np.bincount(np.asarray(which_N) // 1000, minlength=3)
    np.testing.assert_allclose(counts, [300, 600, 2100], atol=2)
    np.testing.assert_allclose(after_N, np.log(1 / 3), rtol=1e-5)
    assert float(log_normaliser(after_N)) == pytest.approx(float(log_normaliser(weights_N)), abs=1e-5)
    which_N, after_N = resampling(jax.random.key(0), weights_N, 0.1)
    assert np.array_equal(which_N, np.arange(3000))
    assert np.array_equal(after_N, weights_N)
    which_N, _ = resampling(jax.random.key(0), jnp.full(4, -jnp.inf), 1.0)
    assert which_N.tolist() == [0, 1, 2, 3]


def test_the_first_density_is_normalised() -> None:
    x = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    assert float(log_standard_normal(jnp.asarray(x))) == pytest.approx(scipy.stats.norm.logpdf(x).sum(), rel=1e-5)
