"""VeLO's structure: counts, quirks, symmetries, and what the loss does."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from models.learned_optimizers.interface import Theta, count_of
from models.learned_optimizers.loss_features import FEATURES, decays_of, initial_losses, loss_features, next_losses
from models.learned_optimizers.tensor_network import width_of
from models.learned_optimizers.velo import VeloConfig, feature_widths, layer_sizes, mixed, velo
from shammie.errors import UserError

SMALL = VeloConfig(lstm_size=8, bank_size=6)


def _theta(config: VeloConfig = SMALL, seed: int = 0) -> Theta:
    """Random weights, scaled so that a mixture of the bank is of ordinary size; biases too."""
    theta = velo(config).init_theta(jax.random.key(seed))
    keys = iter(jax.random.split(jax.random.key(seed + 1), 64))
    theta = jax.tree.map(lambda x: x + 0.1 * jax.random.normal(next(keys), x.shape), theta)
    theta["network"]["mixture"] = jax.tree.map(lambda x: 0.1 * x, theta["network"]["mixture"])
    return theta


def _run(theta: Theta, params: Any, steps: int, *, config: VeloConfig = SMALL, num_steps: int = 20, order: Any = None,
         losses: Any = None, gain: Any = None) -> tuple[Any, Any]:  # fmt: skip
    """Parameters after steps on seeded gradients; `order` permutes gradients as parameters may be, `gain` scales."""
    transformation = velo(config).optax(theta, num_steps)
    state = transformation.init(params)
    rng = np.random.default_rng(5)
    for t in range(steps):
        grads = [jnp.asarray(rng.standard_normal(p.shape if order is None else order[1]), jnp.float32) for p in params]
        grads = grads if order is None else [order[0](g) for g in grads]
        grads = grads if gain is None else [g * k for g, k in zip(grads, gain, strict=True)]
        loss = jnp.float32(2.0 - t / 20) if losses is None else losses[t]
        updates, state = transformation.update(grads, state, params, value=loss)
        params = optax.apply_updates(params, updates)
    return params, state


def _normal(*shape: int, seed: int = 3) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def test_counts_are_those_of_the_released_weights() -> None:
    shapes = jax.eval_shape(velo().init_theta, jax.random.key(0))
    assert count_of(shapes) == 2_320_385
    assert count_of(shapes["network"]) == 2_278_657
    assert count_of(shapes["bank"]) == 40_704 == 256 * 159
    assert count_of(shapes["initial_state"]) == 1_024
    assert count_of(jax.eval_shape(velo(VeloConfig(128, 64)).init_theta, jax.random.key(0))) == 162_305
    assert sum(feature_widths(VeloConfig())) == 30 == width_of(3, 1)
    assert layer_sizes(VeloConfig()) == [(30, 4), (4, 4), (4, 3)]


def test_state_is_four_numbers_per_parameter() -> None:
    params = {"a": jnp.zeros((784, 128)), "b": jnp.zeros(128), "c": jnp.zeros((128, 10)), "d": jnp.zeros(10)}
    theta = jax.eval_shape(velo().init_theta, jax.random.key(0))
    theta = jax.tree.map(lambda x: jnp.zeros(x.shape), theta)
    state = velo().optax(theta, 100).init(params)
    assert count_of(state) / count_of(params) == pytest.approx(4.08, abs=0.005)
    trees = (*state.accumulators.momentum, *state.accumulators.rms)
    assert [jax.tree.map(jnp.shape, tree) for tree in trees] == [jax.tree.map(jnp.shape, params)] * 4


def test_rows_and_columns_have_no_order() -> None:
    theta, p = _theta(), _normal(8, 5)
    rows, columns = np.random.default_rng(0).permutation(8), np.random.default_rng(1).permutation(5)
    plain = _run(theta, [p], 5)[0][0]
    assert float(jnp.abs(plain - p).max()) > 1e-5
    permuted = _run(theta, [p[rows][:, columns]], 5, order=(lambda g: g[rows][:, columns], (8, 5)))[0][0]
    np.testing.assert_allclose(permuted, plain[rows][:, columns], rtol=1e-6, atol=1e-7)


@pytest.mark.slow
def test_axes_have_no_order_but_in_square_matrices() -> None:
    """Which axis counts as the larger one decides there, as in the reference."""
    theta, p = _theta(), _normal(8, 5)
    plain = _run(theta, [p], 5)[0][0]
    turned = _run(theta, [p.T], 5, order=(lambda g: g.T, (8, 5)))[0][0]
    np.testing.assert_allclose(turned, plain.T, rtol=1e-6, atol=1e-7)
    square = _normal(8, 8)
    plain = _run(theta, [square], 5)[0][0]
    turned = _run(theta, [square.T], 5, order=(lambda g: g.T, (8, 8)))[0][0]
    assert float(jnp.abs(turned - plain.T).max()) > 0.03 * float(jnp.abs(plain - square).mean())


def test_tensors_see_each_other_from_the_second_step_on() -> None:
    """They meet in the LSTM's pooling, of features that are all alike while the averages are 0."""
    theta, p, q = _theta(), _normal(8, 5), _normal(4, 3)

    def first(steps: int, gain: float) -> jax.Array:
        return _run(theta, [p, q], steps, gain=[1.0, gain])[0][0]

    np.testing.assert_array_equal(first(1, 1.0), first(1, 500.0))
    moved = jnp.linalg.norm(first(5, 1.0) - p)
    assert float(jnp.linalg.norm(first(5, 1.0) - first(5, 500.0))) > 0.01 * float(moved)


