"""Stream codecs: every text comes back, cut codes give its beginning, damage is named, artefacts travel."""

import hashlib
import re
import struct
import zlib
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.equal_info.codec import Codec
from models.equal_info.load import codec_of_bytes, load_codec
from models.equal_info.m1 import M1, M1Config
from models.equal_info.plain import BytesCodec
from models.equal_info.sentencepieces import SentencePieceCodec
from models.equal_info.streams import artefact, texts
from models.equal_info.streams import models as byte_models
from models.equal_info.streams.build import stream_codec
from models.equal_info.streams.codec import StreamCodec
from models.equal_info.streams.models import FloatM1, Unigram
from models.equal_info.streams.spec import SCHEMES, StreamSpec, spec_of_stream
from models.lm import LMConfig
from shammie.errors import UserError

METHODS = [
    "gzip/8",
    "gzip/16",
    "static_ac/8",
    "static_ac/16",
    "ac/8",
    "ac/16",
    "windows:16/8",
    "windows:24/16",
    "windows:9/8",
    "windows:16:2/16",
    "windows:64:never/16",
    "windows:128/8",
    "greedy_windows:24/8",
]
LOSSLESS = METHODS[:-1]
PIECE_BYTES = 100


@pytest.fixture(scope="module")
def streams(small_m1: M1, code_text: np.ndarray) -> dict[str, StreamCodec]:
    """A codec of each method, with pieces so short that texts have several."""
    found = {}
    for method in METHODS:
        parsed = spec_of_stream(method)
        assert parsed is not None
        spec = StreamSpec(
            parsed.scheme, parsed.token_bits, parsed.window_bits, parsed.reset_windows, piece_bytes=PIECE_BYTES
        )
        found[method] = stream_codec(spec, m1=small_m1, text=code_text, notes={"made": "here"})
    return found


@pytest.mark.parametrize("method", METHODS)
def test_a_methods_text_reads_back(method: str) -> None:
    spec = spec_of_stream(method)
    assert str(spec) == method
    assert spec is not None
    assert spec.scheme in SCHEMES
    assert spec.vocab_size == 1 << spec.token_bits
    assert spec.window_tokens == Fraction(spec.window_bits, spec.token_bits)
    assert spec_of_stream("words:65536") is None


@pytest.mark.parametrize("method", LOSSLESS)
def test_hard_texts_come_back_alone_and_together(streams, hard_texts, method: str) -> None:
    codec = streams[method]
    assert codec.lossless
    rows = codec.encode_batch(hard_texts)
    again = codec.encode_batch(hard_texts, threads=2)
    for text, codes, same in zip(hard_texts, rows, again, strict=True):
        assert codes.dtype == np.uint16
        assert codes.max(initial=0) < codec.vocab_size
        assert np.array_equal(codes, same)
        assert np.array_equal(codes, codec.encode(text))
        assert codec.decode(codes) == codec.decode_prefix(codes) == text
        assert codec.decoded_size(codes) == len(text)
    codes, bounds = codec.encode_documents(
        b"ab" + b"".join(hard_texts) + b"c", 2 + np.cumsum([0, *map(len, hard_texts)])
    )
    assert np.array_equal(codes, np.concatenate(rows))
    assert np.diff(bounds).tolist() == list(map(len, rows))


any_text = st.one_of(
    st.binary(max_size=300),
    st.lists(st.sampled_from([b"\x00", b"\xff", b" ", b"self", b"\n    ", b"\xc3", b"return "]), max_size=120).map(
        b"".join
    ),
)


