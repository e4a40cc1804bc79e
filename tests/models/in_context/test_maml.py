"""MAML against a loop in NumPy, in float64: its predictions, its meta-gradient, its state."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from models.in_context.learner_config import LearnerConfig
from models.in_context.maml import FIRST_RATE, MAMLLearner
from models.training import cross_entropy

B, N, F, H, C = 2, 9, 4, 5, 3
CONFIG = LearnerConfig("maml", features=F, classes=C, examples=N, mlp_width=H)
NETWORK: Any = MAMLLearner(CONFIG)
ARRAYS = ("hidden_FH", "hidden_bias_H", "out_HC", "out_bias_C")


def contexts(batch: int = B) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(batch, N, F)).astype(np.float32), rng.integers(0, C, (batch, N)).astype(np.int32)


def params() -> dict[str, Any]:
    """Parameters as after some meta-training: none is 0, the inner learning rate is 0.3."""
    rng = np.random.default_rng(1)
    shapes = {"hidden_FH": (F, H), "hidden_bias_H": (H,), "out_HC": (H, C), "out_bias_C": (C,)}
    made = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return {**made, "rate": np.float32(np.log(np.expm1(0.3)))}


def numpy_step(w: list[np.ndarray], rate: float, x_F: np.ndarray, label: int) -> tuple[list[np.ndarray], np.ndarray]:
    """The weights after one step of SGD on an example, and the logits before it."""
    above = np.maximum(x_F @ w[0] + w[1], 0)
    logits = above @ w[2] + w[3]
    error = np.exp(logits) / np.exp(logits).sum() - np.eye(C)[label]
    below = (w[2] @ error) * (above > 0)
    gradient = [np.outer(x_F, below), below, np.outer(above, error), error]
    return [one - rate * g for one, g in zip(w, gradient, strict=True)], logits


def numpy_logits(told: dict[str, Any]) -> np.ndarray:
    x, labels = contexts()
    logits = np.zeros((B, N, C))
    for b in range(B):
        w = [np.asarray(told[name], np.float64) for name in ARRAYS]
        for n in range(N):
            w, logits[b, n] = numpy_step(w, np.log1p(np.exp(told["rate"])), x[b, n].astype(np.float64), labels[b, n])
    return logits


def numpy_loss(told: dict[str, Any]) -> float:
    logits = numpy_logits(told)
    chosen = np.take_along_axis(logits, contexts()[1][:, :, None], axis=2)[:, :, 0]
    return float(np.mean(np.log(np.exp(logits).sum(axis=-1)) - chosen))


def outer_loss(told: Any) -> jax.Array:
    x, labels = contexts()
    logits: Any = NETWORK.apply({"params": told}, jnp.asarray(x), jnp.asarray(labels))
    return jnp.mean(cross_entropy(logits, jnp.asarray(labels))[0])


def test_is_the_loop() -> None:
    logits: Any = NETWORK.apply({"params": params()}, *contexts())
    np.testing.assert_allclose(logits, numpy_logits(params()), rtol=1e-4, atol=1e-4)


def test_one_step_is_one_step_of_sgd() -> None:
    (x, labels), told = contexts(), params()
    state = NETWORK.first_state(B)
    step = lambda *read: NETWORK.apply({"params": told}, *read, method="step")  # noqa: E731
    state, first = step(state, x[:, 0], np.zeros((B, C), np.float32))
    assert all(not np.any(moved) for moved in state.moved)  # there is no label yet
    state, second = step(state, x[:, 1], np.eye(C, dtype=np.float32)[labels[:, 0]])
    before = [np.asarray(told[name], np.float64) for name in ARRAYS]
    for b in range(B):
        after, logits = numpy_step(before, 0.3, x[b, 0].astype(np.float64), labels[b, 0])
        np.testing.assert_allclose(first[b], logits, rtol=1e-5, atol=1e-5)
        for moved, new, old in zip(state.moved, after, before, strict=True):
            np.testing.assert_allclose(moved[b], new - old, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(second[b], numpy_step(after, 0.3, x[b, 1], 0)[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(state.x_BF, x[:, 1])


def test_the_meta_gradient_is_the_finite_difference() -> None:
    told = params()
    gradient = jax.jit(jax.grad(outer_loss))(told)
    for name, value in told.items():
        found = np.zeros(value.shape)
        for place in np.ndindex(value.shape):
            nudge = np.zeros(value.shape)
            nudge[place] = 1e-6
            found[place] = (
                numpy_loss({**told, name: value + nudge}) - numpy_loss({**told, name: value - nudge})
            ) / 2e-6
        assert np.abs(found).max() > 1e-2
        np.testing.assert_allclose(gradient[name], found, rtol=2e-3, atol=2e-4)


def test_steps_are_the_whole() -> None:
    (x, labels), told = contexts(), params()
    whole: Any = NETWORK.apply({"params": told}, x, labels)
    state, previous = NETWORK.first_state(B), np.zeros((B, C), np.float32)
    for n in range(N):
        state, logits = NETWORK.apply({"params": told}, state, x[:, n], previous, method="step")
        np.testing.assert_allclose(logits, whole[:, n], rtol=1e-5, atol=1e-5)
        previous = np.eye(C, dtype=np.float32)[labels[:, n]]


def test_the_state_is_the_weights_and_the_waiting_example() -> None:
    state = NETWORK.first_state(7)
    assert all(leaf.shape[0] == 7 and leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(state))
    assert sum(leaf.size for leaf in jax.tree.leaves(state)) == 7 * (F * H + H + H * C + C + F)


def test_no_label_is_seen_early() -> None:
    x, labels = contexts()
    n = 5
    changed_x, changed_labels = x.copy(), labels.copy()
    changed_x[:, n + 1 :] += 1
    changed_labels[:, n:] = (labels[:, n:] + 1) % C
    before, after = (
        np.asarray(NETWORK.apply({"params": params()}, *read)) for read in ((x, labels), (changed_x, changed_labels))
    )
    np.testing.assert_array_equal(before[:, : n + 1], after[:, : n + 1])
    assert np.all(np.abs(before - after)[:, n + 1 :].max(axis=(1, 2)) > 1e-2)


def test_new_parameters_are_at_chance_and_learn() -> None:
    x, labels = contexts()
    new = NETWORK.init(jax.random.key(0), x, labels)["params"]
    assert set(new) == {*ARRAYS, "rate"}
    np.testing.assert_allclose(jax.nn.softplus(new["rate"]), FIRST_RATE, rtol=1e-4)
    logits: Any = NETWORK.apply({"params": new}, x, labels)
    assert not np.any(logits[:, 0])
    np.testing.assert_array_equal(logits[:, 1].argmax(axis=-1), labels[:, 0])
    permutation = np.asarray([1, 2, 0], np.int32)
    permuted: Any = NETWORK.apply({"params": new}, x, permutation[labels])
    np.testing.assert_allclose(permuted[:, :, permutation], logits, atol=1e-6)


def test_meta_training_lowers_the_loss() -> None:
    optimizer = optax.adam(0.03)
    x, labels = contexts()
    new = NETWORK.init(jax.random.key(0), x, labels)["params"]

    def step(carried: Any, _: None) -> Any:
        told, state = carried
        loss, gradient = jax.value_and_grad(outer_loss)(told)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(told, updates), state), loss

    _, losses = jax.jit(lambda told: jax.lax.scan(step, (told, optimizer.init(told)), None, 60))(new)
    assert abs(losses[0] - np.log(C)) < 0.15
    assert losses[-1] < 0.6 * losses[0]


def test_each_weight_may_have_a_rate() -> None:
    each: Any = MAMLLearner(CONFIG, rate_per_parameter=True)
    told, data = params(), contexts()
    rates = {f"rate_{name}": np.full(told[name].shape, told["rate"]) for name in ARRAYS}
    equal = {**{name: told[name] for name in ARRAYS}, **rates}
    assert jax.tree.map(np.shape, each.init(jax.random.key(0), *data)["params"]) == jax.tree.map(np.shape, equal)
    one: Any = NETWORK.apply({"params": told}, *data)
    np.testing.assert_allclose(each.apply({"params": equal}, *data), one, rtol=1e-6)
    still = {**equal, "rate_out_bias_C": np.full(C, -100.0, np.float32)}
    assert np.abs(np.asarray(each.apply({"params": still}, *data)) - one)[:, 1:].max() > 1e-2


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_activations_may_be_narrow(dtype: Any) -> None:
    network: Any = MAMLLearner(dataclasses.replace(CONFIG, dtype=dtype))
    logits: Any = network.apply({"params": params()}, *contexts())
    assert logits.dtype == jnp.float32
    wide = numpy_logits(params())
    difference = np.abs(logits - wide)[:, :3].max()
    assert difference < 0.2
    assert (difference > 1e-4) == (dtype == "bfloat16")


def test_every_parameter_has_logical_axes() -> None:
    made: Any = jax.eval_shape(NETWORK.init, jax.random.key(0), *contexts())
    found = {name: axes.names for name, axes in made["params_axes"].items()}
    assert found == {
        "hidden_FH_axes": ("features", "mlp"),
        "hidden_bias_H_axes": ("mlp",),
        "out_HC_axes": ("mlp", "classes"),
        "out_bias_C_axes": ("classes",),
        "rate_axes": (),
    }
