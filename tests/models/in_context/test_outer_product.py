"""The outer-product LSTM: equal to a loop in NumPy, blind to what comes later, of the state it declares."""

import functools
from typing import Any

import jax
import numpy as np

from models.in_context.learner_config import LearnerConfig
from models.in_context.outer_product import OuterProductLSTM
from tests.models.in_context.toys import B, N, check_gradient, examples, params_of, sigmoid

TINY = LearnerConfig("outer_product", features=5, classes=3, examples=7, width=16, layers=2, heads=2, head_width=4)


@functools.cache
def _params() -> Any:
    return params_of(OuterProductLSTM(TINY))


_apply = jax.jit(lambda params, x, labels: OuterProductLSTM(TINY).apply({"params": params}, x, labels))


def _logits(x: jax.Array, labels: jax.Array) -> np.ndarray:
    return np.asarray(_apply(_params(), x, labels))


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
                cell[layer, head] = sigmoid(f_gate + 1) * cell[layer, head] + sigmoid(i_gate) * value
                hidden[layer, head] = sigmoid(o) * np.tanh(cell[layer, head].T @ q)
            u = hidden[layer].ravel()
        out.append(u @ p["logits"]["product"]["kernel"] + p["logits"]["bias"])
    return np.stack(out)


def test_equals_a_loop_in_numpy() -> None:
    x, labels = examples(TINY)
    expected = [_reference(_params(), np.asarray(x[b]), np.asarray(labels[b])) for b in range(B)]
    logits = _logits(x, labels)
    assert logits.shape == (B, N, TINY.classes)
    assert logits.dtype == np.float32
    assert np.std(logits) > 0.1
    np.testing.assert_allclose(logits, expected, atol=2e-5)


def test_the_state_is_a_matrix_and_a_vector_a_head() -> None:
    state = OuterProductLSTM(TINY).first_state(4)
    assert {leaf.shape for leaf in jax.tree.leaves(state)} == {(4, 2, 4), (4, 2, 4, 4)}
    assert sum(leaf.size for leaf in jax.tree.leaves(state)) == 4 * TINY.layers * TINY.heads * (4 + 16)


def test_the_gradient_is_finite_and_reaches_all_parameters() -> None:
    check_gradient(OuterProductLSTM(TINY), _params())
