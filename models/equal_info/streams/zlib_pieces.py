"""GZip as the paper uses it: Python's zlib at its default level, header and checksum kept (section 3.4).

Each piece of the text is a zlib stream of its own, padded to a whole token. Such a stream says itself where it ends,
so nothing else is stored. What `zlib` compresses to can differ between its versions; all of them read it.
"""

import zlib

import numpy as np

SPARE_BYTES = 1024  # what a stream may have over its text, and more; a longer one is read in parts


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
    text, view, at = [], memoryview(data.tobytes()), 0
    while at < len(view):
        number = len(text)
        if text and len(text[-1]) != piece_bytes:
            raise ValueError(
                f"piece {number - 1} has {len(text[-1])} bytes: only the last may have below {piece_bytes}"
            )
        stream, piece = zlib.decompressobj(), bytearray()
        # zlib copies all that it is given behind a stream's end: give it little more than a stream has
        while not stream.eof and at < len(view) and len(piece) <= piece_bytes:
            part = view[at : at + piece_bytes + SPARE_BYTES]
            try:
                piece += stream.decompress(part, piece_bytes + 1 - len(piece))
            except zlib.error as error:
                raise ValueError(f"piece {number} is no zlib stream: {error}") from error
            at += len(part)
        if not stream.eof or not 1 <= len(piece) <= piece_bytes:
            raise ValueError(f"piece {number} is cut or too long")
        end = at - len(stream.unused_data)
        at = end + -end % token_bytes
        if at > len(view) or any(view[end:at]):
            raise ValueError(f"piece {number} is not padded with zeros")
        text.append(bytes(piece))
    return b"".join(text)


def decompressed_prefix(data: np.ndarray, piece_bytes: int, token_bytes: int) -> bytes:
    """What can be read of streams that were cut, or drawn by a model: up to the first that is no stream."""
    text, view, at = bytearray(), memoryview(data.tobytes()), 0
    while at < len(view):
        stream, piece = zlib.decompressobj(), bytearray()
        # an error hides what the same call had read: a byte at a time nothing is lost
        while at < len(view) and not stream.eof and len(piece) <= piece_bytes:
            try:
                piece += stream.decompress(view[at : at + 1])
            except zlib.error:
                return bytes(text + piece[:piece_bytes])
            at += 1
        text += piece[:piece_bytes]
        if not stream.eof or len(piece) != piece_bytes:
            break
        at += -at % token_bytes
    return bytes(text)
