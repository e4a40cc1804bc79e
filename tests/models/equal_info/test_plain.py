"""Bytes and SentencePiece as codecs: any bytes come back, ids are SentencePiece's own, artefacts are checked."""

import inspect
import io
import random
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from models.equal_info import sentencepieces
from models.equal_info.load import AnyCodec, artefact_of_word, codec_of_bytes, load_codec
from models.equal_info.plain import BytesCodec
from models.equal_info.sentencepieces import SentencePieceCodec, chunks, processor_of, train_sentencepiece
from shammie.errors import UserError

sentencepiece = pytest.importorskip("sentencepiece")
DOCUMENTS = [inspect.getsource(module).encode() for module in (random, io)]
HARD = [
    b"",
    b"\xff",
    b"\x00",
    "é".encode()[:1],
    b"\xa9 cut",
    "a \u2581 b ﬁ ½ \u2028 \U0010ffff".encode(),
    bytes(range(256)),
]
HARD += [
    b"<s></s><unk><0x41>",
    b"  two  spaces\n\n\t",
    b"x" * 300,
    "日本語 ä".encode() * 9,
    b"\xed\xa0\x80",
    b"\xe2\x96",
]


@pytest.fixture(scope="module")
def codecs() -> dict[str, AnyCodec]:
    found: dict[str, AnyCodec] = {"bytes": BytesCodec(notes={"made": "here"})}
    for scheme, kind in (("sentencepiece", "bpe"), ("sentencepiece_unigram", "unigram")):
        model = train_sentencepiece(kind, DOCUMENTS, 600)
        found[scheme] = SentencePieceCodec(model, scheme=scheme, notes={"made": "here"})
    return found


NAMES = ["bytes", "sentencepiece", "sentencepiece_unigram"]


@pytest.mark.parametrize("name", NAMES)
def test_any_bytes_come_back(codecs, name: str) -> None:
    codec, chance = codecs[name], random.Random(0)
    drawn = [bytes(chance.choices(range(256), k=40)) for _ in range(100)]
    drawn += ["".join(chr(chance.randrange(0x3000)) for _ in range(30)).encode("utf-8", "replace") for _ in range(100)]
    texts = [*HARD, *DOCUMENTS, *drawn]
    rows = codec.encode_batch(texts, threads=2)
    for text, row in zip(texts, rows, strict=True):
        assert row.dtype == np.uint16
        assert codec.decode(row) == codec.decode_prefix(row) == text
        assert codec.decoded_size(row) == len(text)
        assert np.array_equal(codec.encode(text), row)
    assert (codec.scheme, codec.lossless, codec.window_bits) == (name, True, 0)
    buffer = b"??" + b"".join(texts)  # documents need not begin where the buffer does
    codes, bounds = codec.encode_documents(buffer, np.cumsum([2, *map(len, texts)]))
    assert np.array_equal(codes, np.concatenate(rows))
    assert np.array_equal(np.diff(bounds), [len(row) for row in rows])
    assert bounds[0] == 0


@pytest.mark.parametrize("name", NAMES[1:])
def test_readable_text_has_sentencepieces_own_ids(codecs, name: str, monkeypatch) -> None:
    codec = codecs[name]
    assert isinstance(codec, SentencePieceCodec)
    processor = processor_of(codec.model)
    assert codec.vocab_size == processor.get_piece_size()
    for text in [*DOCUMENTS, "é \x00 日".encode()]:
        assert codec.encode(text).tolist() == processor.encode(text.decode())
    assert codec.encode(b"a\xff").tolist() == [*processor.encode("a"), processor.piece_to_id("<0xFF>")]
    mark = [processor.piece_to_id(f"<0x{byte:02X}>") for byte in "\u2581".encode()]
    expected = [*processor.encode("return "), *mark, *processor.encode(" return")]
    assert codec.encode("return \u2581 return".encode()).tolist() == expected
    monkeypatch.setattr(sentencepieces, "PART_CHARACTERS", 100)
    parts = codec.encode(DOCUMENTS[0])
    assert codec.decode(parts) == DOCUMENTS[0]
    assert parts[:9].tolist() == processor.encode(DOCUMENTS[0].decode())[:9]
    assert len(parts) > len(processor.encode(DOCUMENTS[0].decode()))


def test_a_model_without_a_space_still_loses_nothing() -> None:
    model = train_sentencepiece("bpe", ["日本語のテキスト。東京は大きい。".encode() * 50], 300)
    codec = SentencePieceCodec(model, scheme="sentencepiece")
    text = "東京 は  big \n".encode()
    assert codec.decode(codec.encode(text)) == text
    assert len(codec.encode("東京は 大きい".encode())) < len("東京は 大きい".encode())


