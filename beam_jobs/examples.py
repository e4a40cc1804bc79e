"""tf.train.Example bytes without TensorFlow: token sequences written, bytes features found.

    Example { 1: Features { 1: map entry { 1: key, 2: Feature } } }
    Feature { 1: BytesList { 1: bytes } or 3: Int64List { 1: packed varints } }

Every example is written as a whole TFRecord frame, so that a shard is a row of frames and nothing is copied twice.
"""

from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

from beam_jobs.crc32c import TABLES
from beam_jobs.tfrecord import FRAME_BYTES, HEADER_BYTES, put_frame
from shammie.jit import compiled, inlined

TARGETS = np.frombuffer(b"targets", np.uint8)
CONTINUATION = np.frombuffer(b"continuation", np.uint8)

FOUND, NO_FEATURE, NOT_BYTES, NOT_AN_EXAMPLE = 0, 1, 2, 3
# tags of the length-delimited fields 1, 2 and 3
_TAG_1, _TAG_2, _TAG_3 = 0x0A, 0x12, 0x1A


class Sequences(NamedTuple):
    """Examples as rows of pieces, a piece being a run of codes.

    Attributes:
        codes: uint16 [tokens].
        piece_bounds: int64 [P + 1], piece p is codes[piece_bounds[p] : piece_bounds[p + 1]].
        closes: bool [P], whether the end id follows the piece.
        example_bounds: int64 [E + 1], example e is the pieces example_bounds[e] to example_bounds[e + 1].
        continuations: int64 [E], k for the k-th continuation of a long document, else 0.
    """

    codes: np.ndarray
    piece_bounds: np.ndarray
    closes: np.ndarray
    example_bounds: np.ndarray
    continuations: np.ndarray


