"""What each method of tokenizing needs in a DAG: trained, compiled or built once in a step, loaded again in others."""

from collections.abc import Sequence

from models.equal_info.ids import SPECIAL_IDS
from models.equal_info.m1 import M1, M1Config
from models.equal_info.sentencepieces import SentencePieceCodec
from shammie.files import join, read_bytes, write_bytes
from workflows import tokenizers
from workflows.any_codec import make_codec
from workflows.compare_codes import spec_of
from workflows.equal_info_steps import load_codec
from workflows.tokenizers import BYTES, IN_BYTES, Tokenizer, runs_m1

SENTENCEPIECE_MODEL = "sentencepiece.model"
STREAM = "stream.bin"


def input_of(method: str) -> str | None:
    """The step that a method's tokenizer is made from: "codes", "m1", or None for text alone."""
    if runs_m1(method):
        return "m1"
    return "codes" if tokenizers.code_of(method) else None


def m1_flops_per_byte(config: M1Config, *, logits: bool = True) -> float:
    """What running M1 over a byte costs: 2 FLOPs for each weight of its products; the paper leaves the logits out."""
    if config.kind == "decoder":
        return 2.0 * (config.decoder.block_parameters() + 257 * config.decoder.width * logits)
    return 2.0 * (6 * config.width**2 + 256 * config.width * logits)


def vocab_size_of(method: str) -> int:
    """The ids of a method's models before anything is trained; SentencePiece may reach fewer."""
    if method == BYTES:
        return 256 + SPECIAL_IDS
    if wanted := tokenizers.sentencepiece_of_method(method):
        return wanted[2] + SPECIAL_IDS
    if stream := tokenizers.stream_of_method(method):
        return stream.vocab_size + SPECIAL_IDS
    return (256 if method.endswith(IN_BYTES) else spec_of(method).vocab_size) + SPECIAL_IDS


def made(method: str, folder: str, texts: Sequence[bytes], *, codes: str = "", m1: str = "") -> Tokenizer:
    """Makes a method's tokenizer.

    Args:
        method: its name.
        folder: receives what `loaded` needs, but for codes.
        texts: training text, for SentencePiece and static distributions; UTF-8 where SentencePiece reads it.
        codes: folder of compiled codes.
        m1: folder of the trained M1.
    """
    if tokenizers.sentencepiece_of_method(method) or tokenizers.stream_of_method(method):
        network = M1.from_bytes(read_bytes(join(m1, "m1.bin"))) if m1 else None
        codec = make_codec(method, network, texts)
        if isinstance(codec, SentencePieceCodec):
            write_bytes(join(folder, SENTENCEPIECE_MODEL), codec.model)
        else:
            write_bytes(join(folder, STREAM), codec.to_bytes())
    return loaded(method, folder, codes=codes)


def loaded(method: str, folder: str, *, codes: str = "") -> Tokenizer:
    """The tokenizer that `made` made in a folder, or of a compiled code."""
    if code := tokenizers.code_of(method):
        return tokenizers.of_codec(method, load_codec(codes, code))
    if tokenizers.sentencepiece_of_method(method):
        return tokenizers.of_sentencepiece(method, read_bytes(join(folder, SENTENCEPIECE_MODEL)))
    if tokenizers.stream_of_method(method):
        return tokenizers.of_stream(method, tokenizers.load_stream(read_bytes(join(folder, STREAM))))
    return tokenizers.of_bytes()
