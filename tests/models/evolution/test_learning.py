"""Runs of learning by name, measured moments, and what is told of bad settings."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.evolution import EvolutionConfig, mean_loss, nres
from models.evolution.learning import Learning, estimator_of, learn, parts
from models.evolution.linear import derivatives_of, example_derivatives, gpes_variance, linear, mean_gradient_of
from models.evolution.lorenz import LorenzConfig, lorenz
from models.evolution.moments import Moments, measure, moments_of
from models.evolution.problems import PROBLEMS, horizon_of, pose
from models.evolution.quadratic import QuadraticConfig, smoothed_gradient
from shammie.errors import UserError

SHORT = Learning(
    options={"horizon": 40}, particles=4, window=10, iterations=7, points=3, pairs=8, learning_rate=1e-4, seed=5
)


def test_parts_are_alike_but_the_last() -> None:
    assert parts(7, 3) == [3, 3, 1]
    assert parts(2, 5) == [1, 1]
    assert parts(100, 4) == [25] * 4


def test_a_run_counts_its_steps_and_tells_the_losses_of_its_parameters() -> None:
    seen = learn(SHORT)
    assert seen.iterations.tolist() == [0, 3, 6, 7]
    burn_in = 2 * 4 * 40
    assert seen.environment_steps.tolist() == [burn_in + 80 * i for i in (0, 3, 6, 7)]
    assert seen.sequential_steps.tolist() == [40 + 10 * i for i in (0, 3, 6, 7)]
    problem = lorenz(LorenzConfig(horizon=40))
    theta = {"log_a": jnp.float32(seen.theta[0]), "log_r": jnp.float32(seen.theta[1])}
    assert seen.loss[-1] == pytest.approx(float(mean_loss(problem, theta, jax.random.key(0))), rel=1e-5)
    start = {"log_a": jnp.float32(3.116), "log_r": jnp.float32(3.7)}
    assert seen.loss[0] == pytest.approx(float(mean_loss(problem, start, jax.random.key(0))), rel=1e-5)
    assert seen.loss[-1] < seen.loss[0]
    # 4 % of noise on a smooth loss moves its mean by little
    np.testing.assert_allclose(seen.smoothed_loss, seen.loss, rtol=0.1)
    assert (seen.smoothed_loss != seen.loss).all()
    assert seen.skipped == 0


def test_a_run_is_its_settings_and_nothing_else() -> None:
    again = Learning.from_json(json.loads(json.dumps(SHORT.to_json())))
    np.testing.assert_array_equal(learn(again).loss, learn(SHORT).loss)
    other = learn(Learning.from_json({**SHORT.to_json(), "seed": 6}))
    assert other.loss[0] == learn(SHORT).loss[0]
    assert (other.loss[1:] != learn(SHORT).loss[1:]).all()


@pytest.mark.slow
def test_a_learning_rate_drops_to_a_tenth() -> None:
    """The first update is the same; after the drop each is a tenth of what the same gradient had made."""
    settings = {**SHORT.to_json(), "iterations": 2, "points": 2, "learning_rate": 1e-7}  # theta hardly moves
    plain = learn(Learning.from_json(settings))
    dropped = learn(Learning.from_json({**settings, "drop_at": 1}))
    one = learn(Learning.from_json({**settings, "iterations": 1, "points": 1}))
    assert dropped.theta[0] != plain.theta[0]
    ratio = (dropped.theta - one.theta) / (plain.theta - one.theta)
    np.testing.assert_allclose(ratio, 0.1, rtol=0.1)


def test_a_window_need_not_divide_the_horizon() -> None:
    seen = learn(Learning.from_json({**SHORT.to_json(), "window": 15, "iterations": 3, "points": 1}))
    assert np.isfinite(seen.loss).all()
    assert seen.environment_steps[-1] == 2 * 4 * (45 + 3 * 15)  # burn-in is whole windows


def test_moments_of_a_hand_made_table() -> None:
    means_MD = np.array([[1.0, 0.0], [3.0, 0.0], [2.0, 0.0], [2.0, 0.0]])
    squares_M = np.array([2.0, 10.0, 5.0, 5.0])
    found = moments_of(means_MD, squares_M)
    np.testing.assert_allclose(found.mean, [2, 0])
    np.testing.assert_allclose(found.mean_error, [np.sqrt(2 / 3) / 2, 0])
    assert found.variance == pytest.approx(5.5 - (4 - 1 / 6))
    pulls = np.array([2.0 - 4, 10 - 12, 5 - 8, 5 - 8])
    assert found.variance_error == pytest.approx(pulls.std(ddof=1) / 2)


@pytest.mark.parametrize("reuse", [pytest.param(1, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow), 6])
def test_measured_variances_are_those_of_the_closed_form(reuse: int) -> None:
    found = measure(Moments(estimator="gpes", reuse=reuse, sigma=0.7, episodes=20_000, seed=3))
    closed = gpes_variance(example_derivatives(), reuse)
    assert abs(found.variance - closed) < 3 * found.variance_error < 0.1 * closed
    assert (np.abs(found.mean - mean_gradient_of(example_derivatives())) < 4 * found.mean_error).all()


def test_derivatives_of_a_linear_problem_are_its_own() -> None:
    g_TTD = example_derivatives()
    found = derivatives_of(linear(g_TTD), jnp.array([0.3, -1.0, 2.0]), jax.random.key(0))
    np.testing.assert_allclose(found, g_TTD, atol=1e-6)


@pytest.mark.slow
def test_the_smoothed_gradient_of_a_quadratic() -> None:
    config = QuadraticConfig(horizon=20, dimensions=4)
    found = measure(
        Moments("quadratic", {"horizon": 20, "dimensions": 4, "first_log_rate": -1.5}, "nres", 0, 10, 0.2, 20_000)
    )
    exact = smoothed_gradient(config, -1.5, 0.2)
    assert exact < 0
    assert abs(found.mean[0] - exact) < 4 * found.mean_error[0] < 0.1 * abs(exact)


def test_problems_are_found_by_their_names() -> None:
    assert set(PROBLEMS) == {"lorenz", "quadratic", "linear", "pendulum", "cart_pole", "optimizer", "physics"}
    assert (horizon_of("lorenz", {}), horizon_of("linear", {}), horizon_of("cart_pole", {"horizon": 7})) == (2000, 6, 7)
    for name in ("lorenz", "quadratic", "linear", "pendulum", "cart_pole"):
        posed = pose(name, {})
        assert posed.problem.horizon == horizon_of(name, {})
        assert jax.tree.leaves(posed.first_theta(jax.random.key(0)))
    assert estimator_of("nres", pose("linear", {}).problem, EvolutionConfig(2, 1)).name == "nres"


@pytest.mark.slow
def test_optimizers_are_a_problem_with_one_sequence_or_many() -> None:
    options: dict[str, Any] = {"horizon": 8, "widths": [4], "side": 3, "classes": 2, "batch": 4, "hidden_size": 4}
    for sequence, alike in ((88, True), (-1, False)):
        posed = pose("optimizer", {**options, "sequence": sequence})
        theta = posed.first_theta(jax.random.key(1))
        of_seed = jax.jit(lambda key, p=posed, t=theta: mean_loss(p.problem, t, key))
        found = [float(of_seed(jax.random.key(seed))) for seed in (2, 3)]
        assert (found[0] == found[1]) == alike
    estimator = nres(posed.problem, EvolutionConfig(2, 4, 0.01))
    gradient = jax.jit(lambda t, k: estimator.gradient(t, estimator.init(t, k), k)[0])(theta, jax.random.key(4))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert any((np.asarray(leaf) != 0).any() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Learning(estimator="nress"), "unknown estimator 'nress'; did you mean nres"),
        (lambda: Learning(problem="lorentz"), "unknown problem 'lorentz'; did you mean lorenz"),
        (lambda: Learning(options={"horizn": 3}), "unknown option of problem lorenz 'horizn'; did you mean horizon"),
        (lambda: Learning(options={"horizon": "a"}), "the horizon of problem lorenz is 'a'"),
        (lambda: Learning(optimizer="adm"), "unknown optimizer 'adm'; did you mean adam"),
        (lambda: Learning(window=2001), "window is 2001 and the problem's horizon 2000; give at most 2000"),
        (lambda: Learning(particles=0), "particles is 0; give at least 1"),
        (lambda: Learning(estimator="gpes", reuse=150), "reuse is 150, the window 100 and the horizon 2000"),
        (lambda: Learning(iterations=0), "iterations is 0"),
        (lambda: Learning.from_json({"points": 2.5}), "points is 2.5; give a whole number"),
        (lambda: Learning.from_json({"particles": "x"}), "particles is 'x'; give a whole number"),
        (lambda: Learning(learning_rate=-1.0), "learning_rate is -1.0"),
        (lambda: Learning.from_json({"windw": 3}), "unknown setting of a run 'windw'; did you mean window"),
        (lambda: Moments(window=4), "window is 4 and the horizon 6; give a window that divides it"),
        (lambda: Moments(episodes=1), "episodes is 1"),
        (lambda: Moments(estimator="pse"), "unknown estimator 'pse'; did you mean pes"),
        (lambda: Moments(estimator="gpes"), "reuse is 0"),
    ],
)
def test_bad_settings_are_named(build: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()
