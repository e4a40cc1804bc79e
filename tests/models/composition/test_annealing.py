from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.composition.annealing import Samples, sample
from models.composition.density import Density, of_log_density, of_score
from models.composition.diagnostics import drawn, troubles
from models.composition.gaussians import gaussian
from models.composition.sampler_config import SamplerConfig
from models.composition.schedule import NoiseSchedule
from shammie.errors import UserError
from tests.models.composition.laws import mean_and_variance, score_only

SCHEDULE = NoiseSchedule(levels=5)
NORMAL = gaussian(np.zeros(2), 1.0, SCHEDULE)


def flat(schedule: NoiseSchedule) -> Density:
    """No force anywhere: Langevin adds variance 2 eps at each step."""
    return of_score(lambda x, level: 0 * x, (1,), schedule)


def test_every_level_has_all_its_steps() -> None:
    """The variance tells each step at each level apart: the public code leaves one level out."""
    config = SamplerConfig(kind="ula", step_size=0.3, scaling="noise_variance", steps=2, final_steps=1)
    found = jax.jit(lambda key: sample(key, flat(SCHEDULE), config, 100_000))(jax.random.key(0))
    sizes_T = config.step_sizes(SCHEDULE)
    added_T = 2 * sizes_T * np.array([3, 2, 2, 2, 2])
    assert np.var(found.x_NX) == pytest.approx(1 + added_T.sum(), rel=0.01)
    assert added_T[1:].min() > 0.03 * (1 + added_T.sum())  # what a level more or less would change
    np.testing.assert_allclose(found.step_sizes_T, sizes_T, rtol=1e-6)
    assert np.all(found.acceptance_T == 1)


def test_recorded_levels() -> None:
    config = SamplerConfig(kind="ula", step_size=0.3, scaling="noise_variance", steps=2)
    record = (0, 4, 2)
    found = jax.jit(lambda key: sample(key, flat(SCHEDULE), config, 50_000, record=record))(jax.random.key(0))
    assert found.path_PNX is not None
    assert found.path_PNX.shape == (3, 50_000, 1)
    assert np.array_equal(found.path_PNX[0], found.x_NX)
    from_top_T = 1 + np.cumsum((4 * config.step_sizes(SCHEDULE))[::-1])[::-1]
    for slot, level in enumerate(record):
        assert np.var(found.path_PNX[slot]) == pytest.approx(from_top_T[level], rel=0.02)
    with pytest.raises(UserError, match="level 5 is to be recorded"):
        sample(jax.random.key(0), flat(SCHEDULE), config, 2, record=(5,))


def test_levels_without_a_kernel() -> None:
    """With reverse steps they are gone through, down to clean points; without, they are left out."""
    schedule = NoiseSchedule(levels=400)
    density = gaussian(np.array([0.6]), 0.2, schedule)
    config = SamplerConfig(step_size=0.1, steps=2, lowest_level=150, highest_level=170)
    between = SamplerConfig(step_size=0.1, steps=2, lowest_level=150, highest_level=170, reverse_between=True)
    found, clean = (_compiled(density, one, 10_000)(jax.random.key(0)) for one in (config, between))
    ran_T = (np.arange(400) >= 150) & (np.arange(400) <= 170)
    for one in (found, clean):
        for values_T in (one.acceptance_T, one.energy_error_T, one.step_sizes_T):
            assert np.array_equal(np.isfinite(values_T), ran_T)
    mean, variance = mean_and_variance(clean.x_NX)
    assert mean == pytest.approx(0.6, abs=0.01)
    assert variance == pytest.approx(0.04, rel=0.08)
    points = mean_and_variance(found.x_NX)
    assert points[1] > 5 * variance  # of the lowest level's noise


def test_reverse_steps_between_levels_keep_each_levels_law() -> None:
    density = gaussian(np.array([0.6]), 0.2, NoiseSchedule(levels=50))
    config = SamplerConfig(kind="mala", step_size=0.02, steps=10, reverse_between=True)
    found = _compiled(density, config, 20_000)(jax.random.key(0))
    mean, variance = mean_and_variance(found.x_NX)
    level_0 = 0.04 * density.schedule.alpha_bars_T[0] + density.schedule.noise_variances_T[0]
    assert mean == pytest.approx(0.6, abs=0.01)
    assert variance == pytest.approx(level_0, rel=0.04)


def _compiled(density: Density, config: SamplerConfig, chains: int) -> Callable[[jax.Array], Samples]:
    return jax.jit(lambda key: sample(key, density, config, chains))


