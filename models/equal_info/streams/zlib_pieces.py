"""GZip as the paper uses it: Python's zlib at its default level, header and checksum kept (section 3.4).

Each piece of the text is a zlib stream of its own, padded to a whole token. Such a stream says itself where it ends,
so nothing else is stored. What `zlib` compresses to can differ between its versions; all of them read it.
"""

import zlib

import numpy as np


def compressed(text: bytes, piece_bytes: int, token_bytes: int) -> bytes:
    """The streams of a text's pieces, one behind another; nothing for no text."""
    out = bytearray()
    for start in range(0, len(text), piece_bytes):
        out += zlib.compress(text[start : start + piece_bytes])
        out += bytes(-len(out) % token_bytes)
    return bytes(out)


def decompressed(data: np.ndarray, piece_bytes: int, token_bytes: int) -> bytes:
    """The text of whole streams.

    Raises:
        ValueError: they are cut or damaged; names the piece.
    """
    text, rest, piece = [], data.tobytes(), 0
    while rest:
        if text and len(text[-1]) != piece_bytes:
            raise ValueError(f"piece {piece - 1} has {len(text[-1])} bytes: only the last may have below {piece_bytes}")
        stream = zlib.decompressobj()
        try:
            text.append(stream.decompress(rest, piece_bytes + 1))
        except zlib.error as error:
            raise ValueError(f"piece {piece} is no zlib stream: {error}") from error
        if not stream.eof or not 1 <= len(text[-1]) <= piece_bytes:
            raise ValueError(f"piece {piece} is cut or too long")
        padding = -(len(rest) - len(stream.unused_data)) % token_bytes
        if any(stream.unused_data[:padding]) or len(stream.unused_data) < padding:
            raise ValueError(f"piece {piece} is not padded with zeros")
        rest, piece = stream.unused_data[padding:], piece + 1
    return b"".join(text)


def decompressed_prefix(data: np.ndarray, piece_bytes: int, token_bytes: int) -> bytes:
    """What can be read of streams that were cut, or drawn by a model: up to the first that is no stream."""
    text, rest = bytearray(), data.tobytes()
    while rest:
        stream, piece, read = zlib.decompressobj(), bytearray(), 0
        # an error hides what the same call had read: a byte at a time nothing is lost
        while read < len(rest) and not stream.eof and len(piece) <= piece_bytes:
            try:
                piece += stream.decompress(rest[read : read + 1])
            except zlib.error:
                return bytes(text + piece[:piece_bytes])
            read += 1
        text += piece[:piece_bytes]
        if not stream.eof or len(piece) != piece_bytes:
            break
        rest = rest[read + -read % token_bytes :]
    return bytes(text)
