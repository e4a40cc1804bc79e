"""Online evolution strategies: identities between them, noise and resets, offsets, and what is counted."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from models.evolution import Estimator, EvolutionConfig, Unrolled, es, full_es, gpes, nres, pes, truncated_es
from models.evolution.linear import linear
from models.evolution.lorenz import LorenzConfig, first_theta, lorenz
from models.evolution.quadratic import QuadraticConfig, first_rates, quadratic
from shammie.errors import UserError

LORENZ = LorenzConfig(horizon=60)
WINDOWED = EvolutionConfig(particles=7, window=10, sigma=0.04, burn_in=0)


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled in a hurry: these tests run each function a few times."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


def _windows(estimator: Estimator, theta: Any, count: int, skip: int = 0) -> list[Any]:
    """(gradient, workers after, info) of some windows, after others that are burn-in."""
    workers = _compiled(estimator.init)(theta, jax.random.key(0))
    gradient, seen = _compiled(estimator.gradient), []
    for number in range(skip + count):
        found, workers, info = gradient(theta, workers, jax.random.key(100 + number))
        seen.append((found, workers, info))
    return seen[skip:]


def _config(**settings: Any) -> EvolutionConfig:
    """Settings without burn-in of the estimator's own, which would be compiled a second time."""
    return EvolutionConfig(**{"particles": 5, "window": 3, "sigma": 0.1, "burn_in": 0, **settings})


def _same_bits(one: Any, other: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, other)


def _adding(loss: Callable[..., Any], horizon: int = 6) -> Unrolled:
    """The state adds theta up; the loss is of (state, number of the step, key)."""

    def step(theta: jax.Array, total: jax.Array, number: jax.Array, key: jax.Array) -> Any:
        return total + theta, loss(total + theta, number, key)

    return Unrolled(lambda theta, key: jnp.zeros_like(theta), step, horizon)


@pytest.mark.parametrize(("window", "reuses"), [(10, (60, 1000)), (16, (61,))])  # in 16s, episodes end within windows
def test_noise_reused_for_the_whole_episode_is_nres_bit_for_bit(window: int, reuses: tuple[int, ...]) -> None:
    config = _config(particles=7, window=window, sigma=0.04)
    theta, problem = first_theta(LORENZ), lorenz(LORENZ)
    ours = _windows(nres(problem, config), theta, 8, skip=6)
    for reuse in reuses:
        for one, other in zip(ours, _windows(gpes(problem, config, reuse=reuse), theta, 8, skip=6), strict=True):
            _same_bits(one[0], other[0])
            _same_bits((one[1].noise, one[1].inner, one[2]), (other[1].noise, other[1].inner, other[2]))
            assert float(jnp.abs(one[0]["log_r"])) > 0


def test_noise_of_one_window_is_pes_as_it_is_written_down() -> None:
    """Textbook PES beside it, from the same noise: xi added up by hand, trajectories made one by one."""
    problem, theta = lorenz(LORENZ), first_theta(LORENZ)
    estimator = pes(problem, _config(particles=3, window=10, sigma=0.04))
    step, estimate = jax.jit(problem.step), _compiled(estimator.gradient)
    before = _windows(estimator, theta, 1, skip=5)[0][1]
    restarts = 0
    for number in range(8):
        gradient, after, info = estimate(theta, before, jax.random.key(number))
        total = {name: 0.0 for name in theta}
        for worker in range(3):
            begins = int(before.step[worker]) == 0
            restarts += begins
            noise = {name: np.asarray(leaf[worker]) for name, leaf in after.noise.items()}
            xi = {name: noise[name] + (0 if begins else np.asarray(before.accumulated[name][worker])) for name in theta}
            for name in theta:  # but for one rounding, where sigma * normal is fused into the sum
                np.testing.assert_allclose(after.accumulated[name][worker], xi[name], atol=1e-7)
            sums = []
            for side, sign in enumerate((1, -1)):
                state = jax.tree.map(lambda leaf, side=side, worker=worker: leaf[side, worker], before.inner)
                state = problem.init(theta, None) if begins else state
                moved = {name: theta[name] + sign * noise[name] for name in theta}
                losses = []
                for place in range(10):
                    state, loss = step(moved, state, before.step[worker] + place, jax.random.key(0))
                    losses.append(float(loss))
                sums.append(losses)
            for name in theta:
                total[name] += float(xi[name]) * float(np.sum(np.subtract(*sums))) / (2 * 0.04**2)
        for name in theta:
            assert float(gradient[name]) == pytest.approx(total[name] / 30, rel=2e-3, abs=1.0)
        assert int(info.counted) == 30
        before = after
    assert restarts >= 3


