"""M1: reading byte by byte equals reading whole windows; training learns and repeats itself."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.equal_info.coder import cumulative_frequencies
from models.equal_info.explore import reachable_windows
from models.equal_info.m1 import (
    M1,
    START,
    M1Config,
    RecurrentLM,
    bits_per_byte,
    m1_of_lm,
    network_of,
    train_m1,
    training_flops,
)
from models.lm import DecoderLM, LMConfig
from models.lm.artefact import TrainedLM
from shammie.errors import UserError

DECODER = M1Config(
    kind="decoder",
    decoder=LMConfig(width=16, layers=2, heads=2, head_width=8, mlp_width=32),
    steps=30,
    batch=32,
    window_bytes=12,
)


@pytest.fixture(scope="module")
def decoder_m1(code_text: np.ndarray) -> M1:
    return train_m1(DECODER, code_text, jax.random.key(0))


@pytest.mark.parametrize("kind", ["recurrent", "decoder"])
def test_reading_byte_by_byte_equals_reading_the_window(
    small_m1: M1, decoder_m1: M1, code_text: np.ndarray, kind: str
) -> None:
    m1 = small_m1 if kind == "recurrent" else decoder_m1
    windows = code_text[: 40 * 11].reshape(40, 11)
    inputs = jnp.pad(jnp.asarray(windows, jnp.int32), ((0, 0), (1, 0)), constant_values=START)
    logits = np.asarray(network_of(m1.config).apply({"params": m1.params}, inputs))[..., :256]
    memory, symbols = m1.start(40), np.full(40, START)
    for column in range(12):
        memory, cumulative = m1.read(memory, symbols, 14)
        expected = np.asarray(cumulative_frequencies(jnp.asarray(logits[:, column]), 14))
        assert (
            np.abs(np.diff(cumulative) - np.diff(expected)).max() <= 4
        )  # rounding of logits moves a few parts in 16384
        if column < 11:
            symbols = windows[:, column]


def test_rows_do_not_depend_on_their_neighbours(small_m1: M1) -> None:
    """Else a code compiled in blocks would differ from one read row by row."""
    symbols = np.arange(256)
    memory, _ = small_m1.read(small_m1.start(256), np.full(256, START), 14)
    _, together = small_m1.read(memory, symbols, 14)
    order = np.random.default_rng(0).permutation(256)
    _, shuffled = small_m1.read(memory[order], symbols[order], 14)
    assert np.array_equal(shuffled, together[order])
    for row in (0, 100, 255):
        _, alone = small_m1.read(memory[row : row + 1], symbols[row : row + 1], 14)
        assert np.array_equal(alone[0], together[row])


def test_training_learns_and_repeats_itself(code_text: np.ndarray) -> None:
    config = M1Config(width=16, steps=40, batch=64)
    losses: list[float] = []
    first = train_m1(config, code_text, jax.random.key(3), lambda step, loss: losses.append(loss))
    second = train_m1(config, code_text, jax.random.key(3))
    other = train_m1(config, code_text, jax.random.key(4))
    assert len(losses) == 4
    assert losses[-1] < 0.8 * np.log(256)
    assert first.to_bytes() == second.to_bytes()
    assert first.to_bytes() != other.to_bytes()
    assert bits_per_byte(first, code_text) < 6.5


@pytest.mark.parametrize("kind", ["recurrent", "decoder"])
def test_models_survive_as_bytes(small_m1: M1, decoder_m1: M1, kind: str) -> None:
    m1 = small_m1 if kind == "recurrent" else decoder_m1
    again = M1.from_bytes(m1.to_bytes())
    assert again.config == m1.config
    _, frequencies = m1.read(m1.start(2), np.full(2, START), 14)
    _, same = again.read(again.start(2), np.full(2, START), 14)
    assert np.array_equal(frequencies, same)


def test_the_papers_decoder_compiles_into_a_code(decoder_m1: M1) -> None:
    candidates = reachable_windows(decoder_m1, 12)
    assert len(candidates.trie) > 300
    assert np.all(np.diff(candidates.trie.first_child[:2]) == 256)


def test_what_cannot_be_trained_is_refused(code_text: np.ndarray) -> None:
    with pytest.raises(ValueError, match="10 bytes of text are too few"):
        train_m1(M1Config(), code_text[:10], jax.random.key(0))
    with pytest.raises(ValueError, match=r"loss is (nan|inf)"):
        train_m1(M1Config(width=8, steps=400, learning_rate=1e12), code_text, jax.random.key(0))
    with pytest.raises(UserError, match=r"M1Config\.steps is 0; give a whole number"):
        M1Config(steps=0)
    with pytest.raises(UserError, match="not a trained M1"):
        M1.from_bytes(b"garbage")
    with pytest.raises(ValueError, match="'lstm'"):
        M1Config(kind="lstm")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("width", [32, 128])
def test_flops_of_the_recurrent_network_are_the_compilers_within_five_per_cent(width: int) -> None:
    config = M1Config(width=width, steps=1, batch=64, window_bytes=1)
    network = RecurrentLM(width)
    memory, symbols = jnp.zeros((64, width)), jnp.zeros(64, jnp.int32)
    params = network.init(jax.random.key(0), jnp.zeros((2, 3), jnp.int32))["params"]
    read = jax.jit(lambda p, m, s: network.apply({"params": p}, m, s, method="one"))
    counted = (read.lower(params, memory, symbols).compile().cost_analysis() or {})["flops"]
    assert training_flops(config) / 3 == pytest.approx(counted, rel=0.1 if width < 100 else 0.05)


def test_a_language_model_over_bytes_is_an_m1() -> None:
    """Ids are bytes + 2 behind padding and end, in a vocabulary that was rounded up; 0 is what a row starts with."""
    config = LMConfig(vocab_size=384, width=16, layers=1, heads=2, head_width=8, mlp_width=32)
    network = DecoderLM(config)
    params = network.init(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]
    params = jax.tree.map(lambda x: 3 * x, params)  # far from uniform
    m1 = m1_of_lm(TrainedLM(config, jax.device_get(params), "bytes"), 32)
    assert (m1.config.kind, m1.config.window_bytes, m1.config.decoder.vocab_size) == ("decoder", 32, 257)
    m1 = M1.from_bytes(m1.to_bytes())
    text = b"an M1"
    memory, symbols = m1.start(1), np.array([256])
    for at in range(len(text)):
        memory, cumulative = m1.read(memory, symbols, 14)
        ids = jnp.array([[0, *(byte + 2 for byte in text[:at])]])
        logits: Any = network.apply({"params": params}, ids)
        wanted = np.diff(np.asarray(cumulative_frequencies(logits[:, -1, 2:258], 14)), axis=1)
        np.testing.assert_allclose(np.diff(cumulative, axis=1), wanted, atol=1)
        symbols = np.array([text[at]])
    with pytest.raises(UserError, match="a model of 257 ids is none over bytes; train it on --codec bytes"):
        m1_of_lm(TrainedLM(LMConfig(vocab_size=257), params, "bytes"), 32)
