"""The paper's layout: where examples begin and end, which tokens become rows, what they stand for."""

import numpy as np
import pytest

from workflows import tokenizers
from workflows.equal_info_examples import Tally, examples_of, first_bytes, joined, rows_of
from workflows.tokenizers import Tokenizer


def test_documents_are_joined_by_their_ends_and_cut_to_one_size() -> None:
    texts = [b"abcd", b"ef", b"ghijkl"]
    assert joined(texts) == b"abcd\x03ef\x03ghijkl\x03"
    assert list(examples_of(texts, 5)) == [b"abcd\x03", b"ef\x03gh", b"ijkl\x03"]
    assert list(examples_of(texts, 4)) == [b"abcd", b"\x03ef\x03", b"ghij"]  # kl and its end are too short
    assert list(examples_of([], 4)) == []


def test_other_cuts_begin_elsewhere() -> None:
    text = bytes(range(65, 65 + 20))
    assert list(examples_of([text], 8, cuts=2)) == [text[:8], text[8:16], text[4:12], text[12:20]]
    short = [text[:2]] * 7  # the first document is shorter than what a cut skips
    whole = joined(short)
    assert list(examples_of(short, 8, cuts=2)) == [whole[:8], whole[8:16], whole[4:12], whole[12:20]]


def test_no_cut_parts_a_character() -> None:
    text = "aé€😀" * 9
    examples = list(examples_of([text.encode(), "残り火".encode() * 5], 16, cuts=3))
    assert all(13 <= len(example) <= 16 for example in examples)
    assert "".join(example.decode() for example in examples[:3]) == text[: sum(len(e.decode()) for e in examples[:3])]


def _pairs() -> Tokenizer:
    """Two bytes a token, without its first special ids' meaning: only what the layout asks of a tokenizer."""

    def encode(texts: list[bytes]) -> list[np.ndarray]:
        return [np.frombuffer(text[: len(text) // 2 * 2], ">u2").astype(np.int32) + 2 for text in texts]

    return Tokenizer("pairs", 65538, "pairs", encode, lambda ids: (ids - 2).astype(">u2").tobytes())  # type: ignore[arg-type]


def test_rows_are_the_first_tokens_and_the_tally_counts_whole_examples() -> None:
    tally = Tally(65538)
    rows = list(rows_of(_pairs(), [b"aabbcc", b"dd", b"hhii", b"aaeeffgg"], 2, tally))
    assert [example for _, example in rows] == [b"aabbcc", b"hhii", b"aaeeffgg"]  # two tokens are enough, one is not
    assert [bytes(_pairs().decode(row)) for row, _ in rows] == [b"aabb", b"hhii", b"aaee"]
    assert (tally.examples, tally.rows, tally.text_bytes, tally.tokens) == (4, 3, 20, 10)
    assert tally.counts[0x6161 + 2] == 2
    assert tally.counts.sum() == 10
    assert tally.bytes_per_token == 2.0
    assert first_bytes(_pairs(), rows) == 12


def test_a_method_that_loses_text_cannot_tell_its_bytes() -> None:
    row = tokenizers.of_bytes().encode([b"abc"])[0]
    assert first_bytes(tokenizers.of_bytes(), [(row, b"abcdef")]) == 3
    assert first_bytes(tokenizers.of_bytes(), [(row, b"abXdef")]) is None


@pytest.mark.parametrize("method", ["static_ac/8", "static_ac/16", "gzip/16"])
def test_a_streams_first_tokens_tell_the_bytes_that_they_decide(method: str) -> None:
    text = np.frombuffer(b"some text with an e or two, " * 40, np.uint8)
    spec = tokenizers.stream_of_method(method)
    assert spec
    tokenizer = tokenizers.of_stream(method, tokenizers.build_stream(spec, None, text))
    example = b"an example of text, longer than its row " * 4
    row = tokenizer.encode([example])[0][:16]
    told = first_bytes(tokenizer, [(row, example)])
    assert told is not None
    assert 16 <= told < len(example)
