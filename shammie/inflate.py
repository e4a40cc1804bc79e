"""Decompression with limits: a few kilobytes of deflate may claim gigabytes, of which no more is made than is allowed.

Deflate packs at most 1,032 bytes into one. What people pack seldom reaches a fiftieth of that, so a stream that gives
more than `MOST_RATIO` bytes for each of its own, beyond the first `FREE_BYTES`, is taken for a bomb.
"""

import zlib

MOST_RATIO = 250
FREE_BYTES = 64 << 20
MOST_BYTES = 2 << 30  # of what is unpacked into memory as a whole
GZIP_MAGIC = b"\x1f\x8b"
_INPUT_BYTES = 1 << 16  # that zlib is handed at once: behind a member's end it copies what is left of them


def is_bomb(made: int, read: int) -> bool:
    """Whether so many bytes were made of too few.

    Args:
        made: bytes that came out so far.
        read: compressed bytes that they came of.
    """
    return made > FREE_BYTES and made > MOST_RATIO * read


def gunzip(data: bytes, most_bytes: int = MOST_BYTES) -> bytes:
    """The content of gzip members, one behind another; zeros may follow.

    Args:
        data: the file.
        most_bytes: that may come out.

    Raises:
        ValueError: it is no gzip, is damaged or cut short, or unpacks to more than `most_bytes`, or is a bomb.
    """
    parts: list[bytes] = []
    made, at, view = 0, 0, memoryview(data)
    while at < len(view):
        inflate = zlib.decompressobj(wbits=31)
        while not inflate.eof:
            given = view[at : at + _INPUT_BYTES]
            try:
                part = inflate.decompress(given, min(most_bytes - made + 1, 1 << 24))
            except zlib.error as error:
                raise ValueError(str(error)) from error
            at += len(given) - len(inflate.unconsumed_tail) - len(inflate.unused_data)
            if not given and not part and not inflate.eof:
                raise ValueError("it is cut short")
            made += len(part)
            parts.append(part)
            if made > most_bytes:
                raise ValueError(f"it unpacks to more than {most_bytes} bytes")
            if is_bomb(made, at):
                raise ValueError(f"it unpacks to more than {MOST_RATIO} times its size, as only a bomb does")
        while at < len(view) and view[at] == 0:
            at += 1
    return b"".join(parts)
