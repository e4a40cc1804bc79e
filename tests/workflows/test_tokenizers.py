"""Tokenizers of language models: nothing is lost, ids are model ids, names are checked."""

import numpy as np
import pytest
from jax.random import key

from models.equal_info.codec import Codec
from models.equal_info.dictionary import Dictionary
from models.equal_info.m1 import M1, M1Config, train_m1
from shammie.errors import UserError
from workflows import tokenizers
from workflows.peers import train_sentencepiece

TEXTS = [b"def f(x):\n    return x  # \xc3\xa9\n", b"a", b"The quick brown fox. " * 9]


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec.default()


def _check(tokenizer: tokenizers.Tokenizer) -> None:
    for text, ids in zip(TEXTS, tokenizer.encode(TEXTS), strict=True):
        assert ids.dtype == np.int32
        assert ids.min() >= 2
        assert ids.max() < tokenizer.vocab_size
        assert tokenizer.decode(ids) == text


def test_codes_are_lossless_in_one_token_or_two(codec: Codec) -> None:
    whole, halves = tokenizers.of_codec("words:65536", codec), tokenizers.of_codec("words:65536/8", codec)
    _check(whole)
    _check(halves)
    assert (whole.vocab_size, halves.vocab_size) == (65538, 258)
    one, two = whole.encode(TEXTS)[0] - 2, halves.encode(TEXTS)[0] - 2
    np.testing.assert_array_equal(one, two[::2] * 256 + two[1::2])
    assert whole.made_with == codec.fingerprint != halves.made_with


def test_bytes_are_bytes() -> None:
    tokenizer = tokenizers.of_bytes()
    _check(tokenizer)
    assert tokenizer.encode([b"\x00\xff"])[0].tolist() == [2, 257]


def test_sentencepiece_is_lossless_and_named_by_its_model() -> None:
    model = train_sentencepiece("bpe", TEXTS * 40, 320)
    tokenizer = tokenizers.of_sentencepiece("sentencepiece:320", model)
    _check(tokenizer)
    assert tokenizer.made_with != tokenizers.of_sentencepiece("sentencepiece:320", model + b"\x12\x00").made_with


def test_a_drawn_code_without_text_is_left_out(codec: Codec) -> None:
    dictionary = codec.dictionary
    code, node_of_code = dictionary.code.copy(), dictionary.node_of_code.copy()
    lost = int(code[-1])  # the deepest string, so no other token needs it
    code[-1], node_of_code[lost] = -1, -1
    holed = Codec(Dictionary(dictionary.trie, code, node_of_code), scheme="delay", window_bits=16)
    tokenizer = tokenizers.of_codec("delay:65536", holed)
    ids = tokenizer.encode([b"text"])[0]
    assert tokenizer.decode(np.concatenate([ids, [lost + 2]])) == b"text"


@pytest.mark.parametrize(
    ("method", "code"),
    [
        ("pruned:4096", "pruned-4096"),
        ("delay:65536/8", "delay-65536"),
        ("bytes", None),
        ("sentencepiece_unigram:4096", None),
        ("windows:24/16", None),
        ("gzip/8", None),
    ],
)
def test_methods_name_their_code(method: str, code: str | None) -> None:
    assert tokenizers.code_of(method) == code


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("byte", "unknown code 'byte'; did you mean bytes"),
        ("window:24/8", "unknown code 'window'; did you mean windows"),
        ("windows:24", r"'windows:24' names no stream; write windows:24/8 or windows:16:2/16"),
        ("windows:24:0/8", "resets M1 every 0 windows; give 1 or more, or never"),
        ("windows:12/16", "windows of 12 bits in tokens of 16; windows have 16 to 128 bits there"),
        ("ac:16/8", "'ac:16/8' names no stream; write ac/8 or ac/16"),
        ("gzip/32", "write gzip/8 or gzip/16"),
        ("sentencepiece", "names no SentencePiece vocabulary"),
        ("sentencepiece:12", "300 or more"),
        ("pruned:4096/8", "only codes of 16 bits are two of 8"),
    ],
)
def test_wrong_methods_are_one_line(method: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        tokenizers.code_of(method)


@pytest.fixture(scope="module")
def m1() -> M1:
    return train_m1(M1Config(width=16, steps=20, batch=32), np.frombuffer(b"".join(TEXTS) * 9, np.uint8), key(0))


@pytest.mark.parametrize(
    ("method", "vocab_size", "window_tokens"),
    [
        ("windows:24/8", 258, 3),
        ("windows:24/16", 65538, 3),  # three tokens are two windows
        ("windows:16:2/16", 65538, 1),
        ("windows:16:never/8", 258, 2),
        ("ac/8", 258, 1),
        ("ac/16", 65538, 1),
        ("static_ac/8", 258, 1),
        ("gzip/16", 65538, 1),
    ],
)
def test_streams_are_lossless_and_made_by_name(m1: M1, method: str, vocab_size: int, window_tokens: int) -> None:
    spec = tokenizers.stream_of_method(method)
    assert spec is not None
    codec = tokenizers.build_stream(spec, m1, np.frombuffer(b"".join(TEXTS), np.uint8), {"made": "here"})
    assert codec.notes == {"made": "here"}
    tokenizer = tokenizers.of_stream(method, tokenizers.load_stream(codec.to_bytes()))
    _check(tokenizer)
    assert (tokenizer.vocab_size, tokenizer.window_tokens) == (vocab_size, window_tokens)
    assert tokenizer.made_with == codec.fingerprint
    ids = tokenizer.encode(TEXTS)[2]
    assert isinstance(tokenizer.decode(ids[: len(ids) // 2]), bytes)
    drawn = np.random.default_rng(0).integers(0, vocab_size, 40)
    assert isinstance(tokenizer.decode(drawn), bytes)


def test_the_papers_own_rule_is_a_method(m1: M1) -> None:
    spec = tokenizers.stream_of_method("greedy_windows:64:3/16")
    assert spec is not None
    tokenizer = tokenizers.of_stream(str(spec), tokenizers.build_stream(spec, m1, np.zeros(0, np.uint8)))
    assert tokenizer.decode(np.zeros(0, np.int64)) == b""
    assert tokenizer.window_tokens == 4
    assert (spec.window_bits, spec.reset_windows, spec.lossless) == (64, 3, False)


def test_a_stream_without_its_model_is_one_line() -> None:
    spec = tokenizers.stream_of_method("ac/8")
    assert spec is not None
    with pytest.raises(UserError, match="ac/8 needs a trained M1"):
        tokenizers.build_stream(spec, None, np.zeros(0, np.uint8))
    assert tokenizers.stream_of_method("bytes") is None
    assert tokenizers.stream_of_method("words:65536/8") is None