def _made_under_own_noise(workers: es.Workers, theta: jax.Array, horizon: int) -> None:
    """Each sum of thetas is that of its own steps; at step 0 the last state of the episode before is still there."""
    steps_N = jnp.where(workers.step == 0, horizon, workers.step)
    thetas = es.perturbed(theta, workers.noise, es.PAIR)
    np.testing.assert_allclose(workers.inner, steps_N[None, :, None] * thetas, rtol=1e-5)


@pytest.mark.parametrize("way", ["nres", "pes"])
def test_a_window_that_does_not_hold_the_episode_is_looked_into(way: str) -> None:
    build = {"nres": nres, "pes": lambda p, c: gpes(p, c, reuse=12 * c.window)}[way]
    problem, theta = _adding(lambda total, number, key: jnp.sum(total**3) * (number + 1.0)), jnp.array([0.5, -1.0])
    long = _windows(build(problem, _config(window=4, offsets=False)), theta, 3)
    for number, (gradient, workers, info) in enumerate(long):
        assert int(workers.step[0]) == (4, 2, 0)[number]
        assert int(info.counted) == 20
        _made_under_own_noise(workers, theta, 6)
        # the noise of the window's first steps, which may end an episode, and of those after the end
        before = long[max(number, 1) - 1][1].noise if number < 2 else workers.noise
        parts = (((1, 2, 3, 4), before),), (((5, 6), before), ((1, 2), workers.noise)), (((3, 4, 5, 6), before),)
        by_hand = 0.0
        for steps, noise in parts[number]:
            both = es.perturbed(theta, noise, es.PAIR)
            losses_SN = sum(step**4 for step in steps) * jnp.sum(both**3, axis=-1)
            by_hand += (losses_SN[0] - losses_SN[1]) @ noise / (2 * 0.01 * 20)
        np.testing.assert_allclose(gradient, by_hand, rtol=1e-4)
    assert not np.allclose(long[0][1].noise, long[1][1].noise)


def test_windows_of_one_episode_average_to_full_es_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    dyadic = jnp.array([[0.5, -1.0, 2.0], [-0.25, 1.5, 1.0]])
    for module in ("es", "whole_episode"):
        monkeypatch.setattr(f"models.evolution.{module}.draw", lambda *_: dyadic)
    g_TTD = np.random.default_rng(0).integers(-4, 5, (8, 8, 3)).astype(np.float32)
    problem, theta = linear(g_TTD), jnp.array([1.0, -2.0, 0.5])
    config = _config(particles=2, window=2, sigma=0.5, offsets=False)
    parts = [np.asarray(gradient) for gradient, *_ in _windows(nres(problem, config), theta, 4)]
    whole, _, info = full_es(problem, config).gradient(theta, jnp.arange(2), jax.random.key(0))
    np.testing.assert_array_equal(np.mean(parts, axis=0), whole)
    assert np.abs(whole).min() > 0
    assert int(info.environment_steps) == 2 * 2 * 8
    assert int(info.sequential_steps) == 8