def test_the_multiplier_and_the_mixture_are_linear() -> None:
    theta, p = _theta(), _normal(8, 5)
    still = {
        **theta,
        "network": {**theta["network"], "step_size": jax.tree.map(jnp.zeros_like, theta["network"]["step_size"])},
    }
    np.testing.assert_array_equal(_run(still, [p], 3)[0][0], p)
    headless = {**theta, "bank": {**theta["bank"], "w2": 0 * theta["bank"]["w2"], "b2": 0 * theta["bank"]["b2"]}}
    np.testing.assert_array_equal(_run(headless, [p], 3)[0][0], p)
    mixture = _normal(2, 6)
    one, three = mixed(theta["bank"], mixture), mixed(theta["bank"], 3 * mixture)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(b, 3 * a, rtol=1e-5, atol=1e-6), one, three)
    np.testing.assert_allclose(
        one["w1"][1], 100 * jnp.mean(mixture[1][:, None, None] * theta["bank"]["w1"], axis=0), rtol=1e-5, atol=1e-6
    )


def test_the_first_mixing_layer_is_of_no_consequence() -> None:
    theta, p = _theta(), _normal(8, 5)
    other = {
        **theta,
        "network": {**theta["network"], "unused": jax.tree.map(lambda x: x + 1, theta["network"]["unused"])},
    }
    np.testing.assert_array_equal(_run(theta, [p], 3)[0][0], _run(other, [p], 3)[0][0])


def test_the_run_s_length_enters_by_the_fraction_and_the_half_lives_alone() -> None:
    theta, p = _theta(), _normal(8, 5)
    short, long = _run(theta, [p], 5, num_steps=10)[0][0], _run(theta, [p], 5, num_steps=1000)[0][0]
    assert float(jnp.abs(short - long).max()) > 1e-6
    np.testing.assert_allclose(decays_of(1000)[jnp.array([0, 9])], np.exp([-1 / 10, -1 / 1000]), rtol=1e-6)
    # the half-lives of a run of 10 steps are those of the switch
    state, decays = initial_losses(), decays_of(10)
    np.testing.assert_allclose(decays, np.full(10, np.exp(-0.1)), rtol=1e-6)
    for i, loss in enumerate([3.0, 2.0, 1.5, 1.4]):
        state = next_losses(state, jnp.float32(loss), jnp.asarray(i), decays)
    assert loss_features(state, jnp.asarray(4), decays).shape == (FEATURES,)


def test_switches_change_what_they_say() -> None:
    theta, p = _theta(), [_normal(8, 5)]
    plain, state = _run(theta, p, 4)
    _, kept = _run(theta, p, 4, config=VeloConfig(8, 6, bugged_lstm_state=True))
    start: Any = theta["initial_state"]
    np.testing.assert_array_equal(kept.memory.lstm.hidden[0], start["hidden"])
    np.testing.assert_array_equal(kept.memory.lstm.cell[0], start["cell"])
    assert float(jnp.abs(state.memory.lstm.hidden[0] - start["hidden"]).max()) > 1e-3
    one = _run(theta, p, 1)[0][0]
    np.testing.assert_array_equal(_run(theta, p, 1, config=VeloConfig(8, 6, bugged_lstm_state=True))[0][0], one)
    # a run of 10 steps has the half-lives of the switch
    bugged, losses = VeloConfig(8, 6, bugged_loss_features=True), jnp.array([3.0, 2.0, 2.5, 1.5, 2.0, 1.8])
    same = [_run(theta, p, 6, config=config, num_steps=10, losses=losses)[0][0] for config in (SMALL, bugged)]
    np.testing.assert_allclose(same[0], same[1], rtol=1e-6)
    others = [_run(theta, p, 6, config=config, num_steps=500, losses=losses)[0][0] for config in (SMALL, bugged)]
    assert float(jnp.abs(others[0] - others[1]).max()) > 1e-6
    assert float(jnp.abs(plain[0] - p[0]).max()) > 0


def test_the_loss_changes_the_steps() -> None:
    theta, p = _theta(), [_normal(8, 5)]
    falling, rising = jnp.linspace(3, 1, 8), jnp.linspace(1, 3, 8)
    a, b = _run(theta, p, 8, losses=falling)[0][0], _run(theta, p, 8, losses=rising)[0][0]
    assert float(jnp.abs(a - b).max()) > 1e-6
    np.testing.assert_array_equal(_run(theta, p, 2, losses=falling)[0][0], _run(theta, p, 2, losses=rising)[0][0])


def test_configs_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match=r"lstm_size is 0"):
        VeloConfig(lstm_size=0)
    with pytest.raises(UserError, match="2 momentum_decays"):
        VeloConfig(momentum_decays=(0.9, 0.99))
