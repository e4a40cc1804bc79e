import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.composition.annealing import sample
from models.composition.density import Density
from models.composition.gaussians import gaussian
from models.composition.reverse import clean_of, reverse_step
from models.composition.sampler_config import SamplerConfig
from models.composition.schedule import NoiseSchedule
from tests.models.composition.laws import mean_and_variance


def law(density: Density, config: SamplerConfig) -> tuple[float, float]:
    """The exact mean and variance of points whose scores are linear, from N(0, 1) on: each step is linear too."""
    step = reverse_step(config, density.schedule)
    zero, one = jnp.zeros(1), jnp.ones(1)

    def coefficients(level: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        shift = step(zero, density.score(zero, level), level, zero)
        slope = step(one, density.score(one, level), level, zero) - shift
        return slope[0], shift[0], (step(zero, density.score(zero, level), level, one) - shift)[0]

    found = jax.jit(jax.vmap(coefficients))(jnp.arange(density.schedule.levels))
    mean, variance = 0.0, 1.0
    for slope, shift, noise in zip(*(np.asarray(one, np.float64)[::-1] for one in found), strict=True):
        mean, variance = slope * mean + shift, slope**2 * variance + noise**2
    return float(mean), float(variance)


FINE = NoiseSchedule(levels=20_000)
ANCESTRAL = SamplerConfig(kind="reverse")


@pytest.mark.parametrize(
    ("power", "facts"), [(1.0, 0.24989), (2.0, 0.08326), (3.0, 0.04994), (4.0, 0.03566), (1.5, 0.12491)]
)
def test_summed_scores_give_a_variance_that_is_too_small(power: float, facts: float) -> None:
    """s^2 / (2k - 1), where the product's is s^2 / k."""
    _, variance = law(gaussian(np.zeros(1), 0.5, FINE) ** power, ANCESTRAL)
    assert variance == pytest.approx(0.25 / (2 * power - 1), rel=0.003)
    assert variance == pytest.approx(facts, abs=3e-5)


@pytest.mark.parametrize(("power", "deviation"), [(1.0, 0.5), (2.0, 1.0), (2.0, 0.5), (3.0, 0.5)])
def test_ddim_draws_a_product_towards_a_point(power: float, deviation: float) -> None:
    """s^2k abar_T^(k-1) / v_T^k is left: nothing, where the noisiest level has lost the data.

    For d ln x / d ln abar = (1 - k / v) / 2, with v = abar s^2 + 1 - abar. Here abar_T is e^-4.
    """
    schedule = NoiseSchedule(kind="linear", levels=20_000, first_beta=4e-3, last_beta=4e-3)
    last = float(schedule.alpha_bars_T[-1])
    assert last == pytest.approx(np.exp(-4.0), rel=1e-3)
    _, variance = law(gaussian(np.zeros(1), deviation, schedule) ** power, SamplerConfig(kind="ddim"))
    v = last * deviation**2 + 1.0 - last
    assert variance == pytest.approx(deviation ** (2 * power) * last ** (power - 1) / v**power, rel=0.01, abs=0.0)


def test_unequal_gaussians() -> None:
    """The product's mean is .0385 and its variance .03846; the reverse process gives neither."""
    fine = NoiseSchedule(levels=10_000)
    mean, variance = law(gaussian(np.zeros(1), 0.2, fine) * gaussian(np.ones(1), 1.0, fine), ANCESTRAL)
    assert mean == pytest.approx(0.0981, abs=1e-4)
    assert variance == pytest.approx(0.03341, abs=1e-5)


def test_both_choices_of_variance_at_few_levels() -> None:
    coarse = NoiseSchedule(levels=100)
    density = gaussian(np.zeros(1), 1.0, coarse) ** 2
    _, posterior = law(density, ANCESTRAL)
    _, beta = law(density, SamplerConfig(kind="reverse", variance="beta"))
    assert posterior == pytest.approx(0.30780, abs=1e-5)
    # the notebook adds noise at its last step too, Ho et al.'s algorithm 2 does not
    assert beta + coarse.betas_T[0] == pytest.approx(0.33540, abs=2e-5)


@pytest.mark.parametrize("levels", [100, 1000])
@pytest.mark.parametrize("config", [ANCESTRAL, SamplerConfig(kind="ddim"), SamplerConfig(kind="ddim", eta=0.7)])
def test_of_one_gaussian_the_reverse_process_is_right(config: SamplerConfig, levels: int) -> None:
    density = gaussian(np.array([0.4]), 0.5, NoiseSchedule(levels=levels))
    mean, variance = law(density, config)
    assert mean == pytest.approx(0.4, abs=0.003)
    assert variance == pytest.approx(0.25, rel=10 / levels)


def test_ddim_with_all_noise_is_ancestral() -> None:
    schedule = NoiseSchedule(levels=20)
    key, level = jax.random.key(0), jnp.asarray(7)
    x, score, noise = jax.random.normal(key, (3, 4))
    one = reverse_step(SamplerConfig(kind="ddim", eta=1.0), schedule)(x, score, level, noise)
    other = reverse_step(ANCESTRAL, schedule)(x, score, level, noise)
    np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("kind", ["reverse", "ddim"])
def test_a_bound_changes_nothing_within_and_clips_beyond(kind: str) -> None:
    schedule, level = NoiseSchedule(levels=20), jnp.asarray(7)
    x, score, noise = jax.random.normal(jax.random.key(0), (3, 4))
    clean = clean_of(schedule, x, score, level)
    free, wide, narrow = (
        reverse_step(SamplerConfig(kind=kind, bound=bound), schedule)(x, score, level, noise)  # pyright: ignore[reportArgumentType]
        for bound in (None, 100.0, 0.1)
    )
    assert np.abs(clean).max() > 0.5
    np.testing.assert_allclose(wide, free, atol=1e-5)
    assert np.abs(narrow - free).max() > 0.01
    last = reverse_step(SamplerConfig(kind=kind, bound=0.1), schedule)(x, score, jnp.asarray(0), noise)  # pyright: ignore[reportArgumentType]
    np.testing.assert_allclose(last, jnp.clip(clean_of(schedule, x, score, 0), -0.1, 0.1), atol=1e-6)


@pytest.mark.parametrize("config", [ANCESTRAL, SamplerConfig(kind="ddim", eta=0.5)])
def test_the_driver_takes_the_same_steps(config: SamplerConfig) -> None:
    density = gaussian(np.array([0.3]), 0.5, NoiseSchedule(levels=100)) ** 2
    mean, variance = law(density, config)
    found = mean_and_variance(jax.jit(lambda key: sample(key, density, config, 20_000))(jax.random.key(0)).x_NX)
    assert found[0] == pytest.approx(mean, abs=0.01)
    assert found[1] == pytest.approx(variance, rel=0.035)
