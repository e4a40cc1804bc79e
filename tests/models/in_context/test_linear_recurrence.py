"""The linear recurrence: all positions at once equal a loop in NumPy, blind to what comes later, of declared state."""

import dataclasses
import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.in_context.learner_config import LearnerConfig
from models.in_context.linear_recurrence import CHUNK, LinearRecurrence, delta_rule
from models.in_context.tokens import previous_labels
from tests.models.in_context.toys import B, N, check_gradient, examples, params_of, sigmoid

TINY = LearnerConfig(
    "linear_recurrence", features=5, classes=3, examples=7, width=6, layers=2, heads=2, head_width=4, mlp_width=5
)


@functools.cache
def _params() -> Any:
    return params_of(LinearRecurrence(TINY))


_apply = jax.jit(lambda params, x, labels: LinearRecurrence(TINY).apply({"params": params}, x, labels))


def _logits(x: jax.Array, labels: jax.Array) -> np.ndarray:
    return np.asarray(_apply(_params(), x, labels))


def _norm(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return x / np.sqrt(np.mean(x * x) + 1e-6) * scale


def _silu(x: np.ndarray) -> np.ndarray:
    return x * sigmoid(x)


def _reference(params: Any, x_NF: np.ndarray, labels_N: np.ndarray) -> np.ndarray:
    """One sequence, layer by layer, each with its memory written position by position; float64."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    u = x_NF @ p["example"]["kernel"]
    u[1:] += p["label"]["kernel"][labels_N[:-1]]
    for layer in range(TINY.layers):
        own, mlp = p[f"mixer_{layer}"], p[f"mlp_{layer}"]
        normed = np.stack([_norm(row, p[f"mixer_norm_{layer}"]["scale"]) for row in u])
        mixed = np.zeros_like(u)
        for head in range(TINY.heads):
            part = {}
            for name in ("query", "key", "value"):
                projected, taps = normed @ own[name]["kernel"][:, head], own[f"{name}_taps"][:, head]
                part[name] = _silu(
                    np.stack([sum(taps[n] * projected[i - n] for n in range(min(i, 3) + 1)) for i in range(len(u))])
                )
            memory = np.zeros((TINY.head_width, TINY.head_width))
            for i, row in enumerate(normed):
                q, k = (part[name][i] / np.sqrt(np.sum(part[name][i] ** 2) + 1e-6) for name in ("query", "key"))
                decay = row @ own["decay"]["kernel"][:, head] + own["decay_bias"][head]
                product, bias = own["strength"]["product"]["kernel"], own["strength"]["bias"]
                memory = memory / (1 + np.exp(decay))
                strength = sigmoid(row @ product[:, head] + bias[head])
                memory = memory + np.outer(k, strength * (part["value"][i] - k @ memory))
                read = _norm(q @ memory, own["read_norm"]["scale"]) * _silu(row @ own["gate"]["kernel"][:, head])
                mixed[i] += read @ own["out"]["kernel"][head]
        u = u + mixed
        normed = np.stack([_norm(row, p[f"mlp_norm_{layer}"]["scale"]) for row in u])
        hidden = np.maximum(normed @ mlp["gate"]["kernel"], 0) * (normed @ mlp["linear"]["kernel"])
        u = u + hidden @ mlp["out"]["kernel"]
    return np.stack([_norm(row, p["final_norm"]["scale"]) for row in u]) @ p["logits"]["kernel"]


def test_equals_a_loop_in_numpy() -> None:
    x, labels = examples(TINY)
    expected = [_reference(_params(), np.asarray(x[b]), np.asarray(labels[b])) for b in range(B)]
    logits = _logits(x, labels)
    assert logits.shape == (B, N, TINY.classes)
    assert logits.dtype == np.float32
    assert np.std(logits) > 0.1
    np.testing.assert_allclose(logits, expected, atol=2e-5)


_rule = jax.jit(delta_rule)


def _inputs(length: int) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]:
    """Of the delta rule, of 2 rows, 3 heads and width 4, some positions forgetting nearly all."""
    random = np.random.default_rng(4)
    q, k, v = random.standard_normal((3, 2, length, 3, 4))
    k /= np.linalg.norm(k, axis=-1, keepdims=True)
    decay, strength = -np.exp(2 * random.standard_normal((2, length, 3))), random.uniform(size=(2, length, 3))
    a, b, c, d, e, f = (
        jnp.asarray(x, jnp.float32) for x in (q, k, v, decay, strength, random.standard_normal((2, 3, 4, 4)))
    )
    return a, b, c, d, e, f


@pytest.mark.parametrize("length", [40, CHUNK, 2 * CHUNK + 3])
def test_the_delta_rule_is_a_recurrence(length: int) -> None:
    """In one system, or in several of which the last is filled up."""
    inputs = _inputs(length)
    q, k, v, decay, strength, memory = (np.asarray(x, np.float64) for x in inputs)
    expected = np.zeros_like(v)
    for row in range(2):
        for head in range(3):
            for i in range(length):
                at = row, i, head
                memory[row, head] *= np.exp(decay[at])
                missing = v[at] - memory[row, head].T @ k[at]
                memory[row, head] += strength[at] * np.outer(k[at], missing)
                expected[at] = memory[row, head].T @ q[at]
    last, out = _rule(*inputs)
    np.testing.assert_allclose(out, expected, atol=2e-5)
    np.testing.assert_allclose(last, memory, atol=2e-5)


def test_the_delta_rule_goes_on_from_a_memory() -> None:
    q, k, v, decay, strength, memory = _inputs(40)
    whole_memory, whole = _rule(q, k, v, decay, strength, memory)
    for parts in ((0, 17, 40), (0, 1, 23, 40)):
        between, out = memory, []
        for first, last in itertools.pairwise(parts):
            now = slice(first, last)
            between, some = _rule(q[:, now], k[:, now], v[:, now], decay[:, now], strength[:, now], between)
            out.append(some)
        np.testing.assert_allclose(np.concatenate(out, 1), whole, atol=1e-5)
        np.testing.assert_allclose(between, whole_memory, atol=1e-5)


def test_a_memory_returns_what_it_was_told() -> None:
    """Orthogonal keys written at full strength and not forgotten: each query reads its key's last value."""
    k = jnp.eye(4)[None, jnp.array([0, 1, 2, 1]), None]
    v = jnp.arange(16.0).reshape(1, 4, 1, 4)
    zeros, ones = jnp.zeros((1, 4, 1)), jnp.ones((1, 4, 1))
    memory, out = _rule(jnp.roll(k, -1, 1), k, v, zeros, ones, jnp.zeros((1, 1, 4, 4)))
    np.testing.assert_allclose(memory[0, 0], v[0, jnp.array([0, 3, 2, 2]), 0].at[3].set(0.0))
    np.testing.assert_allclose(out[0, :, 0], [np.zeros(4), np.zeros(4), v[0, 1, 0], v[0, 0, 0]])


def test_forgetting_all_gives_no_nan() -> None:
    """Decays are exponents of differences, none of them positive, however long the context."""
    q, k, v, _, strength, memory = _inputs(300)
    gradient = jax.jit(jax.grad(lambda decay: delta_rule(q, k, v, decay, strength, memory)[1].sum()))
    for decay in (-1e4, -1.0, 0.0):
        filled = jnp.full((2, 300, 3), decay)
        assert np.all(np.isfinite(_rule(q, k, v, filled, strength, memory)[1]))
        assert np.all(np.isfinite(gradient(filled)))


def test_reading_on_equals_reading_at_once() -> None:
    network, params, (x, labels) = LinearRecurrence(TINY), _params(), examples(TINY)
    extend: Any = jax.jit(lambda *inputs: network.apply({"params": params}, *inputs, method="extend"))
    previous = previous_labels(labels, TINY.classes)
    state, first = extend(network.first_state(B), x[:, :4], previous[:, :4])
    _, rest = extend(state, x[:, 4:], previous[:, 4:])
    np.testing.assert_allclose(np.concatenate([first, rest], 1), _logits(x, labels), atol=1e-5)


def test_the_state_is_a_matrix_a_head_and_a_window() -> None:
    state = LinearRecurrence(TINY).first_state(4)
    assert {leaf.shape for leaf in jax.tree.leaves(state)} == {(4, 2, 4, 4), (4, 3, 6)}
    assert sum(leaf.size for leaf in jax.tree.leaves(state)) == 4 * TINY.layers * (2 * 16 + 3 * 6)


def test_bfloat16_activations_change_little() -> None:
    x, labels = examples(TINY)
    half = LinearRecurrence(dataclasses.replace(TINY, dtype="bfloat16"))
    logits: Any = jax.jit(half.apply)({"params": _params()}, x, labels)
    assert logits.dtype == jnp.float32
    error = np.abs(logits - _logits(x, labels)).max()
    assert 0 < error < 0.2
    inputs = half.first_state(B), x[:, 0], jnp.zeros((B, 3))
    state, _ = jax.eval_shape(lambda: half.apply({"params": _params()}, *inputs, method="step"))
    assert jax.tree.map(jnp.shape, state) == jax.tree.map(jnp.shape, half.first_state(B))
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {np.dtype("float32")}


def test_the_gradient_is_finite_and_reaches_all_parameters() -> None:
    check_gradient(LinearRecurrence(TINY), _params())
