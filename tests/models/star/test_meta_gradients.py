"""Meta-gradients grow without bound where the optimizer is unstable, and only there (star.md, 5, tests 6 and 7)."""

from dataclasses import replace
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from models.learned_optimizers.star import StarConfig, star
from models.star.noisy_quadratic import dynamics, expected_losses, random_blocks, random_hessian, spectral_radius
from models.star.simulation import growth_per_step, meta_gradients, simulate
from shammie.errors import UserError

LENGTHS = (80, 120, 160, 200)
CHAINS = 16
HESSIAN = random_hessian((0.1, 0.5, 1.0, 2.0), np.random.default_rng(0))
NOISE = np.diag([0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize(("of", "power"), [("distance", 1), ("loss", 2)])
def test_growth_is_the_radius_to_the_steps(of: Literal["loss", "distance"], power: int) -> None:
    """Test 7: as T rho^T, the loss as T rho^(2 T), where rho = 1.2; bounded where the same block has rho < 1."""
    unstable = float(spectral_radius(dynamics(HESSIAN, 1.1).A))
    assert unstable == pytest.approx(1.2)
    grown = meta_gradients(jax.random.key(1), HESSIAN, NOISE, 1.1, lengths=LENGTHS, chains=CHAINS, of=of)
    assert grown.rate_LN.dtype == np.float64
    assert growth_per_step(LENGTHS, grown.norms()) == pytest.approx(unstable**power, rel=1e-3)
    assert grown.norms()[-1] > 1e8 * grown.norms()[0]
    block = random_blocks(1, 4, 0.05, np.random.default_rng(2))[0]
    assert float(spectral_radius(dynamics(HESSIAN, 0.3, block).A)) < 1
    kept = meta_gradients(jax.random.key(1), HESSIAN, NOISE, 0.3, block, lengths=LENGTHS, chains=CHAINS, of=of)
    assert kept.norms().max() < 3 * kept.norms().min()


def test_the_gradient_is_that_of_the_expected_loss() -> None:
    """Without noise, of every entry, stable or not, by central differences of the exact recursion."""
    start, nothing = np.array([1.0, -2.0, 0.5, 3.0]), np.zeros((4, 4))
    block = random_blocks(1, 4, 0.05, np.random.default_rng(3))[0]

    def losses(rate: float, block: np.ndarray) -> np.ndarray:
        return expected_losses(HESSIAN, nothing, dynamics(HESSIAN, rate, block), start, 31)[[1, 5, 20, 30]]

    for rate in (0.3, 1.1):
        found = meta_gradients(
            jax.random.key(0), HESSIAN, nothing, rate, block, lengths=(1, 5, 20, 30), chains=1, start_D=start
        )
        slope = (losses(rate + 1e-6, block) - losses(rate - 1e-6, block)) / 2e-6
        np.testing.assert_allclose(found.rate_LN[:, 0], slope, rtol=1e-5)
        for i, j in ((0, 0), (1, 3), (3, 2)):
            entry = 1e-6 * np.eye(4)[[i]].T @ np.eye(4)[[j]]
            slope = (losses(rate, block + entry) - losses(rate, block - entry)) / 2e-6
            np.testing.assert_allclose(found.block_LNDD[:, 0, i, j], slope, rtol=1e-5, atol=1e-7)


def test_bad_input() -> None:
    key = jax.random.key(0)
    with pytest.raises(UserError, match="lengths is 0"):
        meta_gradients(key, HESSIAN, NOISE, 0.3, lengths=(), chains=1)
    with pytest.raises(UserError, match="chains is 0"):
        simulate(key, HESSIAN, NOISE, 0.3, steps=1, chains=0)
    with pytest.raises(UserError, match=r"the noise has shape \(3, 3\)"):
        simulate(key, HESSIAN, np.eye(3), 0.3, steps=1, chains=1)
    with pytest.raises(UserError, match="the noise has the variance -1"):
        simulate(key, HESSIAN, -np.eye(4), 0.3, steps=1, chains=1)
    with pytest.raises(UserError, match=r"the learned block has shape \(2, 2\)"):
        simulate(key, HESSIAN, NOISE, 0.3, np.eye(2), steps=1, chains=1)


@pytest.mark.slow
def test_untrained_optimizers_descend_by_their_nominal_term_only() -> None:
    """Test 6: 20 random thetas on the model, 1,500 steps from a loss of about 1.5; noise leaves 0.018 at best."""
    hessian, steps = jnp.asarray(HESSIAN, jnp.float32), 1500

    def final_losses(config: StarConfig) -> np.ndarray:
        def loss_of(x: jax.Array, target: jax.Array) -> jax.Array:
            return (x - target) @ hessian @ (x - target) / 2

        def train(key: jax.Array) -> jax.Array:
            of_theta, of_targets = jax.random.split(key)
            transformation = star(config).optax(star(config).init_theta(of_theta), steps)

            def step(carry: tuple[jax.Array, optax.OptState], key: jax.Array) -> tuple:
                x, state = carry
                loss, gradient = jax.value_and_grad(loss_of)(x, 0.1 * jax.random.normal(key, (4,)))
                updates, state = transformation.update(gradient, state, x, value=loss)
                return (x + updates, state), loss

            x = jnp.ones(4)
            return jax.lax.scan(step, (x, transformation.init(x)), jax.random.split(of_targets, steps))[1]

        losses = np.asarray(jax.jit(jax.vmap(train))(jax.random.split(jax.random.key(0), 20)))
        assert losses[:, 0].mean() == pytest.approx(1.5, abs=0.3)
        return np.nan_to_num(losses[:, -100:].mean(axis=1), nan=np.inf)

    nominal = final_losses(replace(StarConfig(), step_mult=0.0))
    assert nominal.max() < 0.03
    free = final_losses(replace(StarConfig(), nominal_stepsize=0.0))
    assert np.sum(free < 0.15) <= 4  # some are lucky: signs are random
    assert np.median(free) > 0.7
    assert np.sum(free > 1.5) >= 6
