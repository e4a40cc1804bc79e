"""The tokenizers that ours are measured against, trained on the spot, with settings that lose nothing.

Each trains on the same text to the same vocabulary size, and encodes the way it does fastest. They are optional
(`pip install 'shammie[peers]'`).
"""

import importlib
import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from models.equal_info.sentencepieces import chunks, processor_of, train_sentencepiece
from shammie.errors import UserError

LIBRARIES = ("sentencepiece", "tokenizers", "tiktoken")


@dataclass(frozen=True)
class Peer:
    """A trained tokenizer.

    Attributes:
        name: for tables.
        vocab_size: its tokens.
        encode: list of UTF-8 documents -> list of token rows.
        decode: list of token rows -> list of texts.
    """

    name: str
    vocab_size: int
    encode: Callable[[list[bytes]], list[Any]]
    decode: Callable[[list[Any]], list[bytes]]


def check_installed() -> None:
    """Raises UserError if a peer's library is missing, before work is spent on the rest."""
    for name in LIBRARIES:
        if importlib.util.find_spec(name) is None:
            raise UserError(
                f"the peer library {name} is not installed",
                "pip install 'shammie[peers]', or leave the peers out with --gin.PEER_VOCAB_SIZES='()'",
            )


def _library(name: str) -> Any:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one thread, as all are measured
    os.environ["RAYON_NUM_THREADS"] = "1"
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"the peer library {name} is not installed", "pip install 'shammie[peers]'") from error


def sentencepiece_peer(kind: str, documents: Sequence[bytes], vocab_size: int, *, cross_words: bool = False) -> Peer:
    """A SentencePiece model trained on the spot; see `train_sentencepiece`."""
    crossing = " crossing words" if cross_words else ""
    name = f"SentencePiece {kind.upper() if kind == 'bpe' else kind.capitalize()}{crossing}"
    return sentencepiece_of(train_sentencepiece(kind, documents, vocab_size, cross_words=cross_words), name)


def sentencepiece_of(model: bytes, name: str) -> Peer:
    """A trained SentencePiece model, from its bytes."""
    processor = processor_of(model)
    return Peer(
        name,
        processor.get_piece_size(),
        lambda texts: processor.encode([text.decode() for text in texts], num_threads=1),
        lambda rows: [text.encode() for text in processor.decode(rows, num_threads=1)],
    )


def byte_bpe(documents: Sequence[bytes], vocab_size: int) -> Any:
    """A Hugging Face byte-level BPE tokenizer, trained."""
    tokenizers = _library("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size,
        # all 256 bytes, or bytes that training did not see would be dropped in silence
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(chunks(documents), trainer)
    return tokenizer


def hugging_face_peer(tokenizer: Any) -> Peer:
    """The trained BPE in the tokenizers library."""
    return Peer(
        "HF byte-level BPE",
        tokenizer.get_vocab_size(),
        lambda texts: [e.ids for e in tokenizer.encode_batch_fast([text.decode() for text in texts])],
        lambda rows: [text.encode() for text in tokenizer.decode_batch(rows)],
    )


def tiktoken_peer(tokenizer: Any) -> Peer:
    """The same BPE vocabulary in tiktoken, whose merges are its token order."""
    tiktoken = _library("tiktoken")
    to_byte = {character: byte for byte, character in _byte_alphabet().items()}
    ranks = {
        bytes(to_byte[character] for character in token): number for token, number in tokenizer.get_vocab().items()
    }
    pattern = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
    encoding = tiktoken.Encoding("trained-here", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    return Peer(
        "tiktoken",
        len(ranks),
        lambda texts: [encoding.encode_ordinary(text.decode()) for text in texts],
        lambda rows: [encoding.decode_bytes(row) for row in rows],
    )


def _byte_alphabet() -> dict[int, str]:
    """The printable character that byte-level BPE writes for each byte: its own where it has one."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}


def all_peers(documents: Sequence[bytes], vocab_size: int) -> list[Peer]:
    """Every peer at one vocabulary size; one that cannot reach the size (too little text) is at what it reached."""
    bpe = byte_bpe(documents, vocab_size)
    return [
        sentencepiece_peer("bpe", documents, vocab_size),
        sentencepiece_peer("bpe", documents, vocab_size, cross_words=True),
        sentencepiece_peer("unigram", documents, vocab_size),
        hugging_face_peer(bpe),
        tiktoken_peer(bpe),
    ]
