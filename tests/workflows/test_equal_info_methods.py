"""What each method needs, costs and leaves in its folder."""

from pathlib import Path

import jax
import numpy as np
import pytest

from models.equal_info.m1 import M1Config, network_of
from models.lm import LMConfig
from workflows.equal_info_methods import input_of, loaded, m1_flops_per_byte, made, runs_m1, vocab_size_of

TEXTS = [b"The quick brown fox. " * 30, b"def f(x):\n    return x\n" * 20]


@pytest.mark.parametrize(
    ("method", "wanted", "m1", "ids"),
    [
        ("bytes", None, False, 258),
        ("sentencepiece_unigram:2048", None, False, 2050),
        ("words:2048", "codes", False, 2050),
        ("delay:65536/8", "codes", False, 258),
        ("gzip/16", None, False, 65538),
        ("static_ac/8", None, False, 258),
        ("ac/16", "m1", True, 65538),
        ("windows:24/8", "m1", True, 258),
        ("greedy_windows:16/16", "m1", True, 65538),
    ],
)
def test_what_a_method_needs(method: str, wanted: str | None, m1: bool, ids: int) -> None:
    assert (input_of(method), runs_m1(method), vocab_size_of(method)) == (wanted, m1, ids)


@pytest.mark.parametrize("method", ["bytes", "gzip/8", "static_ac/16", "sentencepiece_unigram:320"])
def test_what_is_made_is_loaded_again(method: str, tmp_path: Path) -> None:
    first = made(method, str(tmp_path), TEXTS)
    again = loaded(method, str(tmp_path))
    assert first.made_with == again.made_with
    for one, other, text in zip(first.encode(TEXTS), again.encode(TEXTS), TEXTS, strict=True):
        np.testing.assert_array_equal(one, other)
        assert again.decode(other) == text


def test_m1_costs_two_flops_for_each_weight_of_its_products() -> None:
    """Without biases and the embedding of what is read: 2 * 3.15M for the paper's, 6M as it rounds."""
    config = M1Config(width=32)
    shapes = jax.eval_shape(network_of(config).init, jax.random.key(0), np.zeros((1, 4), np.int32))["params"]
    matrices = sum(leaf.size for leaf in jax.tree.leaves(shapes) if len(leaf.shape) == 2) - 257 * 32
    assert m1_flops_per_byte(config) == 2 * matrices
    paper = M1Config(kind="decoder", decoder=LMConfig())
    assert m1_flops_per_byte(paper) == pytest.approx(6.4e6, rel=0.02)


def test_the_paper_counts_m1_without_its_logits() -> None:
    """arXiv:2404.03626 section 3.8: 2 x 3M parameters; the counted blocks of 3m are 3.15M."""
    config = M1Config(kind="decoder", decoder=LMConfig())
    assert m1_flops_per_byte(config, logits=False) == pytest.approx(6e6, rel=0.05)
    assert m1_flops_per_byte(config) - m1_flops_per_byte(config, logits=False) == 2 * 257 * 256
