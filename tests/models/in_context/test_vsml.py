"""VSML: equal to a loop over cells in NumPy, blind to what comes later, and to the order of features and classes."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.in_context.learner_config import LearnerConfig
from models.in_context.tokens import previous_labels
from models.in_context.vsml import VSML
from tests.models.in_context.toys import B, N, check_gradient, examples, params_of, sigmoid

TINY = LearnerConfig("vsml", features=5, classes=3, examples=7, layers=2, heads=4, head_width=6)
ONE = dataclasses.replace(TINY, layers=1)
BOTH = pytest.mark.parametrize("config", [ONE, TINY], ids=["one grid", "two grids"])


@functools.cache
def _params(config: LearnerConfig = TINY) -> Any:
    return params_of(VSML(config))


_apply = jax.jit(lambda params, x, labels, config: VSML(config).apply({"params": params}, x, labels), static_argnums=3)


def _logits(x: jax.Array, labels: jax.Array, config: LearnerConfig = TINY) -> np.ndarray:
    return np.asarray(_apply(_params(config), x, labels, config))


def _reference(params: Any, config: LearnerConfig, x_NF: np.ndarray, labels_N: np.ndarray) -> np.ndarray:
    """One sequence, cell by cell from the formulas; float64."""
    p = {name: np.asarray(leaf, np.float64) for name, leaf in params.items()}
    size, message, layers = config.head_width, 3, config.layers
    neurons = [config.features, *[config.heads] * (layers - 1), config.classes]
    hidden, cell = ([np.zeros((neurons[n], neurons[n + 1], size)) for n in range(layers)] for _ in range(2))
    up = [np.zeros((neurons[n + 1], message)) for n in range(layers)]
    down = [np.zeros((neurons[n], message)) for n in range(layers)]
    out = []
    for i, x in enumerate(x_NF):
        label = np.eye(config.classes)[labels_N[i - 1]] if i else np.zeros(config.classes)
        for n in range(layers):
            below = x[:, None] if n == 0 else up[n - 1] + p[f"names_{n - 1}"]
            above = label[:, None] if n == layers - 1 else down[n + 1] + p[f"names_{n}"]
            kernel = np.concatenate([p[f"grid_{n}_from_inputs"], p[f"grid_{n}_from_outputs"], p[f"grid_{n}_recurrent"]])
            for a in range(neurons[n]):
                for b in range(neurons[n + 1]):
                    seen = np.concatenate([down[n][a], below[a], up[n][b], above[b], hidden[n][a, b]])
                    gate = np.tensordot(seen, kernel, 1) + p[f"grid_{n}_bias"]
                    kept = sigmoid(gate[1] + 1) * cell[n][a, b]
                    cell[n][a, b] = kept + sigmoid(gate[0]) * np.tanh(gate[2])
                    hidden[n][a, b] = sigmoid(gate[3]) * np.tanh(cell[n][a, b])
            up[n] = hidden[n].mean(0) @ p[f"grid_{n}_forward"] + p[f"grid_{n}_forward_bias"]
            down[n] = hidden[n].mean(1) @ p[f"grid_{n}_backward"] + p[f"grid_{n}_backward_bias"]
        out.append(up[-1][:, 0])
    return np.stack(out)


@BOTH
def test_equals_a_loop_in_numpy(config: LearnerConfig) -> None:
    x, labels = examples(TINY)
    params = _params(config)
    expected = [_reference(params, config, np.asarray(x[b]), np.asarray(labels[b])) for b in range(B)]
    logits = _logits(x, labels, config)
    assert logits.shape == (B, N, config.classes)
    assert logits.dtype == np.float32
    assert np.std(logits, axis=2).max() > 0.01
    np.testing.assert_allclose(logits, expected, atol=2e-5)


@BOTH
def test_permuting_classes_permutes_logits(config: LearnerConfig) -> None:
    x, labels = examples(TINY)
    permutation = np.array([2, 0, 1])
    logits = _logits(x, labels, config)
    permuted = _logits(x, jnp.asarray(permutation)[labels], config)
    assert np.abs(logits - logits[:, :, permutation]).max() > 0.01
    np.testing.assert_allclose(permuted[:, :, permutation], logits, atol=1e-6)


@BOTH
def test_permuting_features_changes_nothing(config: LearnerConfig) -> None:
    x, labels = examples(TINY)
    np.testing.assert_allclose(
        _logits(x[:, :, np.array([3, 1, 4, 0, 2])], labels, config), _logits(x, labels, config), atol=1e-6
    )


def test_a_class_not_seen_yet_is_as_likely_as_another() -> None:
    """What no label told apart are equals: at the first position all classes."""
    logits = _logits(*examples(TINY))
    np.testing.assert_array_equal(logits[:, 0], np.repeat(logits[:, 0, :1], TINY.classes, 1))


def test_hidden_neurons_differ() -> None:
    """Without names those of one layer would send the same for ever."""
    x, labels = examples(TINY)
    first, previous = VSML(TINY).first_state(B), previous_labels(labels, TINY.classes)
    params = {"params": _params()}
    state, _ = jax.jit(lambda *inputs: VSML(TINY).apply(params, *inputs, method="extend"))(first, x, previous)
    sent = np.asarray(state[0].forward_BOM)
    assert np.abs(sent[:, :1] - sent[:, 1:]).max(2).min() > 1e-4


def test_parameters_do_not_depend_on_features_and_classes() -> None:
    """So one learner serves tables of any size."""
    wide = dataclasses.replace(TINY, features=11, classes=8)
    x, labels = jnp.ones((B, N, 11)), jnp.zeros((B, N), jnp.int32)
    assert _apply(_params(), x, labels, wide).shape == (B, N, 8)
    new: Any = jax.eval_shape(VSML(wide).init, jax.random.key(2), x, labels)["params"]
    assert jax.tree.map(jnp.shape, new) == jax.tree.map(jnp.shape, _params())


def test_the_state_is_of_all_cells_and_messages() -> None:
    state = VSML(TINY).first_state(2)
    cells, messages = 5 * 4 + 4 * 3, 5 + 4 + 4 + 3
    assert sum(leaf.size for leaf in jax.tree.leaves(state)) == 2 * (2 * 6 * cells + 3 * messages)
    one = VSML(ONE).first_state(1)
    assert sum(leaf.size for leaf in jax.tree.leaves(one)) == 2 * 6 * 15 + 3 * 8


def test_the_gradient_is_finite_and_reaches_all_parameters() -> None:
    check_gradient(VSML(TINY), _params())
