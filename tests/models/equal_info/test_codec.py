"""Every text comes back, however it is fed; wrong codes and artefacts are refused by name."""

import zlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.equal_info.artefact import pack
from models.equal_info.codec import PIECE_BYTES, Codec
from models.equal_info.longest_match import segment
from shammie.errors import UserError

LOSSLESS = ["delay", "full", "pruned", "delay12"]


@pytest.mark.parametrize("scheme", LOSSLESS)
def test_every_byte_and_every_pair_of_bytes_comes_back(codecs: dict[str, Codec], scheme: str) -> None:
    singles = [bytes([a]) for a in range(256)]
    pairs = [bytes([a, b]) for a in range(256) for b in range(256)]
    for texts in (singles, pairs):
        rows = codecs[scheme].encode_batch(texts)
        assert [codecs[scheme].decode(row) for row in rows] == texts


@pytest.mark.parametrize("scheme", LOSSLESS)
def test_random_bytes_and_every_unicode_plane_come_back(codecs: dict[str, Codec], scheme: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, 100_003, np.uint8).tobytes()
    planes = "".join(
        chr(plane << 16 | place) for plane in range(17) for place in range(0, 1 << 16, 97) if plane or place < 0xD800
    )
    for text in (noise, planes.encode(), b"", b"\0" * 1000, b"\xff" * 1000, b" " * 70_000):
        assert codecs[scheme].decode(codecs[scheme].encode(text)) == text


@pytest.mark.parametrize("scheme", LOSSLESS)
@given(text=st.binary(max_size=300))
@settings(max_examples=60, deadline=None)
def test_any_bytes_come_back(codecs: dict[str, Codec], scheme: str, text: bytes) -> None:
    codec = codecs[scheme]
    codes = codec.encode(text)
    assert codec.decode(codes) == text
    assert codec.decoded_size(codes) == len(text)


def test_a_long_single_line_comes_back(codecs: dict[str, Codec], code_text: np.ndarray) -> None:
    line = code_text.tobytes().replace(b"\n", b" ")
    line = line * (50_000_000 // len(line) + 1)
    codes = codecs["pruned"].encode(line, threads=2)
    assert codecs["pruned"].decode(codes) == line


@pytest.mark.parametrize("scheme", ["greedy", *LOSSLESS])
def test_pieces_lanes_and_threads_change_nothing(codecs: dict[str, Codec], code_text: np.ndarray, scheme: str) -> None:
    codec = codecs[scheme]
    text = np.concatenate([code_text, np.zeros(3 * PIECE_BYTES, np.uint8), code_text[::-1]])
    expected = segment(codec.dictionary, text)
    assert np.array_equal(codec.encode(text), expected)
    assert np.array_equal(codec.encode(text, threads=3), expected)
    sizes = np.random.default_rng(1).integers(0, 5000, 300)
    offsets = np.minimum(np.concatenate([[0], np.cumsum(sizes)]), len(text))
    rows = codec.encode_batch([text[a:b].tobytes() for a, b in pairwise(offsets)], threads=2)
    for row, (start, end) in zip(rows, pairwise(offsets), strict=True):
        assert np.array_equal(row, segment(codec.dictionary, text[start:end]))


@pytest.mark.parametrize("scheme", ["full", "pruned"])
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_any_codes_below_the_vocabulary_size_decode(codecs: dict[str, Codec], scheme: str, data: st.DataObject) -> None:
    codec = codecs[scheme]
    codes = data.draw(st.lists(st.integers(0, codec.vocab_size - 1), max_size=50))
    strings = codec.dictionary.code_strings()
    assert codec.decode(codes) == b"".join(strings[code] or b"?" for code in codes)


@pytest.mark.parametrize("scheme", ["greedy", *LOSSLESS])
def test_a_code_too_large_is_refused_with_its_position(codecs: dict[str, Codec], scheme: str) -> None:
    codec = codecs[scheme]
    good = int(codec.encode(b"a")[0])
    for bad in (codec.vocab_size, 1 << 40, -1):
        with pytest.raises(ValueError, match=f"code {bad} at position 2 is not below {codec.vocab_size}"):
            codec.decode([good, good, bad, good])


@pytest.mark.parametrize("scheme", ["greedy", "delay", "delay12"])
def test_a_code_that_no_text_has_is_refused_with_its_position(codecs: dict[str, Codec], scheme: str) -> None:
    codec = codecs[scheme]
    unreachable = int(np.flatnonzero(codec.dictionary.node_of_code < 0)[0])
    good = int(codec.encode(b"a")[0])
    with pytest.raises(ValueError, match=f"code {unreachable} at position 1 stands for no text"):
        codec.decode(np.array([good, unreachable]))


def test_text_must_be_bytes_and_codes_integers(codecs: dict[str, Codec]) -> None:
    with pytest.raises(TypeError, match="encode"):
        codecs["full"].encode("text")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="float64"):
        codecs["full"].decode([0.5])
    with pytest.raises(TypeError, match="uint16"):
        codecs["full"].encode_batch([np.array([1, 2, 300], np.uint16)])
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
        codecs["full"].encode(b"abc", threads=0)
    for same in (bytearray(b"abc"), memoryview(b"abc"), np.frombuffer(b"abc", np.uint8)):
        assert np.array_equal(codecs["full"].encode_batch([same])[0], codecs["full"].encode(b"abc"))
    with pytest.raises(ValueError, match="offsets"):
        codecs["full"].encode_documents(b"abc", np.array([0, 4]))


