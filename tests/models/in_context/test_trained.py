"""Meta-trained learners as bytes."""

import functools
import json
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.in_context.learner import first_params, network_of
from models.in_context.learner_config import LearnerConfig
from models.in_context.trained import TrainedLearner
from shammie.errors import UserError

CONFIG = LearnerConfig(
    features=5, classes=3, examples=4, width=8, layers=1, heads=2, head_width=4, mlp_width=6, shifted=True
)
MADE_WITH = {"gin": "a = 1\n", "seed": 3, "scores": {"unseen": [0.5, 0.75]}}


@functools.cache
def learner() -> TrainedLearner:
    return TrainedLearner(CONFIG, first_params(network_of(CONFIG), jax.random.key(0)), MADE_WITH)


@functools.cache
def stored() -> bytes:
    return learner().to_bytes()


def with_header(**changed: Any) -> bytes:
    header, _, body = stored().partition(b"\n")
    return json.dumps({**json.loads(header), **changed}).encode() + b"\n" + body


def test_what_is_written_is_read() -> None:
    read = TrainedLearner.from_bytes(stored(), "learner.bin")
    assert (read.config, read.made_with) == (CONFIG, MADE_WITH)
    assert jax.tree.structure(read.params) == jax.tree.structure(learner().params)
    assert all(map(np.array_equal, jax.tree.leaves(read.params), jax.tree.leaves(learner().params)))
    assert {leaf.dtype for leaf in jax.tree.leaves(read.params)} == {np.dtype("float32")}
    assert read.to_bytes() == stored()
    x, labels = jnp.ones((1, 4, 5)), jnp.zeros((1, 4), jnp.int32)
    found: Any = [network_of(CONFIG).apply({"params": one.params}, x, labels) for one in (read, learner())]
    assert np.array_equal(*found)


@pytest.mark.parametrize("at", [-1, -100, 700])
def test_a_changed_byte_is_damage(at: int) -> None:
    data = bytearray(stored())
    assert at < 0 or data.index(b"\n") < at
    data[at] ^= 1
    with pytest.raises(UserError, match=r"learner\.bin is damaged"):
        TrainedLearner.from_bytes(bytes(data), "learner.bin")


@pytest.mark.parametrize("cut", [5, 1])
def test_a_part_is_damage(cut: int) -> None:
    with pytest.raises(UserError, match="is damaged"):
        TrainedLearner.from_bytes(stored()[:-cut], "learner.bin")


@pytest.mark.parametrize("data", [b"", b"\x80\x04", b"{}\n", b"[]\nabc", b'"text"\n', with_header(format="other 1")])
def test_other_bytes_are_no_learner(data: bytes) -> None:
    with pytest.raises(UserError, match=r"here\.bin is not a meta-trained learner"):
        TrainedLearner.from_bytes(data, "here.bin")


def test_parameters_of_other_sizes_are_named() -> None:
    told = {**json.loads(stored().partition(b"\n")[0])["config"]}
    with pytest.raises(
        UserError, match=r"\['example'\]\['kernel'\] is \(5, 8\), but a meta-trained learner of its sizes has \(6, 8\)"
    ):
        TrainedLearner.from_bytes(with_header(config={**told, "features": 6}), "learner.bin")
    with pytest.raises(UserError, match=r"is None, but"):
        TrainedLearner.from_bytes(with_header(config={**told, "layers": 2}), "learner.bin")
    with pytest.raises(UserError, match=r"has None"):
        TrainedLearner.from_bytes(with_header(config={**told, "shifted": False}), "learner.bin")
    with pytest.raises(UserError, match="width is 0"):
        TrainedLearner.from_bytes(with_header(config={**told, "width": 0}), "learner.bin")
    with pytest.raises(UserError, match="depth"):
        TrainedLearner.from_bytes(with_header(config={**told, "depth": 2}), "learner.bin")


def test_a_list_of_parameters_is_named() -> None:
    broken = replace(learner(), params=[np.zeros(3)])
    with pytest.raises(UserError):
        TrainedLearner.from_bytes(broken.to_bytes(), "learner.bin")
