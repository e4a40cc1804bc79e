"""`shammie encode` and `shammie decode`: text to codes and back, streaming.

Codes are little-endian uint16, one behind another, with nothing else around them. Long input is read in blocks;
only a token border can end a block's codes, so the output does not depend on the block size. Codecs whose codes do
not settle as text goes by (streams, SentencePiece, lossy codes) read it whole; streams are decoded whole too.
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import numpy as np

from models.equal_info.codec import Codec
from models.equal_info.load import load_codec
from models.equal_info.plain import BytesCodec
from models.equal_info.streams.codec import StreamCodec
from shammie.errors import UserError
from shammie.files import open_read, writing

BLOCK_BYTES = 1 << 22
_CODE = np.dtype("<u2")


def add_encode_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags of `shammie encode`."""
    _add_arguments(parser, "text to encode", "the codes, little-endian uint16")


def add_decode_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags of `shammie decode`."""
    _add_arguments(parser, "codes to decode, little-endian uint16", "the text")


def encode(args: argparse.Namespace) -> int:
    """Encodes a file, or what comes on stdin, as one document."""
    if args.threads < 1:
        raise UserError(f"--threads is {args.threads}", "give 1 or more")
    codec = load_codec(args.codec)
    with _source(args.file) as source, _sink(args.output) as sink:
        if not isinstance(codec, Codec | BytesCodec) or not codec.lossless:
            sink.write(codec.encode(source.read(), threads=args.threads).astype(_CODE).tobytes())
            return 0
        held = b""
        for block in _blocks(source):
            held += block
            codes = codec.encode(held, threads=args.threads)
            settled = codes[: _settled(codec, codes)]
            held = held[codec.decoded_size(settled) :]
            sink.write(settled.astype(_CODE).tobytes())
            sink.flush()
        sink.write(codec.encode(held, threads=args.threads).astype(_CODE).tobytes())
    return 0


def decode(args: argparse.Namespace) -> int:
    """Decodes a file of codes, or what comes on stdin.

    Raises:
        UserError: an odd number of bytes, or codes that are none of the codec's.
    """
    codec = load_codec(args.codec)
    done = 0
    with _source(args.file) as source, _sink(args.output) as sink:
        held = b""
        for block in [source.read()] if isinstance(codec, StreamCodec) else _blocks(source):
            held += block
            whole = len(held) // _CODE.itemsize * _CODE.itemsize
            codes = np.frombuffer(held[:whole], _CODE)
            try:
                text = (
                    codec.decode(codes) if isinstance(codec, StreamCodec) else codec.decode(codes, first_position=done)
                )
            except ValueError as error:
                raise UserError(f"{args.file}: {error}", "is it of this codec? see --codec") from error
            sink.write(text)
            sink.flush()
            done += len(codes)
            held = held[whole:]
        if held:
            raise UserError(f"{args.file} ends in half a code", "it is cut off, or no file of uint16 codes")
    return 0


def _settled(codec: Codec | BytesCodec, codes: np.ndarray) -> int:
    """How many of a block's codes stand whatever text follows.

    A token is decided once as many bytes follow its start as the longest token has.
    """
    if isinstance(codec, BytesCodec):
        return len(codes)
    longest = int(codec.dictionary.trie.depth[-1])
    return max(0, len(codes) - longest)


def _add_arguments(parser: argparse.ArgumentParser, source: str, sink: str) -> None:
    parser.add_argument("file", nargs="?", default="-", metavar="FILE", help=f"{source}; - is stdin (default)")
    parser.add_argument("-o", "--output", default="-", help=f"{sink}; - is stdout (default)")
    parser.add_argument("--codec", default="default", help="a codec's artefact (default: the shipped one)")
    parser.add_argument("--threads", type=int, default=1, help="threads for encoding (default 1)")


def _blocks(source: IO[bytes]) -> Iterator[bytes]:
    """What is there, without waiting for a full block where the source is a pipe."""
    read = getattr(source, "read1", source.read)
    while block := read(BLOCK_BYTES):
        yield block


@contextmanager
def _source(path: str) -> Iterator[IO[bytes]]:
    if path == "-":
        yield sys.stdin.buffer
    else:
        with open_read(path) as file:
            yield file


@contextmanager
def _sink(path: str) -> Iterator[IO[bytes]]:
    if path == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    else:
        with writing(path) as file:
            yield file
