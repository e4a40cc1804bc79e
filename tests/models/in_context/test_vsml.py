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

TINY = LearnerConfig("vsml", features=5, classes=3, examples=7, layers=2, heads=4, head_width=6)
ONE = dataclasses.replace(TINY, layers=1)
BOTH = pytest.mark.parametrize("config", [ONE, TINY], ids=["one grid", "two grids"])
B, N = 2, 7


def _examples() -> tuple[jax.Array, jax.Array]:
    random = np.random.default_rng(0)
    x = random.standard_normal((B, N, TINY.features), np.float32)
    return jnp.asarray(x), jnp.asarray(random.integers(0, TINY.classes, (B, N)), jnp.int32)


@functools.cache
def _params(config: LearnerConfig = TINY) -> Any:
    """Of no special values: biases too."""
    shapes: Any = jax.eval_shape(VSML(config).init, jax.random.key(0), *_examples())["params"]
    random = np.random.default_rng(3)
    return jax.tree.map(lambda leaf: np.float32(0.5 * random.standard_normal(leaf.shape)), shapes)


_apply = jax.jit(lambda params, x, labels, config: VSML(config).apply({"params": params}, x, labels), static_argnums=3)


def _logits(x: jax.Array, labels: jax.Array, config: LearnerConfig = TINY) -> np.ndarray:
    return np.asarray(_apply(_params(config), x, labels, config))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


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
                    kept = _sigmoid(gate[1] + 1) * cell[n][a, b]
                    cell[n][a, b] = kept + _sigmoid(gate[0]) * np.tanh(gate[2])
                    hidden[n][a, b] = _sigmoid(gate[3]) * np.tanh(cell[n][a, b])
            up[n] = hidden[n].mean(0) @ p[f"grid_{n}_forward"] + p[f"grid_{n}_forward_bias"]
            down[n] = hidden[n].mean(1) @ p[f"grid_{n}_backward"] + p[f"grid_{n}_backward_bias"]
        out.append(up[-1][:, 0])
    return np.stack(out)


@BOTH
def test_equals_a_loop_in_numpy(config: LearnerConfig) -> None:
    x, labels = _examples()
    params = _params(config)
    expected = [_reference(params, config, np.asarray(x[b]), np.asarray(labels[b])) for b in range(B)]
    logits = _logits(x, labels, config)
    assert logits.shape == (B, N, config.classes)
    assert logits.dtype == np.float32
    assert np.std(logits, axis=2).max() > 0.01
    np.testing.assert_allclose(logits, expected, atol=2e-5)


@BOTH
def test_permuting_classes_permutes_logits(config: LearnerConfig) -> None:
    x, labels = _examples()
    permutation = np.array([2, 0, 1])
    logits = _logits(x, labels, config)
    permuted = _logits(x, jnp.asarray(permutation)[labels], config)
    assert np.abs(logits - logits[:, :, permutation]).max() > 0.01
    np.testing.assert_allclose(permuted[:, :, permutation], logits, atol=1e-6)


@BOTH
def test_permuting_features_changes_nothing(config: LearnerConfig) -> None:
    x, labels = _examples()
    np.testing.assert_allclose(
        _logits(x[:, :, np.array([3, 1, 4, 0, 2])], labels, config), _logits(x, labels, config), atol=1e-6
    )


def test_a_class_not_seen_yet_is_as_likely_as_another() -> None:
    """What no label told apart are equals: at the first position all classes."""
    logits = _logits(*_examples())
    np.testing.assert_array_equal(logits[:, 0], np.repeat(logits[:, 0, :1], TINY.classes, 1))


def test_hidden_neurons_differ() -> None:
    """Without names those of one layer would send the same for ever."""
    x, labels = _examples()
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


def test_steps_equal_the_whole() -> None:
    network, params, (x, labels) = VSML(TINY), _params(), _examples()
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


def test_the_state_is_of_all_cells_and_messages() -> None:
    state = VSML(TINY).first_state(2)
    cells, messages = 5 * 4 + 4 * 3, 5 + 4 + 4 + 3
    assert sum(leaf.size for leaf in jax.tree.leaves(state)) == 2 * (2 * 6 * cells + 3 * messages)
    one = VSML(ONE).first_state(1)
    assert sum(leaf.size for leaf in jax.tree.leaves(one)) == 2 * 6 * 15 + 3 * 8


def test_the_gradient_is_finite_and_reaches_all_parameters() -> None:
    x, labels = _examples()

    def loss(params: Any) -> jax.Array:
        logits: Any = VSML(TINY).apply({"params": params}, x, labels)
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], -1).mean()

    for leaf in jax.tree.leaves(jax.jit(jax.grad(loss))(_params())):
        assert np.all(np.isfinite(leaf))
        assert np.abs(leaf).max() > 0
