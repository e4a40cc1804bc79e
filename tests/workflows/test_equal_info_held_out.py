"""What models are measured on: the paper's number by hand, its parts, and what counts."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.lm import DecoderLM, LMConfig
from models.lm.artefact import TrainedLM
from models.lm.flops import forward_flops_per_token
from models.training import lm_loss
from workflows.equal_info_held_out import Examples, row_nats

CONFIG = LMConfig(vocab_size=12, width=16, layers=1, heads=1, head_width=16, mlp_width=16, max_distance=8)
ROWS = np.random.default_rng(0).integers(2, 12, (11, 6)).astype(np.int32)


@pytest.fixture(scope="module")
def trained() -> TrainedLM:
    params = DecoderLM(CONFIG).init(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]
    return TrainedLM(CONFIG, params, "test")


def test_nats_of_rows_are_the_training_loss(trained: TrainedLM) -> None:
    """The same first input, the same tokens: the mean is what the trainer minimises."""
    nats, right = row_nats(DecoderLM(CONFIG), trained.params, ROWS)
    loss, metrics = lm_loss(DecoderLM(CONFIG))(trained.params, {"targets": jnp.asarray(ROWS)})
    assert nats.shape == right.shape == (11, 6)
    assert nats.mean() == pytest.approx(float(loss), rel=1e-5)
    assert right.mean() == pytest.approx(float(metrics["accuracy"].compute()), abs=1e-6)


def test_what_is_only_read_does_not_count(trained: TrainedLM) -> None:
    nats, right = row_nats(DecoderLM(CONFIG), trained.params, ROWS, predicted_from=7)
    whole, _ = row_nats(DecoderLM(CONFIG), trained.params, ROWS)
    np.testing.assert_array_equal(nats, np.where(ROWS >= 7, whole, 0))
    assert not right[ROWS < 7].any()


def test_the_papers_bits_per_byte_by_hand(trained: TrainedLM) -> None:
    """Mean loss in bits, over the bytes per token of whole examples; exact: all bits over the rows' own bytes."""
    held_out = Examples(ROWS[:3], ROWS, bytes_per_token=2.5, window_tokens=2, row_bytes=200)
    nats, _ = row_nats(DecoderLM(CONFIG), trained.params, ROWS)
    told = held_out.measured(trained)
    assert told["bits_per_byte"] == pytest.approx(nats.mean() / math.log(2) / 2.5, rel=1e-5)
    assert told["exact_bits_per_byte"] == pytest.approx(nats.sum() / math.log(2) / 200, rel=1e-5)
    assert told["bits_per_token"] == pytest.approx(2.5 * told["bits_per_byte"])
    assert np.mean(told["bits_by_window_position"]) == pytest.approx(told["bits_per_token"])
    assert told["bits_by_window_position"][1] == pytest.approx(nats[:, 1::2].mean() / math.log(2), rel=1e-5)
    assert np.mean(told["accuracy_by_window_position"]) == pytest.approx(told["accuracy"])
    assert "exact_bits_per_byte" not in Examples(ROWS, ROWS, bytes_per_token=2.5).measured(trained)
    validation = held_out.validation_bits(DecoderLM(CONFIG), trained.params)
    assert validation == pytest.approx(nats[:3].mean() / math.log(2) / 2.5, rel=1e-5)


def test_flops_per_byte_are_counted_both_ways() -> None:
    about = Examples(ROWS, ROWS, bytes_per_token=2.5).about(CONFIG)
    assert about["paper_flops_per_byte"] == 2 * (4 * 16 * 16 + 3 * 16 * 16) / 2.5
    assert about["flops_per_byte"] == forward_flops_per_token(CONFIG, 6) / 2.5
