"""The Transformer learner beside the shared decoder that it is made of."""

import functools
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.in_context.learner import first_params, network_of
from models.in_context.learner_config import LearnerConfig
from models.in_context.tokens import previous_labels
from models.in_context.transformer import decoder_config
from models.lm.network import DecoderLM

B, N, F, C = 2, 7, 5, 3
PLAIN = LearnerConfig(features=F, classes=C, examples=N, width=8, layers=2, heads=2, head_width=4, mlp_width=6, near=4)
SHIFTED = replace(PLAIN, shifted=True)


@functools.cache
def context() -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.normal(size=(B, N, F)), jnp.float32), jnp.asarray(rng.integers(0, C, (B, N)), jnp.int32)


def apply(network: Any, params: Any, *given: Any, **options: Any) -> Any:
    return jax.jit(lambda params, *given: network.apply({"params": params}, *given, **options))(params, *given)


def params(config: LearnerConfig) -> Any:
    return first_params(network_of(config), jax.random.key(0))


@pytest.mark.parametrize("config", [PLAIN, SHIFTED], ids=["plain", "shifted"])
def test_is_the_shared_decoder_on_embedded_examples(config: LearnerConfig) -> None:
    """The decoder of models.lm, given a table whose rows are the very embeddings, predicts the same."""
    x, labels = context()
    made = params(config)
    embedded = x @ made["example"]["kernel"] + previous_labels(labels, C) @ made["label"]["kernel"]
    if config.shifted:
        embedded = embedded.at[:, 1:].add(x[:, :-1] @ made["example_before"]["kernel"])
    shared = {name: leaf for name, leaf in made.items() if name not in ("example", "label", "example_before")}
    shared["logits"] = {"kernel": jnp.pad(made["logits"]["kernel"], ((0, 0), (0, N - C)))}  # a token for each position
    decoder = DecoderLM(replace(decoder_config(config), vocab_size=N))
    found = apply(network_of(config), made, x, labels)
    for b in range(B):
        one = apply(decoder, {**shared, "embedding": embedded[b]}, jnp.arange(N)[None])
        np.testing.assert_allclose(found[b], one[0, :, :C], atol=1e-5)


def test_shifted_sees_the_example_before_in_its_embedding() -> None:
    assert {*params(SHIFTED)} - {*params(PLAIN)} == {"example_before"}
    made = params(SHIFTED)
    made = {**made, "example_before": jax.tree.map(jnp.zeros_like, made["example_before"])}
    plain = {name: leaf for name, leaf in made.items() if name != "example_before"}
    found = [apply(network_of(c), p, *context()) for c, p in ((SHIFTED, made), (PLAIN, plain))]
    np.testing.assert_allclose(*found, atol=1e-6)


def test_far_examples_are_alike_whatever_their_order() -> None:
    """Distances of `near` - 1 and more share one embedding: tokens that change places there change nothing."""
    one_layer = replace(PLAIN, layers=1, near=3)
    x, labels = context()
    made, network = params(one_layer), network_of(one_layer)
    label, order = previous_labels(labels, C), jnp.array([0, 2, 1, *range(3, N)])
    first, swapped = (
        apply(network, made, *given, method="_decode") for given in ((x, x, label), (x[:, order], x, label[:, order]))
    )
    np.testing.assert_allclose(swapped[:, 4:], first[:, 4:], atol=1e-6)  # 2 and 3 steps from both
    assert np.abs(swapped[:, 3] - first[:, 3]).max() > 1e-4  # 1 and 2 steps


def test_previous_labels() -> None:
    found = previous_labels(jnp.array([[2, 0, 1], [-1, 5, 2]]), 3)
    assert found.tolist() == [[[0, 0, 0], [0, 0, 1], [1, 0, 0]], [[0, 0, 0], [0, 0, 0], [0, 0, 0]]]
    assert found.dtype == jnp.float32


def test_bfloat16_activations_change_little() -> None:
    narrow = replace(PLAIN, dtype="bfloat16")
    found = apply(network_of(narrow), params(PLAIN), *context())
    expected = apply(network_of(PLAIN), params(PLAIN), *context())
    assert found.dtype == jnp.float32
    assert 0 < np.abs(found - expected).max() < 0.1
