"""The codec that ships: which one it is, what it is for, and that it loses nothing of a whole corpus."""

from importlib import resources

import numpy as np

import shammie
from models.equal_info.codec import Codec
from workflows.corpus import by_split, embedded_documents

FINGERPRINT = "dfc5342e71075cf8827b532d0b8b6912419c0d7f13f18e35ece3757e3ab7cb5c"


def test_it_is_the_one_that_was_released() -> None:
    """Datasets name this fingerprint: another default is another release, and goes into BUILD_NOTES."""
    codec = shammie.Codec.default()
    assert codec.fingerprint == FINGERPRINT
    assert (codec.scheme, codec.vocab_size, codec.window_bits) == ("words", 65_536, 16)
    assert codec.lossless
    assert Codec.load("default") is codec
    assert len(resources.files("models.equal_info").joinpath("default.codec").read_bytes()) < 500_000


def test_it_says_what_it_was_trained_on_and_names_no_machine() -> None:
    notes = Codec.default().notes
    assert "English prose" in notes["trained_on"]
    assert "/" not in notes["trained_on"]
    assert len(notes["corpus_sha256"]) == 64


def test_a_whole_corpus_comes_back_and_is_dense_where_it_never_looked() -> None:
    codec = Codec.default()
    documents = embedded_documents()
    texts = [document.text for document in documents]
    rows = codec.encode_batch(texts, threads=2)
    assert [codec.decode(row) for row in rows] == texts
    # help topics are made from Python's manual, which the codec was trained on
    held_out = [document.text for document in by_split(documents)["test"] if not document.name.startswith("topics/")]
    tokens = sum(len(row) for row in codec.encode_batch(held_out))
    assert sum(map(len, held_out)) / tokens > 5.0


def test_known_text_has_known_tokens() -> None:
    codec = Codec.default()
    codes = codec.encode(b"import numpy as np\n\nThe quick brown fox jumps over the lazy dog.\n")
    tokens = b"import |nump|y |as |np|\n\nThe |quic|k |brow|n |fo|x |jump|s |over the |laz|y |dog|.\n"
    assert b"|".join(codec.decode([code]) for code in codes) == tokens
    assert codes.dtype == np.uint16