def test_what_would_not_come_back_is_written_in_byte_pieces(codecs, monkeypatch) -> None:
    codec = SentencePieceCodec(codecs["sentencepiece"].model, scheme="sentencepiece")
    right = codec.encode(b"right").tolist()
    monkeypatch.setattr(codec, "_processor", SimpleNamespace(encode=lambda texts, num_threads: [right] * len(texts)))
    rows = codec.encode_batch([b"right", b"wrong"])
    assert rows[0].tolist() == right
    assert (len(rows[1]), codec.decode(rows[1])) == (5, b"wrong")


def test_what_a_model_draws_is_read_as_far_as_it_goes(codecs) -> None:
    for codec in codecs.values():
        row = codec.encode(b"one")
        drawn = np.concatenate([row, [codec.vocab_size, 70_000, -1], row])
        assert codec.decode_prefix(drawn) == b"oneone"
        with pytest.raises(ValueError, match=f"code {codec.vocab_size} at position 7 is not below {codec.vocab_size}"):
            codec.decode([int(row[0]), codec.vocab_size], first_position=6)
        with pytest.raises(ValueError, match="row of integers"):
            codec.decode([0.5])
        assert codec.decode([]) == b""
    unigram = codecs["sentencepiece_unigram"]
    assert unigram.decode_prefix([0, 1, 2]) == b""
    with pytest.raises(ValueError, match="code 1 at position 0 stands for no text in this sentencepiece_unigram codec"):
        unigram.decoded_size([1])


@pytest.mark.parametrize("name", NAMES)
def test_artefacts_travel_and_damage_is_named(codecs, name: str, tmp_path) -> None:
    codec = codecs[name]
    codec.save(str(tmp_path / "c"))
    back = load_codec(str(tmp_path / "c"))
    assert type(back) is type(codec)
    assert (back.scheme, back.vocab_size, back.notes) == (name, codec.vocab_size, {"made": "here"})
    assert back.fingerprint == codec.fingerprint
    assert np.array_equal(back.encode(DOCUMENTS[0]), codec.encode(DOCUMENTS[0]))
    data = bytearray(codec.to_bytes())
    data[len(data) // 2] ^= 1
    with pytest.raises(UserError, match=r"c\.bin is damaged: its checksum does not match; copy it again"):
        codec_of_bytes(bytes(data), name="c.bin")
    with pytest.raises(UserError, match=r"is not a (SentencePiece codec|codec of bytes)"):
        type(codec).from_bytes(load_codec("default").to_bytes())
    assert len({one.fingerprint for one in codecs.values()}) == len(codecs)


def test_bytes_is_a_reserved_word() -> None:
    codec, artefact = load_codec("bytes"), artefact_of_word("bytes")
    assert isinstance(codec, BytesCodec)
    assert (codec.scheme, codec.vocab_size) == ("bytes", 256)
    assert codec.encode(b"\x00\xff").tolist() == [0, 255]
    assert artefact is not None
    assert codec_of_bytes(artefact).fingerprint == codec.fingerprint
    default = artefact_of_word("default")
    assert default is not None
    assert codec_of_bytes(default).fingerprint == load_codec("default").fingerprint
    assert artefact_of_word("./bytes") is None


def _foreign(**settings) -> bytes:
    model = io.BytesIO()
    settings = {"byte_fallback": True, "normalization_rule_name": "identity", "add_dummy_prefix": False, **settings}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(chunks(DOCUMENTS)), model_writer=model, vocab_size=600, model_type="bpe",
        minloglevel=2, **settings,
    )  # fmt: skip
    return model.getvalue()


def test_models_that_change_text_are_refused() -> None:
    for settings in ({"normalization_rule_name": "nmt_nfkc"}, {"add_dummy_prefix": True}, {}):  # {}: spaces are trimmed
        with pytest.raises(ValueError, match="changes text"):
            SentencePieceCodec(_foreign(**settings))
    with pytest.raises(ValueError, match="no piece for each byte"):
        SentencePieceCodec(_foreign(byte_fallback=False))
    with pytest.raises(ValueError, match="no SentencePiece model"):
        SentencePieceCodec(b"junk")
    with pytest.raises(ValueError, match="'unigram' is none of sentencepiece, "):
        SentencePieceCodec(b"", scheme="unigram")


def test_without_the_library_the_cure_is_named(codecs, monkeypatch) -> None:
    data = codecs["sentencepiece"].to_bytes()
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(UserError, match=r"SentencePiece is not installed; pip install sentencepiece==0\.2\.0"):
        codec_of_bytes(data)