def test_chains_of_different_cases() -> None:
    """Each is drawn from its own density, with scores or energies; parameters are arguments of the caller's jit."""
    means_N1 = jnp.repeat(jnp.array([[-0.5], [0.0], [0.5]]), 500, axis=0)
    for kind in ("mala", "ula"):

        def density_of(mean: jax.Array, deviation: jax.Array, kind: str = kind) -> Density:
            def log_density(x: jax.Array, level: jax.typing.ArrayLike) -> jax.Array:
                return -jnp.sum((x - mean) ** 2) / (2 * deviation**2)

            density = of_log_density(log_density, (1,), SCHEDULE)
            return density if kind == "mala" else score_only(density)

        @jax.jit
        def draw(
            key: jax.Array, means: jax.Array, deviation: jax.Array, kind: str = kind, of: Callable = density_of
        ) -> Samples:
            config = SamplerConfig(kind=kind, step_size=0.002, steps=20)  # pyright: ignore[reportArgumentType]
            return sample(key, lambda mean: of(mean, deviation), config, 1500, cases=means)

        x_N = np.asarray(draw(jax.random.key(0), means_N1, jnp.asarray(0.1)).x_NX)[:, 0].reshape(3, 500)
        np.testing.assert_allclose(x_N.mean(axis=1), [-0.5, 0, 0.5], atol=0.02)
        np.testing.assert_allclose(x_N.std(axis=1), 0.1, atol=0.015)


def test_a_chain_that_is_not_finite_is_dropped_and_no_other_is_changed() -> None:
    first_NX = jax.random.normal(jax.random.key(3), (50, 2))
    config = SamplerConfig(step_size=0.3, steps=2)
    draw = jax.jit(lambda first_NX: sample(jax.random.key(0), NORMAL, config, 50, first=first_NX))
    whole, broken = draw(first_NX), draw(first_NX.at[7, 1].set(jnp.nan))
    assert np.all(whole.finite_N)
    assert np.flatnonzero(~np.asarray(broken.finite_N)).tolist() == [7]
    rest_N = np.arange(50) != 7
    assert np.array_equal(np.asarray(whole.x_NX)[rest_N], np.asarray(broken.x_NX)[rest_N])
    assert np.all(np.isfinite(broken.acceptance_T))
    with pytest.warns(UserWarning, match="1 of 50 chains of 'hmc' met numbers that are not finite and were dropped"):
        left = drawn(broken, config)
    assert (left.x_MX.shape, left.dropped, left.log_weights_M) == ((49, 2), 1, None)
    with pytest.raises(UserError, match="all 50 chains of 'hmc'"):
        drawn(draw(first_NX * jnp.nan), config)


def test_a_density_that_is_nan_at_one_level_kills_there() -> None:
    """Of a density without a test chains die when they meet it, and are counted."""

    def score(x: jax.Array, level: jax.typing.ArrayLike) -> jax.Array:
        return jnp.where((jnp.asarray(level) == 2) & (x > 1), jnp.nan, -x)

    config = SamplerConfig(kind="uhmc", step_size=0.3, steps=2)
    found = sample(jax.random.key(0), of_score(score, (1,), SCHEDULE), config, 2000, record=(3,))
    dead_N = ~np.asarray(found.finite_N)
    assert 0.1 < dead_N.mean() < 0.9
    assert found.path_PNX is not None
    beyond_N = np.asarray(found.path_PNX)[0, :, 0] > 1
    assert np.all(dead_N[beyond_N])
    assert np.array_equal(np.asarray(found.x_NX)[beyond_N], np.asarray(found.path_PNX)[0][beyond_N])
    assert np.all(np.isfinite(found.x_NX))


def test_acceptance_that_collapses_is_warned_of_once() -> None:
    narrow = gaussian(np.zeros(2), 0.02, NoiseSchedule(levels=20))
    config = SamplerConfig(kind="mala", step_size=0.3)
    found = _compiled(narrow, config, 500)(jax.random.key(0))
    assert float(found.acceptance_T[0]) < 0.1 < float(found.acceptance_T[-1])
    with pytest.warns(UserWarning, match="'mala' accepted") as caught:
        drawn(found, config)
    assert len(caught) == 1
    line = str(caught[0].message)
    assert "\n" not in line
    assert f"of its proposals at level {int(np.argmin(found.acceptance_T))}," in line
    assert "set target_acceptance, which adapts it" in line
    adapting = SamplerConfig(kind="mala", step_size=0.3, target_acceptance=0.6)
    assert troubles(_compiled(narrow, adapting, 500)(jax.random.key(0)), adapting) == []


def test_what_cannot_be_sampled() -> None:
    key, scores = jax.random.key(0), score_only(NORMAL, "eps-net")
    for kind in ("mala", "hmc"):
        with pytest.raises(UserError, match=f"eps-net has no energy, which the Metropolis test of '{kind}' needs"):
            sample(key, scores, SamplerConfig(kind=kind), 2)
    with pytest.raises(UserError, match="first points have shape"):
        sample(key, NORMAL, SamplerConfig(), 2, first=jnp.zeros((3, 2)))
    with pytest.raises(UserError, match=r"there are \[3\] cases for 2 chains"):
        sample(key, lambda case: NORMAL, SamplerConfig(), 2, cases=jnp.zeros((3, 2)))
    with pytest.raises(UserError, match="is one density, and there are cases"):
        sample(key, NORMAL, SamplerConfig(), 2, cases=jnp.zeros((2, 2)))
    weighted = SamplerConfig(weighted=True, resample=0.5)
    with pytest.raises(UserError, match="chains of different cases"):
        sample(key, lambda case: NORMAL, weighted, 2, cases=jnp.zeros((2, 2)))
