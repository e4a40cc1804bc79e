"""The outer-product LSTM: equal to a loop in NumPy, blind to what comes later, of the state it declares."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.in_context.learner_config import LearnerConfig
from models.in_context.outer_product import OuterProductLSTM

TINY = LearnerConfig("outer_product", features=5, classes=3, examples=7, width=16, layers=2, heads=2, head_width=4)
B, N = 2, 7


def _examples() -> tuple[jax.Array, jax.Array]:
    random = np.random.default_rng(0)
    x = random.standard_normal((B, N, TINY.features), np.float32)
    return jnp.asarray(x), jnp.asarray(random.integers(0, TINY.classes, (B, N)), jnp.int32)


@functools.cache
def _params() -> Any:
    """Of no special values: biases too."""
    shapes: Any = jax.eval_shape(OuterProductLSTM(TINY).init, jax.random.key(0), *_examples())["params"]
    random = np.random.default_rng(3)
    return jax.tree.map(lambda leaf: np.float32(0.5 * random.standard_normal(leaf.shape)), shapes)


_apply = jax.jit(lambda params, x, labels: OuterProductLSTM(TINY).apply({"params": params}, x, labels))


def _logits(x: jax.Array, labels: jax.Array) -> np.ndarray:
    return np.asarray(_apply(_params(), x, labels))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _reference(params: Any, x_NF: np.ndarray, labels_N: np.ndarray) -> np.ndarray:
    """One sequence, head by head from the formulas; float64."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    encoder, size = p["encoder"], TINY.head_width
    hidden = np.zeros((TINY.layers, TINY.heads, size))
    cell = np.zeros((TINY.layers, TINY.heads, size, size))
    out = []
    for i, x in enumerate(x_NF):
        u = x @ encoder["example"]["product"]["kernel"] + encoder["example"]["bias"]
        if i > 0:
            u = u + encoder["label"]["kernel"][labels_N[i - 1]]
        u = np.maximum(np.maximum(u, 0) @ encoder["mixed"]["product"]["kernel"] + encoder["mixed"]["bias"], 0)
        for layer in range(TINY.layers):
            own, last = p[f"lstm_{layer}"], hidden[layer].flatten()
            scale = np.log1p(np.exp(own["scale"]))
            for head in range(TINY.heads):
                z = u @ own["input"]["product"]["kernel"][:, head] + own["input"]["bias"][head]
                z = z + last @ own["recurrent"][:, head]
                a, b, q, o = z[: 3 * size], z[3 * size : 6 * size], z[6 * size : 7 * size], z[7 * size :]
                i_gate, value, f_gate = (
                    scale * np.outer(np.tanh(a[n * size :][:size]), np.tanh(b[n * size :][:size])) for n in range(3)
                )
                cell[layer, head] = _sigmoid(f_gate + 1) * cell[layer, head] + _sigmoid(i_gate) * value
                hidden[layer, head] = _sigmoid(o) * np.tanh(cell[layer, head].T @ q)
            u = hidden[layer].ravel()
        out.append(u @ p["logits"]["product"]["kernel"] + p["logits"]["bias"])
    return np.stack(out)


def test_equals_a_loop_in_numpy() -> None:
    x, labels = _examples()
    expected = [_reference(_params(), np.asarray(x[b]), np.asarray(labels[b])) for b in range(B)]
    logits = _logits(x, labels)
    assert logits.shape == (B, N, TINY.classes)
    assert logits.dtype == np.float32
    assert np.std(logits) > 0.1
    np.testing.assert_allclose(logits, expected, atol=2e-5)


def test_steps_equal_the_whole() -> None:
    network, params, (x, labels) = OuterProductLSTM(TINY), _params(), _examples()
    step = jax.jit(lambda *inputs: network.apply({"params": params}, *inputs, method="step"))
    state, out = network.first_state(B), []
    for i in range(N):
        previous = jax.nn.one_hot(labels[:, i - 1] if i else jnp.full(B, -1), TINY.classes)
        state, logits = step(state, x[:, i], previous)
        out.append(logits)
    np.testing.assert_allclose(np.stack(out, 1), _logits(x, labels), atol=1e-6)


@pytest.mark.parametrize("place", [0, 3, 5])
def test_no_position_sees_a_later_example_or_its_own_label(place: int) -> None:
    x, labels = _examples()
    before = _logits(x, labels)
    other_label = _logits(x, labels.at[0, place].set((labels[0, place] + 1) % TINY.classes))
    other_example = _logits(x.at[0, place].add(1.0), labels)
    np.testing.assert_array_equal(other_label[0, : place + 1], before[0, : place + 1])
    np.testing.assert_array_equal(other_example[0, :place], before[0, :place])
    assert np.abs(other_label - before)[0, place + 1 :].max() > 1e-4
    assert np.abs(other_example - before)[0, place].max() > 1e-4
    np.testing.assert_array_equal(other_label[1], before[1])


def test_the_state_is_a_matrix_and_a_vector_a_head() -> None:
    state = OuterProductLSTM(TINY).first_state(4)
    assert {leaf.shape for leaf in jax.tree.leaves(state)} == {(4, 2, 4), (4, 2, 4, 4)}
    assert sum(leaf.size for leaf in jax.tree.leaves(state)) == 4 * TINY.layers * TINY.heads * (4 + 16)


def test_the_gradient_is_finite_and_reaches_all_parameters() -> None:
    x, labels = _examples()

    def loss(params: Any) -> jax.Array:
        logits: Any = OuterProductLSTM(TINY).apply({"params": params}, x, labels)
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], -1).mean()

    for leaf in jax.tree.leaves(jax.jit(jax.grad(loss))(_params())):
        assert np.all(np.isfinite(leaf))
        assert np.abs(leaf).max() > 0
