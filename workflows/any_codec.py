"""The codec of any method (`workflows.tokenizers`) by its name, and the name of its file."""

from collections.abc import Sequence

import numpy as np

from models.equal_info.load import AnyCodec
from models.equal_info.m1 import M1
from models.equal_info.plain import BYTES, BytesCodec
from models.equal_info.sentencepieces import SentencePieceCodec, train_sentencepiece
from shammie.errors import UserError
from workflows.compare_codes import build, spec_of
from workflows.equal_info_steps import is_utf8
from workflows.tokenizers import IN_BYTES, build_stream, code_of, runs_m1, sentencepiece_of_method, stream_of_method


def methods_of(texts: Sequence[str]) -> list[str]:
    """Methods as their codecs are named in tables: pruned-65536, windows:24/8, bytes, sentencepiece_unigram:32000.

    Raises:
        UserError: one is none, comes twice, or is another way to read a codec's ids.
    """
    found = []
    for text in texts:
        code = code_of(text)
        if code and text.endswith(IN_BYTES):
            raise UserError(f"{text!r} reads the ids of another codec", f"make that: {text.removesuffix(IN_BYTES)}")
        found.append(code or str(stream_of_method(text) or text))
    for method in found:
        if found.count(method) > 1:
            raise UserError(f"the code {method} is named twice", "name each code once")
    return found


def file_name(method: str) -> str:
    """The name of a method's codec as a file, without characters that a file system may refuse.

    pruned-65536.codec, windows_24_8.codec, sentencepiece_unigram_32000.codec, as tasks and gin files are named.
    """
    return f"{method.replace(':', '_').replace('/', '_')}.codec"


def needs_m1(method: str) -> bool:
    """Whether a method's codec is made of a trained M1: all but bytes, SentencePiece, gzip and static_ac are."""
    return runs_m1(method) or code_of(method) is not None


def make_codec(method: str, m1: M1 | None, documents: Sequence[bytes]) -> AnyCodec:
    """Makes a method's codec.

    Args:
        method: as `methods_of` gives it.
        m1: the trained byte model; None where `needs_m1` says so.
        documents: training text: codes are pruned on it, static_ac counts its bytes, SentencePiece trains on those
            that are UTF-8.

    Raises:
        UserError: no M1 where one is needed, or no text that SentencePiece can read.
    """
    if method == BYTES:
        return BytesCodec()
    if wanted := sentencepiece_of_method(method):
        kind, cross_words, vocab_size = wanted
        readable = [document for document in documents if is_utf8(document)]
        if not readable:
            raise UserError("no training document is UTF-8, which SentencePiece needs", "give other text by --train")
        model = train_sentencepiece(kind, readable, vocab_size, cross_words=cross_words)
        return SentencePieceCodec(model, scheme=method.partition(":")[0])
    text = np.frombuffer(b"".join(documents), np.uint8)
    if stream := stream_of_method(method):
        return build_stream(stream, m1, text)
    if m1 is None:
        raise UserError(f"{method} needs a trained M1", "train one with `shammie run equal_info`")
    return build(spec_of(method), m1, text)
