"""The built-in problems: Lorenz as the paper sets it, and noisy quadratics, against plain numpy and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.evolution import losses, mean_loss
from models.evolution.lorenz import LorenzConfig, first_theta, lorenz, true_theta
from models.evolution.quadratic import QuadraticConfig, expected_losses, first_rates, quadratic
from shammie.errors import UserError


def _lorenz_losses(log_a: float, log_r: float, steps: int) -> np.ndarray:
    """The losses by plain loops; float64 [T]."""
    states = {side: np.array([1.2, 1.3, 1.6]) for side in "ours true".split()}
    parameters = {"ours": (np.exp(log_a), np.exp(log_r)), "true": (10.0, 28.0)}
    found = []
    for _ in range(steps):
        for side, (a, r) in parameters.items():
            x, y, z = states[side]
            states[side] = states[side] + 0.005 * np.array([a * (y - x), x * (r - z) - y, x * y - 8 / 3 * z])
        found.append((states["ours"][2] - states["true"][2]) ** 2)
    return np.array(found)


def test_lorenz_has_the_known_losses() -> None:
    by_hand = _lorenz_losses(3.116, 3.7, 2000)
    assert by_hand.mean() == pytest.approx(353.2994, abs=1e-3)
    assert by_hand[:100].mean() == pytest.approx(750.0686, abs=1e-4)
    assert by_hand[:50].mean() == pytest.approx(822.2764, abs=1e-4)
    key = jax.random.key(0)
    for steps, known in ((2000, 353.4), (100, 750.0686), (50, 822.2764)):
        config = LorenzConfig(horizon=steps)
        found = float(mean_loss(lorenz(config), first_theta(config), key))
        assert found == pytest.approx(known, rel=2e-3 if steps == 2000 else 1e-5)  # chaos turns float32 into 0.1 %
    config = LorenzConfig(horizon=400)
    found = np.asarray(losses(lorenz(config), first_theta(config), key))
    assert found[0] == 0
    assert found[1] == pytest.approx(2.478939e-7, rel=1e-3)
    np.testing.assert_allclose(found[:100], by_hand[:100], rtol=2e-3, atol=1e-7)
    assert float(np.exp(first_theta(config)["log_a"])) == pytest.approx(22.556, abs=1e-3)
    assert float(np.exp(first_theta(config)["log_r"])) == pytest.approx(40.447, abs=1e-3)


def test_lorenz_in_double_precision() -> None:
    with jax.enable_x64(True):
        config = LorenzConfig(dtype="float64")
        key, problem = jax.random.key(0), lorenz(config)
        assert float(mean_loss(problem, first_theta(config), key)) == pytest.approx(353.2994, abs=1e-3)
        assert float(mean_loss(problem, true_theta(config), key)) < 1e-19


def test_the_expected_losses_of_noisy_quadratics() -> None:
    for each in (False, True):
        config = QuadraticConfig(horizon=30, dimensions=4, noise=0.7, first_log_rate=-0.5, each=each)
        keys = jax.random.split(jax.random.key(0), 4000)
        found = jax.jit(jax.vmap(lambda key, c=config: losses(quadratic(c), first_rates(c), key)))(keys)
        error_T = np.std(found, axis=0, ddof=1) / 4000**0.5
        expected = expected_losses(config, np.asarray(first_rates(config)["log_rate"]))
        assert (np.abs(np.mean(found, axis=0) - expected) < 4.5 * error_T + 1e-6).all()
        assert (error_T < 0.03 * expected).all()


def test_bad_settings_are_refused() -> None:
    for build, message in (
        (lambda: LorenzConfig(step_size=0.0), "step_size is 0.0"),
        (lambda: LorenzConfig(dtype="float16"), "unknown dtype 'float16'"),  # pyright: ignore[reportArgumentType]
        (lambda: lorenz(LorenzConfig(horizon=0)), "horizon is 0"),
        (lambda: QuadraticConfig(dimensions=0), "dimensions is 0"),
        (lambda: QuadraticConfig(condition=0.5), "condition is 0.5"),
        (lambda: QuadraticConfig(noise=-1.0), "noise is -1.0"),
    ):
        with pytest.raises(UserError, match=message):
            build()
    assert jnp.shape(first_rates(QuadraticConfig(each=True))["log_rate"]) == (10,)
