import jax
import numpy as np
import pytest

from models.composition.diagnostics import mixing, recorded
from models.composition.gaussians import gaussian
from models.composition.sampler_config import SamplerConfig
from models.composition.schedule import NoiseSchedule
from shammie.errors import UserError
from tests.models.composition.laws import score_only

NORMAL = gaussian(np.zeros(2), 1.0, NoiseSchedule(levels=5))


def test_a_run_at_one_level_and_how_it_mixes() -> None:
    first_NX = jax.random.normal(jax.random.key(0), (20, 2))
    found = {}
    for step_size in (0.01, 0.8):
        run = recorded(jax.random.key(1), NORMAL, SamplerConfig(kind="mala", step_size=step_size), 0, first_NX, 200)
        assert run.x_NSX.shape == (20, 200, 2)
        assert run.info.acceptance.shape == (20, 200)
        moved_NS = np.any(np.diff(np.asarray(run.x_NSX), axis=1) != 0, axis=2)
        assert np.array_equal(moved_NS, np.asarray(run.info.accepted)[:, 1:])
        found[step_size] = mixing(run.x_NSX)
    assert np.all(found[0.01].effective_draws_X < 200)
    assert np.all(found[0.8].effective_draws_X > 1000)
    assert np.all(found[0.01].rhat_X > 1.1)
    assert np.all(found[0.8].rhat_X < 1.02)


def test_ess_of_known_draws() -> None:
    """Of independent draws it is their number; of an autoregression of factor r (1 - r) / (1 + r) of it."""
    generator = np.random.default_rng(0)
    noise_NSX = generator.normal(size=(20, 200, 2))
    slow_NSX = noise_NSX.copy()
    for at in range(1, 200):
        slow_NSX[:, at] = 0.8 * slow_NSX[:, at - 1] + 0.6 * noise_NSX[:, at]
    assert mixing(noise_NSX).effective_draws_X == pytest.approx(4000, rel=0.15)
    assert mixing(slow_NSX).effective_draws_X == pytest.approx(4000 / 9, rel=0.25)


def test_what_has_no_diagnostics() -> None:
    with pytest.raises(UserError, match="1 chains of 5 steps"):
        mixing(np.zeros((1, 5, 2)))
    with pytest.raises(UserError, match="Metropolis test of 'hmc'"):
        recorded(jax.random.key(0), score_only(NORMAL), SamplerConfig(), 0, np.zeros((3, 2)), 4)  # pyright: ignore[reportArgumentType]
    run = recorded(jax.random.key(0), score_only(NORMAL), SamplerConfig(kind="uhmc"), 0, jax.numpy.zeros((3, 2)), 4)
    assert np.all(np.isnan(run.info.energy_error))
