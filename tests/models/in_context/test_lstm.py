"""The LSTM learner: equal to a loop in NumPy, blind to what comes later, and of the state it declares."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.in_context.learner_config import LearnerConfig
from models.in_context.lstm import LSTMLearner
from tests.models.in_context.toys import B, N, check_gradient, examples, params_of, sigmoid

TINY = LearnerConfig("lstm", features=5, classes=3, examples=7, width=16, layers=2)


@functools.cache
def _params() -> Any:
    return params_of(LSTMLearner(TINY))


_apply = jax.jit(lambda params, x, labels: LSTMLearner(TINY).apply({"params": params}, x, labels))


def _logits(x: jax.Array, labels: jax.Array) -> np.ndarray:
    return np.asarray(_apply(_params(), x, labels))


def _reference(params: Any, x_NF: np.ndarray, labels_N: np.ndarray) -> np.ndarray:
    """One sequence, number by number from the formulas; float64."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    encoder = p["encoder"]
    hidden, cell = np.zeros((2, TINY.layers, TINY.width))
    out = []
    for i, x in enumerate(x_NF):
        u = x @ encoder["example"]["product"]["kernel"] + encoder["example"]["bias"]
        if i > 0:
            u = u + encoder["label"]["kernel"][labels_N[i - 1]]
        u = np.maximum(np.maximum(u, 0) @ encoder["mixed"]["product"]["kernel"] + encoder["mixed"]["bias"], 0)
        for layer in range(TINY.layers):
            own = p[f"lstm_{layer}"]
            gate = [
                u @ own["input"]["product"]["kernel"][:, n]
                + own["input"]["bias"][n]
                + hidden[layer] @ own["recurrent"][:, n]
                for n in range(4)
            ]
            cell[layer] = sigmoid(gate[1] + 1) * cell[layer] + sigmoid(gate[0]) * np.tanh(gate[2])
            hidden[layer] = u = sigmoid(gate[3]) * np.tanh(cell[layer])
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


def test_the_state_is_two_numbers_a_unit() -> None:
    state = LSTMLearner(TINY).first_state(4)
    assert {leaf.shape for leaf in jax.tree.leaves(state)} == {(4, TINY.width)}
    assert sum(leaf.size for leaf in jax.tree.leaves(state)) == 4 * TINY.layers * 2 * TINY.width


def test_the_gradient_is_finite_and_reaches_all_parameters() -> None:
    check_gradient(LSTMLearner(TINY), _params())


def test_a_new_network_is_at_chance() -> None:
    """Its loss is near ln C, where training starts."""
    x, labels = examples(TINY)
    logits = _apply(jax.jit(LSTMLearner(TINY).init)(jax.random.key(2), x, labels)["params"], x, labels)
    loss = -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], -1).mean()
    assert float(loss) == pytest.approx(np.log(TINY.classes), abs=0.15)
