from functools import partial

import jax
import numpy as np
import pytest

from models.composition.annealing import Samples, sample
from models.composition.diagnostics import recorded
from models.composition.sampler_config import SamplerConfig
from models.composition.schedule import NoiseSchedule
from tests.models.composition.laws import ring_and_three

SCHEDULE = NoiseSchedule()


@partial(jax.jit, static_argnums=1)
def drawn_by(key: jax.Array, config: SamplerConfig) -> Samples:
    ring, three, _, _ = ring_and_three(SCHEDULE)
    return sample(key, ring * three, config, 100)


@pytest.mark.parametrize(
    ("config", "worst"),
    [
        (SamplerConfig(kind="mala", step_size=1e-4, target_acceptance=0.57), 0.1),  # a thousandth of the first level's
        pytest.param(SamplerConfig(kind="hmc", step_size=30.0, target_acceptance=0.7), 0.1, marks=pytest.mark.slow),
    ],
)
def test_every_level_accepts_what_it_should(config: SamplerConfig, worst: float) -> None:
    """100 chains at 100 levels. A level's own acceptance is known to about .015, from 100 chains and 10 steps."""
    found = drawn_by(jax.random.key(0), config)
    errors_T = np.asarray(found.acceptance_T) - config.target_acceptance
    assert abs(errors_T.mean()) < 0.02
    assert np.mean(np.abs(errors_T) <= 0.05) > 0.9
    assert np.abs(errors_T).max() < worst
    sizes_T = np.asarray(found.step_sizes_T)
    assert sizes_T[-1] > 5 * sizes_T[0]  # what one step size for all levels would miss
    # afterwards the step size is frozen: the same one, at the level itself, accepts as much
    ring, three, _, _ = ring_and_three(SCHEDULE)
    plain = SamplerConfig(kind=config.kind, step_size=float(sizes_T[0]))
    run = recorded(jax.random.key(1), ring * three, plain, 0, found.x_NX, 20)
    assert float(run.info.acceptance.mean()) == pytest.approx(config.target_acceptance, abs=0.05)


def test_without_a_target_step_sizes_are_those_given() -> None:
    found = drawn_by(jax.random.key(0), SamplerConfig(kind="mala", step_size=0.01, scaling="noise_variance"))
    np.testing.assert_allclose(found.step_sizes_T, 0.01 * SCHEDULE.noise_variances_T, rtol=1e-5)