@intrinsic
def _store_4_bytes(typing_context: Any, target: Any, at: Any, value: Any) -> Any:
    """One unaligned little-endian store of the low 32 bits of an int64; no bounds are checked."""
    signature = numba.types.void(target, numba.types.int64, numba.types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, at, value = arguments
        data = context.make_array(signature.args[0])(context, builder, array).data
        place = builder.bitcast(builder.gep(data, [at]), ir.IntType(32).as_pointer())
        builder.store(builder.trunc(value, ir.IntType(32)), place).align = 1
        return context.get_dummy_value()

    return signature, generate


_store: Any = _store_4_bytes


@inlined
def _varint_size(value):
    size = 1
    while value >= 128:
        value >>= 7
        size += 1
    return size


@inlined
def _put_varint(out, at, value):
    while value >= 128:
        out[at] = np.uint8((value & 127) | 128)
        value >>= 7
        at += 1
    out[at] = np.uint8(value)
    return at + 1


@inlined
def _nested(size):
    """The size of a length-delimited field that holds `size` bytes."""
    return 1 + _varint_size(size) + size


@inlined
def _put_key(out, at, name, value_size):
    """Opens a map entry up to its Feature's content of `value_size` bytes."""
    out[at] = _TAG_1
    at = _put_varint(out, at + 1, _nested(len(name)) + _nested(value_size))
    out[at] = _TAG_1
    at = _put_varint(out, at + 1, len(name))
    for k in range(len(name)):
        out[at + k] = name[k]
    at += len(name)
    out[at] = _TAG_2
    return _put_varint(out, at + 1, value_size)


@inlined
def _put_list(out, at, payload):
    """Opens an Int64List with a packed payload of so many bytes."""
    out[at] = _TAG_3
    at = _put_varint(out, at + 1, _nested(payload) if payload else 0)
    if payload:
        out[at] = _TAG_1
        at = _put_varint(out, at + 1, payload)
    return at


@inlined
def _list_size(payload):
    return _nested(_nested(payload)) if payload else 2


@inlined
def _entry_size(name_size, value_size):
    return _nested(_nested(name_size) + _nested(value_size))


@compiled
def _sizes(codes, piece_bounds, closes, example_bounds, continuations, special, name, mark, payloads, features, tokens):
    for e in range(len(payloads)):
        payload, ids = np.int64(0), np.int64(0)
        for p in range(example_bounds[e], example_bounds[e + 1]):
            start, end = piece_bounds[p], piece_bounds[p + 1]
            wide = np.int64(0)
            for at in range(start, end):
                value = np.int64(codes[at]) + special
                wide += np.int64(value >= 128) + np.int64(value >= 16384)
            payload += wide + (end - start) + np.int64(closes[p])
            ids += (end - start) + np.int64(closes[p])
        payloads[e], tokens[e] = payload, ids
        features[e] = _entry_size(len(name), _list_size(payload))
        if continuations[e]:
            features[e] += _entry_size(len(mark), _list_size(_varint_size(continuations[e])))


@compiled
def _write(
    tables, codes, piece_bounds, closes, example_bounds, continuations, special, end_id, name, mark, payloads, features,
    order, out, bounds,
):  # fmt: skip
    at = np.int64(0)
    for row in range(len(order)):
        e = order[row]
        bounds[row] = at
        frame = at
        at += HEADER_BYTES
        out[at] = _TAG_1
        at = _put_varint(out, at + 1, features[e])
        if continuations[e]:
            size = np.int64(_varint_size(continuations[e]))
            at = _put_key(out, at, mark, _list_size(size))
            at = _put_list(out, at, size)
            at = _put_varint(out, at, continuations[e])
        at = _put_key(out, at, name, _list_size(payloads[e]))
        at = _put_list(out, at, payloads[e])
        for p in range(example_bounds[e], example_bounds[e + 1]):
            for k in range(piece_bounds[p], piece_bounds[p + 1]):
                value = np.int64(codes[k]) + special
                # four bytes are always written and the next id overwrites the surplus: no branch to mispredict
                two, three = np.int64(value >= 128), np.int64(value >= 16384)
                low, middle = (value & 127) | (two << 7), ((value >> 7) & 127) | (three << 7)
                _store(out, at, low | (middle << 8) | ((value >> 14) << 16))
                at += 1 + two + three
            if closes[p]:
                out[at] = np.uint8(end_id)
                at += 1
        put_frame(tables, out, frame, at - frame - HEADER_BYTES)
        at += 4
    bounds[len(order)] = at


def write_examples(
    sequences: Sequences, order: np.ndarray, *, special: int, end_id: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Serialises examples, each as a TFRecord frame.

    Args:
        sequences: what to write.
        order: int64 [E], the example that comes at each place.
        special: added to every code.
        end_id: the id, below 128, that closes a piece.

    Returns:
        uint8 [bytes] of all frames; int64 [E + 1], where each begins, in the new order; int64 [E], the ids that each
        example holds, in the old order.
    """
    codes, piece_bounds, closes, example_bounds, continuations = sequences
    examples = len(order)
    payloads, features = np.empty(examples, np.int64), np.empty(examples, np.int64)
    tokens, bounds = np.empty(examples, np.int64), np.empty(examples + 1, np.int64)
    _sizes(
        codes, piece_bounds, closes, example_bounds, continuations, special, TARGETS, CONTINUATION, payloads, features,
        tokens,
    )  # fmt: skip
    # tag and length of `features` take at most 10 bytes
    out = np.empty(int(features.sum()) + examples * (FRAME_BYTES + 10), np.uint8)
    _write(
        TABLES, codes, piece_bounds, closes, example_bounds, continuations, special, end_id, TARGETS, CONTINUATION,
        payloads, features, order, out, bounds,
    )  # fmt: skip
    return out[: bounds[-1]], bounds, tokens


@compiled
def _varint(data, at, end):
    value, shift = np.int64(0), 0
    while at < end and shift < 63:
        byte = np.int64(data[at])
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
        shift += 7
    return np.int64(-1), end


@compiled
def _skip(data, at, end, wire):
    """The end of a field's value, or -1."""
    if wire == 0:
        value, at = _varint(data, at, end)
        return at if value >= 0 else np.int64(-1)
    size = np.int64(8 if wire == 1 else 4)
    if wire == 2:
        size, at = _varint(data, at, end)
    elif wire != 1 and wire != 5:
        return np.int64(-1)
    return at + size if 0 <= size <= end - at else np.int64(-1)


@compiled
def _field(data, at, end, wanted):
    """The first length-delimited field of that number: (start, end), (-1, next) if absent, (-2, _) if malformed."""
    while at < end:
        tag, at = _varint(data, at, end)
        if tag < 0:
            return np.int64(-2), end
        stop = _skip(data, at, end, tag & 7)
        if stop < 0:
            return np.int64(-2), end
        if tag >> 3 == wanted and tag & 7 == 2:
            _, start = _varint(data, at, end)
            return start, stop
        at = stop
    return np.int64(-1), end


@compiled
def _bytes_feature(data, start, end, name):
    features, features_end = _field(data, start, end, 1)
    if features < 0:
        return NO_FEATURE if features == -1 else NOT_AN_EXAMPLE, start, start
    at = features
    while at < features_end:
        entry, entry_end = _field(data, at, features_end, 1)
        if entry < 0:
            return NO_FEATURE if entry == -1 else NOT_AN_EXAMPLE, start, start
        at = entry_end
        key, key_end = _field(data, entry, entry_end, 1)
        if key < 0:
            if key == -2:
                return NOT_AN_EXAMPLE, start, start
            continue
        same = key_end - key == len(name)
        if same:
            for k in range(len(name)):
                same = same and data[key + k] == name[k]
        if not same:
            continue
        value, value_end = _field(data, entry, entry_end, 2)
        if value < 0:
            return NOT_BYTES if value == -1 else NOT_AN_EXAMPLE, start, start
        chosen, chosen_end = _field(data, value, value_end, 1)
        if chosen < 0:
            return NOT_BYTES if chosen == -1 else NOT_AN_EXAMPLE, start, start
        text, text_end = _field(data, chosen, chosen_end, 1)
        if text < 0:
            return NOT_BYTES if text == -1 else NOT_AN_EXAMPLE, start, start
        return FOUND, text, text_end
    return NO_FEATURE, start, start


@compiled
def _bytes_features(data, starts, ends, name, states, found_starts, found_ends):
    for i in range(len(starts)):
        states[i], found_starts[i], found_ends[i] = _bytes_feature(data, starts[i], ends[i], name)


def bytes_features(
    data: np.ndarray, starts: np.ndarray, ends: np.ndarray, name: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finds one bytes feature's first value in many serialised examples.

    Args:
        data: uint8, the examples.
        starts: int64 [N].
        ends: int64 [N].
        name: the feature's key.

    Returns:
        int8 [N] of FOUND, NO_FEATURE, NOT_BYTES or NOT_AN_EXAMPLE; int64 [N] starts and int64 [N] ends of the values.
    """
    states = np.empty(len(starts), np.int8)
    found_starts, found_ends = np.empty(len(starts), np.int64), np.empty(len(starts), np.int64)
    _bytes_features(data, starts, ends, np.frombuffer(name.encode(), np.uint8), states, found_starts, found_ends)
    return states, found_starts, found_ends
