"""AC over the pieces of texts: drivers of `arithmetic`, and the code of a whole text.

A text's code is that of its pieces, each padded to whole tokens, then a trailer of 4 bytes with the text's length.
No text has no code.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from models.equal_info.streams import arithmetic as ac
from models.equal_info.streams.fixed_point import FixedM1
from models.equal_info.streams.lockstep import LANES, in_lockstep
from models.equal_info.streams.models import Model
from shammie.errors import UserError
from shammie.jit import compiled

TRAILER_BYTES = 4


@compiled
def _encode_rows(picked, rows, text, nodes, memory, cumulative, upper, precision, symbols):
    for place in range(len(picked)):
        row = picked[place]
        symbols[place] = ac.encode_on(rows[row], text, nodes, memory[row], cumulative[row], upper[row], precision)


@compiled
def _decode_rows(picked, rows, data, nodes, memory, cumulative, out, precision, certain, symbols):
    for place in range(len(picked)):
        row = picked[place]
        symbols[place] = ac.decode_on(
            rows[row], data, nodes, memory[row], cumulative[row], out[row], precision, certain
        )


def encode_pieces(
    model: Model, text: np.ndarray, starts: np.ndarray, ends: np.ndarray, *, token_bytes: int, threads: int = 1
) -> list[np.ndarray]:
    """The code of each piece, padded to whole tokens.

    Args:
        model: the byte model.
        text: uint8 [bytes].
        starts: int64 [P].
        ends: int64 [P], above starts.
        token_bytes: 1 or 2.
        threads: that share the pieces.

    Returns:
        uint8 [code bytes] each.

    Raises:
        UserError: a model in floats did not say the same twice.
    """
    out: list[np.ndarray] = [np.zeros(0, np.uint8)] * len(starts)
    most = int((ends - starts).max(initial=0)) * model.precision // 16 + 8
    lanes = 1 if isinstance(model.predictor, FixedM1) else min(LANES, len(starts))
    nodes = model.nodes

    def run(jobs: np.ndarray) -> None:
        memory, cumulative = model.space(lanes)
        rows = np.zeros((lanes, ac.ROW_FIELDS), np.int64)
        upper, scratch = np.zeros((lanes, most), np.uint16), np.zeros(most, np.uint16)

        def start(row: int, job: int) -> None:
            ac.start_encoding(rows[row], starts[jobs[job]], ends[jobs[job]])

        def finish(row: int, job: int) -> bool:
            bits = int(ac.finish_encoding(rows[row], upper[row], scratch))
            size = -(-bits // (8 * token_bytes)) * token_bytes
            out[jobs[job]] = upper[row, : -(-size // 2)].astype(">u2").view(np.uint8)[:size]
            return True

        def advance(picked: np.ndarray) -> np.ndarray:
            symbols = np.empty(len(picked), np.int64)
            _encode_rows(picked, rows, text, nodes, memory, cumulative, upper, model.precision, symbols)
            return symbols

        if not isinstance(model.predictor, FixedM1):
            return in_lockstep(model, (memory, cumulative), len(jobs), start, advance, finish)
        for job in range(len(jobs)):
            start(0, job)
            ac.encode_piece(
                rows[0], text, nodes, model.predictor.fixed, memory[0], cumulative[0], upper[0], model.precision
            )
            finish(0, job)
        return None

    shared(run, len(starts), threads)
    if not model.predictor.exact:
        data, sizes = np.concatenate([*out, np.zeros(0, np.uint8)]), np.array([len(code) for code in out], np.int64)
        found = decode_pieces(model, data, np.cumsum(sizes) - sizes, ends - starts, token_bytes=token_bytes)
        for (piece, used), code, first, last in zip(found, out, starts, ends, strict=True):
            if not np.array_equal(piece, text[first:last]) or used != len(code):
                raise UserError("M1 in floats did not say the same twice here", "use the whole-number M1")
    return out


def shared(run: Callable[[np.ndarray], None], jobs: int, threads: int) -> None:
    """Runs `run` on the numbers of the jobs, dealt out to threads."""
    if threads == 1 or jobs < 2:
        run(np.arange(jobs))
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(run, [np.arange(first, jobs, threads) for first in range(min(threads, jobs))]))


def decode_pieces(
    model: Model, data: np.ndarray, starts: np.ndarray, limits: np.ndarray, *, token_bytes: int, certain: bool = False
) -> list[tuple[np.ndarray, int]]:
    """The texts of pieces.

    Args:
        model: the byte model.
        data: uint8 [bytes], the stream.
        starts: int64 [P], where the pieces' codes begin.
        limits: int64 [P], the most bytes of text of each.
        token_bytes: 1 or 2.
        certain: stop where bits beyond the stream would decide.

    Returns:
        For each piece its text, uint8, shorter than its limit where the stream ends before, and the bytes of its
        padded code, negative where the stream holds another one of the text's.
    """
    lanes = 1 if isinstance(model.predictor, FixedM1) else min(LANES, len(starts))
    memory, cumulative = model.space(lanes)
    rows, out = np.zeros((lanes, ac.ROW_FIELDS), np.int64), np.zeros((lanes, int(limits.max(initial=0))), np.uint8)
    found: list[tuple[np.ndarray, int]] = [(out[:0, 0], 0)] * len(starts)

    def start(row: int, job: int) -> None:
        ac.start_decoding(rows[row], data, starts[job], limits[job])

    def finish(row: int, job: int) -> bool:
        size = int(rows[row, ac.AT])
        bits = int(ac.padded_bits(rows[row], 8 * token_bytes)) if size else 0
        found[job] = out[row, :size].copy(), bits // 8
        return True

    def advance(picked: np.ndarray) -> np.ndarray:
        symbols = np.empty(len(picked), np.int64)
        _decode_rows(picked, rows, data, model.nodes, memory, cumulative, out, model.precision, certain, symbols)
        return symbols

    if not isinstance(model.predictor, FixedM1):
        in_lockstep(model, (memory, cumulative), len(starts), start, advance, finish)
        return found
    for job in range(len(starts)):
        start(0, job)
        ac.decode_piece(
            rows[0], data, model.nodes, model.predictor.fixed, memory[0], cumulative[0], out[0],
            model.precision, certain,
        )  # fmt: skip
        finish(0, job)
    return found


def _decode_piece(
    model: Model, data: np.ndarray, at: int, limit: int, token_bytes: int, *, certain: bool = False
) -> tuple[np.ndarray, int]:
    (found,) = decode_pieces(model, data, np.array([at]), np.array([limit]), token_bytes=token_bytes, certain=certain)
    return found


def decode_text(model: Model, data: np.ndarray, piece_bytes: int, token_bytes: int) -> bytes:
    """The text of a whole code.

    Raises:
        ValueError: it is cut or damaged.
    """
    if not len(data):
        return b""
    if len(data) <= TRAILER_BYTES:
        raise ValueError("the code is cut: it must end with the text's length in 4 bytes")
    body, size = data[:-TRAILER_BYTES], int.from_bytes(data[-TRAILER_BYTES:].tobytes(), "big")
    at, rest, found = 0, size, []
    while rest:
        limit = min(rest, piece_bytes)
        text, used = _decode_piece(model, data, at, limit, token_bytes)
        at, rest = at + used, rest - limit
        if len(text) < limit or used < 0 or at > len(body):
            raise ValueError(f"the code is cut or damaged: it does not hold the {size} bytes that its end names")
        found.append(text.tobytes())
    if at != len(body):
        raise ValueError(f"the code is damaged: {len(body) - at} bytes are left behind its {size} bytes of text")
    return b"".join(found)


def decode_text_prefix(model: Model, data: np.ndarray, piece_bytes: int, token_bytes: int) -> bytes:
    """What the bits of a code that was cut, or drawn by a model, decide for sure."""
    at, found = 0, []
    while at < len(data):
        text, used = _decode_piece(model, data, at, piece_bytes, token_bytes, certain=True)
        found.append(text.tobytes())
        at += abs(used)
        if len(text) < piece_bytes:
            break
    return b"".join(found)
