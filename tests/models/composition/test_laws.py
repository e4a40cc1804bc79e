"""The exact laws of the issue: annealed MCMC gives what compositions are, where reverse diffusion does not."""

from functools import partial
from typing import Any

import jax
import numpy as np
import pytest

from models.composition.annealing import Samples, sample
from models.composition.gaussians import gaussian
from models.composition.sampler_config import SamplerConfig
from models.composition.schedule import NoiseSchedule
from tests.models.composition.laws import mean_and_variance, ring_and_three

SCHEDULE = NoiseSchedule()
FEWER = NoiseSchedule(levels=40)
CHAINS, AXES = 2000, 10  # 20,000 numbers: a variance is known to 1 %
KERNELS = {
    "mala": SamplerConfig(kind="mala", step_size=0.1, target_acceptance=0.7, steps=10),
    "hmc": SamplerConfig(kind="hmc", step_size=0.1, target_acceptance=0.8, steps=10),
}


@partial(jax.jit, static_argnums=1)
def powered(key: jax.Array, config: SamplerConfig, power: jax.Array) -> Samples:
    """Of N(.3, .5^2) to a power, at each axis."""
    return sample(key, gaussian(np.full(AXES, 0.3), 0.5, FEWER) ** power, config, CHAINS)


@pytest.mark.parametrize("kind", KERNELS)
def test_annealed_chains_give_the_products_variance(kind: str) -> None:
    """s^2 / k within 3 %, where reverse diffusion gives s^2 / (2k - 1)."""
    level_0 = 0.25 * FEWER.alpha_bars_T[0] + FEWER.noise_variances_T[0]
    for power in (1.0, 2.0, 4.0, 1.5):
        mean, variance = mean_and_variance(powered(jax.random.key(0), KERNELS[kind], power).x_NX)
        assert level_0 == pytest.approx(0.25, rel=0.01)
        assert variance.mean() == pytest.approx(0.25 / power, rel=0.03)
        np.testing.assert_allclose(mean, 0.3, atol=0.04)


@pytest.mark.parametrize("kind", ["hmc", pytest.param("mala", marks=pytest.mark.slow)])
def test_annealed_chains_give_the_mean_of_unequal_gaussians(kind: str) -> None:
    """.0385 and .03846, where reverse diffusion gives .0981 and .0334 (test_reverse)."""
    density = gaussian(np.zeros(AXES), 0.2, SCHEDULE) * gaussian(np.ones(AXES), 1.0, SCHEDULE)
    found = jax.jit(lambda key: sample(key, density, KERNELS[kind], CHAINS))(jax.random.key(0))
    mean, variance = mean_and_variance(found.x_NX)
    assert mean.mean() == pytest.approx(0.0385, abs=0.006)
    assert variance.mean() == pytest.approx(0.03846, rel=0.04)  # level 0 has 1.5 % more


MIXED: dict[str, Any] = {
    "mala": SamplerConfig(kind="mala", step_size=1e-3, steps=10, target_acceptance=0.7),
    "hmc": SamplerConfig(kind="hmc", step_size=0.03, steps=10),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", MIXED)
def test_the_product_of_two_mixtures(kind: str) -> None:
    """Variances within 2 %, means within .01, of draws of 4,000 chains; four of them.

    4,000 points are known to .0064 in the mean and to 1.6 % in the variance even where they are exact: the mean over
    four draws is asked what the issue asks, and each draw three of its standard errors.
    """
    ring, three, mean, variance = ring_and_three(SCHEDULE)
    draw = jax.jit(lambda key: sample(key, ring * three, MIXED[kind], 4000).x_NX)
    draws = [np.asarray(draw(jax.random.key(seed)), np.float64) for seed in range(4)]
    for x_N2 in draws:
        assert np.abs(x_N2.mean(axis=0) - mean).max() < 0.02
        assert np.abs(x_N2.var(axis=0) / variance - 1).max() < 0.05
    x_N2 = np.concatenate(draws)
    assert np.abs(x_N2.mean(axis=0) - mean).max() < 0.01
    assert np.abs(x_N2.var(axis=0) / variance - 1).max() < 0.02


def test_the_products_moments_are_those_of_the_facts() -> None:
    _, _, mean, variance = ring_and_three(NoiseSchedule(levels=20_000))  # whose level 0 is nearly clean
    np.testing.assert_allclose(mean, [0.1607, 0], atol=1e-3)
    np.testing.assert_allclose(variance, [0.0661, 0.1664], atol=3e-4)