def test_a_lossy_code_says_so(codecs: dict[str, Codec]) -> None:
    assert {scheme: codec.lossless for scheme, codec in codecs.items()} == {
        "greedy": False,
        "delay": True,
        "full": True,
        "pruned": True,
        "delay12": True,
    }


@pytest.mark.parametrize("scheme", ["greedy", *LOSSLESS])
def test_an_artefact_holds_the_whole_codec(codecs: dict[str, Codec], code_text: np.ndarray, scheme: str) -> None:
    codec = codecs[scheme]
    data = codec.to_bytes()
    again = Codec.from_bytes(data)
    assert len(data) <= 2_000_000
    assert (again.scheme, again.window_bits, again.vocab_size, again.fingerprint) == (
        codec.scheme,
        codec.window_bits,
        codec.vocab_size,
        codec.fingerprint,
    )
    assert np.array_equal(again.encode(code_text), codec.encode(code_text))
    assert again.to_bytes() == data


def test_fingerprints_tell_codecs_apart_and_ignore_notes(codecs: dict[str, Codec]) -> None:
    assert len({codec.fingerprint for codec in codecs.values()}) == len(codecs)
    noted = Codec(codecs["full"].dictionary, scheme="full", notes={"text": "other"})
    assert noted.fingerprint == codecs["full"].fingerprint


@given(place=st.integers(0, 10**6), value=st.integers(1, 255))
@settings(max_examples=50, deadline=None)
def test_any_damaged_byte_is_noticed(codecs: dict[str, Codec], place: int, value: int) -> None:
    data = bytearray(codecs["full"].to_bytes())
    data[place % len(data)] ^= value
    with pytest.raises(UserError, match=r"^shipped\.codec "):
        Codec.from_bytes(bytes(data), name="shipped.codec")


def test_other_files_and_versions_are_refused_by_name(codecs: dict[str, Codec]) -> None:
    data = codecs["full"].to_bytes()
    for wrong, said in (
        (b"", "is not a codec"),
        (zlib.compress(data), "is not a codec"),
        (data[:8] + b"\x02\x00" + data[10:], "version 2, this release reads version 1"),
        (data[:-1], "damaged"),
        (data + b"x", "damaged"),
    ):
        with pytest.raises(UserError, match=said):
            Codec.from_bytes(wrong, name="x")


def test_a_codec_that_says_it_is_another_is_refused(codecs: dict[str, Codec]) -> None:
    header = {"scheme": "full", "window_bits": 16, "notes": {}}
    lying = pack(codecs["full"].dictionary, header, codecs["pruned"].fingerprint)
    with pytest.raises(UserError, match="x is not the codec that it says it is"):
        Codec.from_bytes(lying, name="x")
    nameless = pack(codecs["full"].dictionary, {"window_bits": 16}, codecs["full"].fingerprint)
    with pytest.raises(UserError, match="x is not a valid codec: 'scheme'"):
        Codec.from_bytes(nameless, name="x")


def test_save_and_load(codecs: dict[str, Codec], tmp_path: object) -> None:
    path = f"{tmp_path}/a.codec"
    codecs["pruned"].save(path)
    assert Codec.load(path).fingerprint == codecs["pruned"].fingerprint
