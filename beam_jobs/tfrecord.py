"""TFRecord framing without TensorFlow: u64 length, masked CRC of the length, data, masked CRC of the data."""

from typing import NamedTuple

import numpy as np

from beam_jobs.crc32c import TABLES, crc_of_range, masked
from shammie.jit import compiled, inlined

HEADER_BYTES = 12
FOOTER_BYTES = 4
FRAME_BYTES = HEADER_BYTES + FOOTER_BYTES

GOOD, BAD_DATA, BAD_LENGTH, INCOMPLETE = 0, 1, 2, 3


@inlined
def _put_u32(out, at, value):
    for k in range(4):
        out[at + k] = np.uint8((value >> np.uint32(8 * k)) & np.uint32(0xFF))


@inlined
def _get_u32(data, at):
    value = np.uint32(0)
    for k in range(4):
        value |= np.uint32(data[at + k]) << np.uint32(8 * k)
    return value


@compiled
def put_frame(tables, out, start, size):
    """Writes the header and footer around `size` bytes of data that lie at out[start + 12:]."""
    for k in range(8):
        out[start + k] = np.uint8((size >> (8 * k)) & 0xFF)
    _put_u32(out, start + 8, masked(crc_of_range(tables, out, start, start + 8)))
    data = start + HEADER_BYTES
    _put_u32(out, data + size, masked(crc_of_range(tables, out, data, data + size)))


@compiled
def _scan(tables, data, starts, ends, states):
    at, count = np.int64(0), 0
    while at + HEADER_BYTES <= len(data) and count < len(starts):
        if masked(crc_of_range(tables, data, at, at + 8)) != _get_u32(data, at + 8):
            return count, at, BAD_LENGTH
        size = np.int64(0)
        for k in range(8):
            size |= np.int64(data[at + k]) << (8 * k)
        if size < 0:
            return count, at, BAD_LENGTH
        start = at + HEADER_BYTES
        if size > len(data) - start - FOOTER_BYTES:
            return count, at, INCOMPLETE
        good = masked(crc_of_range(tables, data, start, start + size)) == _get_u32(data, start + size)
        starts[count], ends[count], states[count] = start, start + size, GOOD if good else BAD_DATA
        count += 1
        at = start + size + FOOTER_BYTES
    return count, at, INCOMPLETE if at < len(data) else GOOD


class Frames(NamedTuple):
    """The frames found in a buffer.

    Attributes:
        starts: int64 [N], where each record's data begins.
        ends: int64 [N], where it ends.
        states: int8 [N], GOOD or BAD_DATA (its CRC differs).
        stop: where the scan stopped.
        state: GOOD at the buffer's end, INCOMPLETE in the middle of a frame, BAD_LENGTH at a damaged header, after
            which nothing can be found.
        wanted: bytes of the incomplete frame by its header, which may claim any number; 0 where that is not known.
    """

    starts: np.ndarray
    ends: np.ndarray
    states: np.ndarray
    stop: int
    state: int
    wanted: int = 0


def scan(data: np.ndarray) -> Frames:
    """The frames of a uint8 buffer that begins at a frame; every CRC is checked."""
    room = len(data) // FRAME_BYTES + 1
    starts, ends, states = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int8)
    count, stop, state = _scan(TABLES, data, starts, ends, states)
    head = data[stop : stop + 8].tobytes() if state == INCOMPLETE and stop + HEADER_BYTES <= len(data) else b""
    wanted = int.from_bytes(head, "little") + FRAME_BYTES if head else 0
    return Frames(starts[:count], ends[:count], states[:count], int(stop), int(state), wanted)


def frames(records: list[bytes]) -> bytes:
    """Records as the bytes of a TFRecord file."""
    out = []
    for record in records:
        frame = np.zeros(len(record) + FRAME_BYTES, np.uint8)
        frame[HEADER_BYTES : HEADER_BYTES + len(record)] = np.frombuffer(record, np.uint8)
        put_frame(TABLES, frame, 0, len(record))
        out.append(frame.tobytes())
    return b"".join(out)