@pytest.mark.parametrize("window", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_truncated_es_sees_only_its_window(window: int) -> None:
    """L_t = c (theta_1 + ... + theta_t): the gradient is (T + 1) / 2 c, what a window sees (W + 1) / 2 c."""
    problem = _adding(lambda total, *_: 3.0 * jnp.sum(total))
    theta, config = jnp.array([0.7]), _config(particles=4000, window=window)
    means = {}
    for build in (truncated_es, nres):
        seen = _windows(build(problem, config), theta, 20, skip=6)
        found = [float(gradient[0]) for gradient, *_ in seen]
        if build is truncated_es:  # what it keeps is the trajectory of theta itself
            _, workers, _ = seen[-1]
            np.testing.assert_allclose(
                workers.inner[0, :, 0], 0.7 * jnp.where(workers.step == 0, 6, workers.step), 1e-5
            )
        means[build.__name__] = np.mean(found), np.std(found, ddof=1) / 20**0.5
    mean, error = means["truncated_es"]
    assert abs(mean - 3 * (window + 1) / 2) < 4 * error
    assert abs(mean - 3 * 3.5) > 40 * error
    mean, error = means["nres"]
    assert abs(mean - 3 * 3.5) < 5 * max(error, 0.02)


@pytest.mark.parametrize("build", [nres, pes, truncated_es, full_es])
def test_antithetic_pairs_cancel_what_is_even(build: Callable[..., Estimator]) -> None:

    def loss(total: jax.Array, number: jax.Array, key: jax.Array) -> jax.Array:
        constant = jax.random.normal(key) + 0.1 * number  # both of a pair get the same keys
        return constant + jnp.sum(total**2) + jnp.cos(total[0])

    estimator = build(_adding(loss), _config())
    estimate = _compiled(estimator.gradient)
    for theta in (jnp.zeros(2), jnp.ones(2)):
        workers = _compiled(estimator.init)(theta, jax.random.key(0))
        for number in range(7):
            gradient, workers, info = estimate(theta, workers, jax.random.key(number))
            assert int(info.finite) == 5
            if number > 2:
                assert int(info.counted) == (30 if estimator.name == "full_es" else 15)
                trajectories, steps = {"truncated_es": (3, 3), "full_es": (2, 6)}.get(estimator.name, (2, 3))
                assert int(info.environment_steps) == trajectories * 5 * steps
                assert int(info.sequential_steps) == steps
                assert (np.asarray(gradient) == 0).all() == (float(theta[0]) == 0)


def test_the_first_step_of_an_episode_has_new_noise_and_nothing_accumulated() -> None:
    problem = _adding(lambda total, *_: jnp.sum(total))
    seen = _windows(gpes(problem, _config(particles=6, window=2), reuse=4), jnp.zeros(1), 9, skip=3)
    changes = 0
    for (_, before, _), (_, after, _) in itertools.pairwise(seen):
        for worker in range(6):
            started_at = int(before.step[worker])
            old, new = before.noise[worker], after.noise[worker]
            assert (old != new).all() == (started_at in (0, 4)), started_at
            if started_at == 0:
                changes += 1
                np.testing.assert_array_equal(after.accumulated[worker], new)
            elif started_at == 4:
                np.testing.assert_allclose(after.accumulated[worker], before.accumulated[worker] + new, atol=1e-7)
    assert changes >= 6


@pytest.mark.parametrize(
    ("estimator_of", "renewed_every"),
    [(nres, 6), (lambda p, c: gpes(p, c, reuse=4), 4), (pes, 2)],
    ids=["nres", "gpes", "pes"],
)
def test_no_perturbation_is_taken_twice_though_they_are_drawn_ahead(
    estimator_of: Callable[..., Estimator], renewed_every: int
) -> None:
    """Each worker's perturbations are all of its own, new when due, and normal."""
    problem = _adding(lambda total, number, key: jnp.sum(total), horizon=6)
    estimator = estimator_of(problem, _config(particles=40, window=2, sigma=0.5))
    seen, taken = _windows(estimator, jnp.zeros(3), 15, skip=3), []
    for (_, before, _), (_, after, _) in itertools.pairwise(seen):
        due_N = np.asarray(before.step) % renewed_every == 0
        changed_N = (np.asarray(before.noise) != np.asarray(after.noise)).all(axis=1)
        np.testing.assert_array_equal(changed_N, due_N)
        taken.append(np.asarray(after.noise)[due_N])
    noise_MD = np.concatenate(taken)
    assert len(noise_MD) > 150
    assert len(np.unique(noise_MD)) == noise_MD.size
    assert stats.kstest(noise_MD.ravel() / 0.5, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(noise_MD[:-1].ravel(), noise_MD[1:].ravel())[0, 1]) < 0.15


def test_initial_states_see_the_noise_of_their_own_episode() -> None:
    problem = Unrolled(lambda theta, key: theta, lambda theta, s, number, key: (s, jnp.sum(s)), 4)
    config = _config(particles=3000, window=2)
    for gradient, workers, _ in _windows(nres(problem, config), jnp.array([2.0]), 3, skip=2):
        np.testing.assert_allclose(workers.inner[0], 2 + workers.noise)
        assert float(gradient[0]) == pytest.approx(1.0, abs=0.15)


def test_offsets_are_uniform_and_burn_in_leaves_no_made_up_state() -> None:
    problem = _adding(lambda total, number, key: jnp.sum(total), horizon=13)
    theta = jnp.array([0.5])
    fresh = nres(problem, _config(particles=3000, window=2))
    start = fresh.init(theta, jax.random.key(0))
    counts = np.bincount(np.asarray(start.step), minlength=14)
    assert counts[1::2].sum() == 0
    assert len(counts[::2]) == 7  # 0, 2, ..., 12: ceil(13 / 2) windows
    assert stats.chisquare(counts[::2]).pvalue > 1e-3
    assert not bool(start.started.any())
    gradient, _, info = fresh.gradient(theta, start, jax.random.key(1))
    # whoever has not begun an episode by then is left out; offset 12 begins one within the window, 1 step of it
    assert int(info.counted) == 2 * counts[0] + counts[12]
    assert float(gradient[0]) == pytest.approx((1.5 * 2 * counts[0] + counts[12]) / int(info.counted), rel=0.15)
    estimator = nres(problem, EvolutionConfig(particles=500, window=2, sigma=0.1))
    workers = jax.jit(estimator.init)(theta, jax.random.key(0))
    assert bool(workers.started.all())
    _made_under_own_noise(workers, theta, 13)
    assert estimator.burn_in_environment_steps == 2 * 500 * 14  # whole windows
    assert estimator.burn_in_sequential_steps == 14
    assert truncated_es(problem, EvolutionConfig(particles=4, window=1)).burn_in_environment_steps == 3 * 4 * 13


def test_losses_that_are_not_finite_are_left_out_and_counted() -> None:
    def loss(total: jax.Array, number: jax.Array, key: jax.Array) -> jax.Array:
        return jnp.sum(total) + jnp.where(number == 3, jnp.nan, 0.0)

    problem, theta = _adding(loss), jnp.array([1.0])
    config = {"particles": 400, "window": 2}
    handed_on = _windows(nres(problem, _config(**config)), theta, 3, skip=3)
    assert all(np.isnan(gradient).all() for gradient, *_ in handed_on)
    assert all(0 < int(info.finite) < 400 for *_, info in handed_on)
    for build, steps in ((nres, 2), (full_es, 6)):
        found = _windows(build(problem, _config(skip_nonfinite=True, **config)), theta, 30, skip=3)
        for gradient, _, info in found:
            assert np.isfinite(gradient).all()
            assert np.isfinite(info.loss)
            left_out = 400 - int(info.finite)
            assert int(info.counted) == 400 * steps - left_out
            assert left_out > 0
        # steps 1, 2, 3, 5 and 6 have derivatives as large as they are late
        assert np.mean([gradient for gradient, *_ in found]) == pytest.approx(17 / 5, rel=0.1)


def test_signs_clipping_and_normalisation() -> None:
    problem, theta = _adding(lambda total, *_: 5 * jnp.sum(total)), jnp.array([1.0])
    config = {"particles": 5, "window": 6, "sigma": 0.5, "offsets": False}
    plain, workers, _ = _windows(nres(problem, _config(**config)), theta, 1)[0]
    eps_N = np.asarray(workers.noise)[:, 0]
    difference_N = 2 * 5 * 3.5 * eps_N  # of a window's mean loss
    assert float(plain[0]) == pytest.approx(np.mean(eps_N * difference_N) / 0.5, rel=1e-5)
    signed = _windows(nres(problem, _config(sign=True, **config)), theta, 1)[0][0]
    assert float(signed[0]) == pytest.approx(np.mean(np.abs(eps_N)) / 0.5, rel=1e-5)
    clipped = _windows(nres(problem, _config(clip=8.0, **config)), theta, 1)[0][0]
    assert (np.abs(difference_N) > 8).any()
    assert (np.abs(difference_N) < 8).any()
    assert float(clipped[0]) == pytest.approx(np.mean(eps_N * np.clip(difference_N, -8, 8)) / 0.5, rel=1e-5)
    losses = 17.5 * np.concatenate([1 + eps_N, 1 - eps_N])
    for build in (nres, full_es):  # both draw the same noise
        found = _windows(build(problem, _config(normalize_loss=True, **config)), theta, 1)[0][0]
        assert float(found[0]) == pytest.approx(float(plain[0]) * 0.5 / losses.std(), rel=1e-4)


@pytest.mark.slow
def test_horizons_of_their_own() -> None:
    told = Unrolled(
        lambda theta, key, horizon: (theta * 0, horizon),
        lambda theta, s, number, key: ((s[0] + theta, s[1]), jnp.sum(theta) + (number >= s[1]) * jnp.inf),
        horizon=20,
        tells_horizon=True,
    )
    config = _config(particles=300, horizon_sampling="log_uniform", shortest_horizon=4)
    seen = _windows(nres(told, config), jnp.array([1.0]), 12, skip=7)
    for gradient, workers, info in seen:
        np.testing.assert_array_equal(workers.inner[1][0][workers.step > 0], workers.horizon[workers.step > 0])
        assert np.isfinite(gradient).all()  # no worker went beyond its horizon
        assert int(info.counted) == 900
    horizons = np.asarray(seen[-1][1].horizon)
    assert horizons.min() == 4
    assert horizons.max() == 20
    whole, _, info = full_es(told, config).gradient(jnp.array([1.0]), jnp.arange(300), jax.random.key(5))
    assert float(whole[0]) == pytest.approx(1.0, abs=0.3)
    assert int(info.environment_steps) == 2 * int(info.counted)
    assert 300 * 8 < int(info.counted) < 300 * 12  # the mean of a log-uniform is (21 - 4) / ln(21 / 4) = 10.2
    assert int(info.sequential_steps) == 20


def test_integer_and_empty_parameters_are_left_alone() -> None:
    theta = {
        "w": jnp.array([1.0, 2.0]),
        "count": jnp.array(3),
        "none": jnp.zeros((0, 4)),
        "half": jnp.ones(2, jnp.bfloat16),
    }

    def step(theta: Any, state: jax.Array, number: jax.Array, key: jax.Array) -> Any:
        loss = (
            jnp.sum(theta["w"]) * theta["count"] + jnp.sum(theta["none"]) + jnp.sum(theta["half"].astype(jnp.float32))
        )
        return state, loss

    problem = Unrolled(lambda theta, key: jnp.zeros(()), step, 4)
    for build in (pes, full_es):
        gradient = _windows(build(problem, _config(particles=9, window=2)), theta, 1, skip=2)[0][0]
        assert jax.tree.map(lambda g: (g.shape, g.dtype), gradient) == jax.tree.map(lambda x: (x.shape, x.dtype), theta)
        assert int(gradient["count"]) == 0
        assert float(jnp.abs(gradient["w"]).max()) > 0.1


@pytest.mark.slow
def test_speed_settings_change_no_result() -> None:
    problem = quadratic(QuadraticConfig(horizon=12))
    one, other = (
        _windows(nres(problem, _config(window=6, unroll=unroll)), first_rates(QuadraticConfig()), 3, skip=2)
        for unroll in (1, 4)
    )
    for (a, *_), (b, *_) in zip(one, other, strict=True):
        np.testing.assert_allclose(a["log_rate"], b["log_rate"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda p: gpes(p, WINDOWED, reuse=15), "reuse is 15, the window 10 and the horizon 60"),
        (lambda p: gpes(p, WINDOWED, reuse=0), "reuse is 0"),
        (lambda p: nres(p, EvolutionConfig(window=61)), "window is 61 and the problem's horizon 60"),
        (lambda p: full_es(p, EvolutionConfig(shortest_horizon=61)), "shortest_horizon is 61"),
        (lambda p: EvolutionConfig(particles=0), "particles is 0"),
        (lambda p: EvolutionConfig(window=2.5), "window is 2.5; give a whole number of at least 1"),  # pyright: ignore
        (lambda p: EvolutionConfig(sigma=0.0), "sigma is 0.0"),
        (lambda p: EvolutionConfig(sigma=float("nan")), "sigma is nan"),
        (lambda p: EvolutionConfig(clip=-1.0), "clip is -1.0"),
        (lambda p: EvolutionConfig(horizon_sampling="loguniform"), "did you mean log_uniform"),  # pyright: ignore
        (lambda p: Unrolled(p.init, p.step, 0), "horizon is 0"),
    ],
)
def test_what_does_not_fit_is_refused(build: Callable[[Unrolled], Any], message: str) -> None:
    with pytest.raises(UserError, match=message.replace("(", r"\(")) as caught:
        build(lorenz(LORENZ))
    assert "\n" not in str(caught.value)