@pytest.mark.parametrize("method", LOSSLESS)
@given(text=any_text, cut=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_any_bytes_come_back_and_cut_codes_give_their_beginning(streams, method: str, text: bytes, cut: float) -> None:
    codec = streams[method]
    codes = codec.encode(text)
    assert codec.decode(codes) == text
    kept = codes[: int(cut * len(codes))]
    found = codec.decode_prefix(kept)
    trailer = method.split("/")[0] in ("ac", "static_ac")  # what is left of it reads as text behind the whole
    assert text.startswith(found) or (trailer and found.startswith(text))
    if codec.window_bits:
        whole = len(kept) * codec.spec.token_bits // codec.window_bits
        assert len(found) >= whole  # each window has a byte at least


@pytest.mark.parametrize("method", METHODS)
@given(codes=st.lists(st.integers(-3, 1 << 17), max_size=60))
@settings(max_examples=30, deadline=None)
def test_any_codes_decode_to_something(streams, method: str, codes: list[int]) -> None:
    assert isinstance(streams[method].decode_prefix(codes), bytes)


def test_the_papers_rule_loses_text_and_says_so(streams, code_text) -> None:
    codec, text = streams["greedy_windows:24/8"], code_text[:20_000].tobytes()
    codes = codec.encode(text)
    assert not codec.lossless
    assert codec.decode(codes) == codec.decode_prefix(codes) != text
    lossless = StreamCodec(StreamSpec("windows", 8, 24), codec.predictor).encode(text)
    assert 0.9 * len(lossless) < len(codes) < len(lossless)


def _ac_by_definition(reference, pieces: list[bytes], token_bits: int, size: int) -> bytes:
    out = b""
    for piece in pieces:
        *_, interval = reference.intervals(piece)
        value, bits = reference.code(*interval, 100_000)
        padded = -(-bits // token_bits) * token_bits
        out += (value << (padded - bits)).to_bytes(padded // 8, "big")
    return out + size.to_bytes(4, "big")


@pytest.mark.parametrize("token_bits", [8, 16])
@pytest.mark.parametrize("scheme", ["ac", "static_ac"])
def test_ac_is_the_shortest_code_of_each_piece(streams, reference, code_text, scheme: str, token_bits: int) -> None:
    codec = streams[f"{scheme}/{token_bits}"]
    coder = reference(codec.predictor, 14)
    for text in (code_text[:220].tobytes(), b"\xff" * 101, b" " * 100):
        pieces = [text[at : at + PIECE_BYTES] for at in range(0, len(text), PIECE_BYTES)]
        data = codec.encode(text).astype(">u2" if token_bits == 16 else np.uint8).tobytes()
        assert data == _ac_by_definition(coder, pieces, token_bits, len(text))


def test_ac_cut_before_its_trailer_gives_all_its_text(streams, code_text) -> None:
    for method, trailer in (("ac/8", 4), ("static_ac/16", 2)):
        text = code_text[:350].tobytes()
        codes = streams[method].encode(text)
        assert streams[method].decode_prefix(codes[:-trailer]).startswith(text)
        half = streams[method].decode_prefix(codes[: len(codes) // 2])
        assert text.startswith(half)
        assert len(half) > 100


def test_gzip_is_pythons_zlib(streams) -> None:
    text = b"the quick brown fox " * 8
    expected = zlib.compress(text[:100]) + zlib.compress(text[100:])
    assert bytes(streams["gzip/8"].encode(text).astype(np.uint8)) == expected
    wide = streams["gzip/16"].encode(text).astype(">u2").tobytes()
    first = zlib.compress(text[:100])
    assert wide.startswith(first + bytes(len(first) % 2) + zlib.compress(text[100:]))
    assert len(wide) - len(expected) in (0, 1, 2)


def test_a_gzip_stream_far_longer_than_its_text_is_read(streams) -> None:
    packer = zlib.compressobj()
    data = b"".join(packer.flush(zlib.Z_FULL_FLUSH) + packer.compress(b"a") for _ in range(1000)) + packer.flush()
    assert zlib.decompress(data) == b"a" * 1000
    codec = StreamCodec(StreamSpec("gzip", 8, piece_bytes=1000))
    assert len(data) > 5000
    assert codec.decode([*data, *data]) == b"a" * 2000
    with pytest.raises(ValueError, match="piece 0 is cut or too long"):
        streams["gzip/8"].decode(list(data))


def test_a_first_byte_that_never_comes_back_names_the_cure() -> None:
    one, bounds = np.ones(1, np.int32), np.array([0, 1])
    with pytest.raises(UserError, match="use a recurrent M1, which becomes whole numbers"):
        texts._shorten(np.full(1, texts.UNBOUNDED_BYTES), 0, one, bounds, bounds[:1], bounds)


@pytest.mark.parametrize("method", ["gzip/8", "gzip/16"])
def test_gzip_cut_short_gives_all_whole_pieces(streams, code_text, method: str) -> None:
    codec = streams[method]
    lengths = {len(zlib.compress(code_text[at : at + 100].tobytes())) % 2 for at in range(0, 900, 100)}
    assert lengths == {0, 1}  # some pieces are padded to 16 bits
    text = code_text[:950].tobytes()
    found = codec.decode_prefix(codec.encode(text)[:-1])
    assert text.startswith(found)
    assert len(found) >= 900


def test_static_ac_codes_bytes_by_their_shares(streams, code_text) -> None:
    counts = np.bincount(code_text, minlength=256) / len(code_text)
    entropy = -float((counts[counts > 0] * np.log2(counts[counts > 0])).sum())
    text = code_text[:50_000]
    codec = StreamCodec(StreamSpec("static_ac", 8), streams["static_ac/8"].predictor)
    own = np.bincount(text, minlength=256) / len(text)
    cross = -float((own[own > 0] * np.log2(counts[own > 0])).sum())
    assert cross <= 8 * len(codec.encode(text)) / len(text) < 1.01 * cross
    assert 4 < entropy < 5.2


@pytest.mark.parametrize(
    ("method", "change", "message"),
    [
        ("gzip/8", lambda codes: codes[:-1], "piece 1 is cut or too long"),
        ("gzip/8", lambda codes: [1, *codes], "piece 0 is no zlib stream"),
        ("ac/8", lambda codes: codes[:3], "the code is cut"),
        ("ac/8", lambda codes: codes[2:], "cut or damaged|is damaged"),
        ("ac/8", lambda codes: [*codes[:-4], 0, *codes[-4:]], "1 bytes are left behind its 150 bytes of text"),
        ("windows:24/16", lambda codes: codes[:-1], "cut inside a window, or damaged"),
        ("windows:16:2/16", lambda codes: [*codes, 70_000], r"code 70000 at position \d+ is not below 65536"),
        ("windows:16/8", lambda codes: [*codes, -1], "code -1 at position"),
    ],
)
def test_damaged_codes_are_named(streams, code_text, method: str, change, message: str) -> None:
    codes = streams[method].encode(code_text[:150]).astype(int).tolist()
    with pytest.raises(ValueError, match=message):
        streams[method].decode(change(codes))


def test_a_wrong_size_is_named_or_makes_the_code_of_another_text(streams, code_text) -> None:
    # a likely byte costs next to nothing: the bits of a text may be those of a longer one too, of another size
    codec, refusals = streams["ac/16"], []
    codes = codec.encode(code_text[:150]).astype(int).tolist()
    for more in range(1, 65):
        changed = [*codes[:-1], codes[-1] + more]  # its last 16 bits are the lower half of the size
        try:
            text = codec.decode(changed)
        except ValueError as error:
            refusals.append(str(error))
        else:
            assert len(text) == 150 + more
            assert codec.encode(text).tolist() == changed
    assert len(refusals) >= 56
    assert all(re.search("cut or damaged|is damaged", one) for one in refusals)


def test_codes_of_no_text_are_refused(streams) -> None:
    codec, strange = streams["windows:16/8"], 0
    for code in range(0, 1 << 16, 97):
        try:
            text = codec.decode([code >> 8, code & 255])
        except ValueError:
            strange += 1
        else:
            assert codec.encode(text).tolist() == [code >> 8, code & 255]
    assert 0 < strange < 600


@pytest.mark.parametrize("method", METHODS)
def test_artefacts_travel_and_damage_is_named(streams, code_text, tmp_path, method: str) -> None:
    codec, text = streams[method], code_text[:300]
    codec.save(str(tmp_path / "c"))
    back = load_codec(str(tmp_path / "c"))
    assert isinstance(back, StreamCodec)
    assert (back.spec, back.notes, back.fingerprint) == (codec.spec, {"made": "here"}, codec.fingerprint)
    assert np.array_equal(back.encode(text), codec.encode(text))
    data = bytearray(codec.to_bytes())
    data[len(data) // 2] ^= 1
    with pytest.raises(UserError, match=r"c\.bin is damaged: its checksum does not match; copy it again"):
        codec_of_bytes(bytes(data), name="c.bin")
    with pytest.raises(UserError, match=r"is not a stream codec|is damaged"):
        StreamCodec.from_bytes(codec.to_bytes()[:30])


def test_fingerprints_tell_codecs_apart(streams) -> None:
    assert len({codec.fingerprint for codec in streams.values()}) == len(METHODS)
    other = StreamCodec(streams["gzip/8"].spec, notes={"other": "notes"})
    assert other.fingerprint == streams["gzip/8"].fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stream": "words:16/8"}, "there is no stream"),
        ({"piece_bytes": 0}, "pieces of 0 bytes"),
        ({"model": "Unigram"}, "KeyError|cumulative|cannot work"),
        ({"fingerprint": "0"}, "is not the codec that it says it is"),
        ({"stream": 5}, "its stream is 5"),
        ({"piece_bytes": True}, "its piece_bytes is True"),
        ({"piece_bytes": "100"}, "its piece_bytes is '100'"),
        ({"model": ["FixedM1"]}, "its model is"),
        ({"notes": ["made"]}, "is no JSON object"),
    ],
)
def test_a_false_header_is_refused(streams, change: dict, message: str) -> None:
    codec = streams["windows:16/8"]
    header, arrays = artefact.unpack(codec.to_bytes(), "codec")
    with pytest.raises(UserError, match=message):
        StreamCodec.from_bytes(artefact.pack({**header, **change}, arrays))


@pytest.mark.parametrize(
    "header",
    ["5", '"a"', "null", "[]", "{}", "[" * 100_000, '{"arrays": 5}', '{"arrays": [5]}', '{"arrays": [], "notes": 5}',
     '{"arrays": []}', '{"arrays": [["a", "|u1", [0, 1e9]]]}', f'{{"arrays": [["a", "|u1", [0, {1 << 70}]]]}}'],
    ids=lambda header: header[:40],
)  # fmt: skip
@pytest.mark.parametrize("magic", [artefact.MAGIC, BytesCodec.MAGIC, SentencePieceCodec.MAGIC])
def test_a_hostile_header_is_refused(header: str, magic: bytes) -> None:
    data = struct.pack("<8sHI", magic, artefact.VERSION, len(header)) + header.encode() + zlib.compress(b"")
    with pytest.raises(UserError, match="h is not"):
        codec_of_bytes(data + hashlib.sha256(data).digest(), name="h")


def test_the_loader_knows_both_kinds() -> None:
    default = load_codec("default")
    assert isinstance(default, Codec)
    assert isinstance(codec_of_bytes(default.to_bytes()), Codec)
    with pytest.raises(UserError, match="x is not a codec"):
        codec_of_bytes(b"nothing", name="x")


def test_the_float_m1_makes_codecs_too(small_m1: M1, hard_texts) -> None:
    texts = [text[:40] for text in hard_texts[:12]]
    for spec in (StreamSpec("ac", 8), StreamSpec("windows", 8, 24), StreamSpec("windows", 16, 32, 2)):
        codec = stream_codec(spec, m1=small_m1, floats=True)
        assert isinstance(codec.predictor, FloatM1)
        back = codec_of_bytes(codec.to_bytes())
        for text, codes in zip(texts, codec.encode_batch(texts), strict=True):
            assert back.decode(codes) == text


@pytest.fixture(scope="module")
def decoder_m1() -> M1:
    """The paper's kind, untrained and small."""
    import jax
    import jax.numpy as jnp

    from models.equal_info.m1 import network_of

    config = M1Config(kind="decoder", decoder=LMConfig(layers=1, width=16, heads=2, head_width=8, mlp_width=32))
    params = network_of(config).init(jax.random.key(0), jnp.zeros((2, 8), jnp.int32))["params"]
    return M1(config, jax.device_get(params))


def test_the_papers_decoder_reads_rows_of_any_length_alike(decoder_m1: M1, monkeypatch) -> None:
    monkeypatch.setattr(byte_models, "DECODER_CONTEXT", 14)
    predictor = FloatM1(decoder_m1)
    symbols, whole, expected = [256, *b"as it is read"], decoder_m1.start(1), None
    for symbol in symbols:
        whole, expected = decoder_m1.read(whole, np.array([symbol]), 14)
    mixed, found = predictor.start(2), np.zeros((2, 257), np.int32)
    for at, symbol in enumerate(symbols):  # the second row starts anew at the fourth symbol
        mixed, found = predictor.read(mixed, np.array([symbol, 256 if at == 3 else symbol]), 14)
    assert expected is not None
    assert np.array_equal(found[0], expected[0])
    for _ in range(17):
        mixed, found = predictor.read(mixed, np.array([32, 33]), 14)
    assert mixed[:, 0].tolist() == [14, 14]
    assert mixed[:, 1:].tolist() == [[32] * 14, [33] * 14]


def test_the_papers_decoder_makes_windows(decoder_m1: M1) -> None:
    codec = stream_codec(StreamSpec("windows", 8, 16), m1=decoder_m1)
    for text, codes in zip([b"one", b"another text"], codec.encode_batch([b"one", b"another text"]), strict=True):
        assert codec.decode(codes) == text


def test_a_unigram_is_checked() -> None:
    assert np.diff(Unigram.of_text(np.zeros(0, np.uint8)).cumulative).min() == 1
    with pytest.raises(ValueError, match="at least 1"):
        Unigram(np.concatenate([np.zeros(2), np.full(255, 1 << 14)]).astype(np.int32))


def test_a_codec_at_work_loads_no_network_libraries() -> None:
    import subprocess
    import sys

    code = "import sys, models.equal_info.load; print([m for m in ('jax', 'flax') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("method", ["ac/8", "static_ac/16", "gzip/16"])
def test_what_decodes_is_the_code_of_its_text(streams, code_text, method: str) -> None:
    codec, random, decoded = streams[method], np.random.default_rng(1), 0
    codes = codec.encode(code_text[:150]).astype(int)
    for _ in range(60):
        changed = codes.copy()
        changed[random.integers(0, len(codes) - 4)] = random.integers(0, codec.vocab_size)
        try:
            text = codec.decode(changed)
        except ValueError:
            continue
        decoded += 1
        assert np.array_equal(codec.encode(text), changed) or method == "gzip/16"
    assert decoded < 40
