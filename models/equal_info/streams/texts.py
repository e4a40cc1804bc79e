"""Windows over texts: drivers of `windows` and `unwindows`. T = texts, L = limbs of a window."""

from functools import partial

import numpy as np

from models.equal_info.streams import unwindows, windows
from models.equal_info.streams.fixed_point import FixedM1
from models.equal_info.streams.lockstep import LANES, in_lockstep
from models.equal_info.streams.models import Model
from models.equal_info.streams.pieces import shared
from models.equal_info.streams.windows import Rule
from shammie.errors import UserError
from shammie.jit import compiled

UNBOUNDED = np.zeros(0, np.int64)
UNBOUNDED_BYTES = 1 << 30
FIRST_ROOM = 4096


@compiled
def _encode_rows(picked, rows, rule, text, longest, nodes, now, saved, limbs, codes, lengths, symbols):
    for place in range(len(picked)):
        row = picked[place]
        symbols[place] = windows.windows_on(
            rows[row],
            rule,
            text,
            longest,
            nodes,
            (now[0][row], now[1][row]),
            (saved[0][row], saved[1][row]),
            (limbs[0][row], limbs[1][row], limbs[2][row]),
            codes,
            lengths,
        )


@compiled
def _decode_rows(picked, rows, rule, codes, nodes, now, saved, text, lengths, symbols):
    for place in range(len(picked)):
        row = picked[place]
        symbols[place] = unwindows.decode_on(
            rows[row],
            rule,
            codes,
            nodes,
            (now[0][row], now[1][row]),
            (saved[0][row], saved[1][row]),
            text[row],
            lengths,
        )


def encode_texts(
    model: Model, rule: Rule, text: np.ndarray, offsets: np.ndarray, *, threads: int = 1, verifier: Model | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The windows of texts.

    With a model in floats every window is decoded again. One that does not come back is made a byte shorter, or one
    before it is, until all do.

    Args:
        model: the byte model.
        rule: how windows are made.
        text: uint8 [bytes], all texts.
        offsets: int64 [T + 1], where they begin in it.
        threads: that share the texts.
        verifier: the model to decode with; None for the same.

    Returns:
        Codes uint16 [windows, L], lengths in bytes int32 [windows], and int64 [T + 1], where each text's begin.

    Raises:
        UserError: the first bytes of a text did not come back, however short their windows.
    """
    verifier = verifier or model
    longest = UNBOUNDED
    while True:
        codes, lengths, counts = _encode_texts(model, rule, text, offsets, longest, threads)
        bounds = np.concatenate([[0], np.cumsum(counts)])
        kept = np.repeat(offsets[:-1] - bounds[:-1], counts) + np.arange(bounds[-1])
        codes, lengths = codes[kept], lengths[kept]
        if verifier.predictor.exact or rule.greedy:
            return codes, lengths, bounds
        starts = offsets[0] + np.cumsum(lengths, dtype=np.int64) - lengths  # windows tile the texts
        wrong = _first_wrong(verifier, rule, codes, lengths, bounds, starts, text, offsets)
        if not len(wrong):
            return codes, lengths, bounds
        longest = np.full(len(text), UNBOUNDED_BYTES) if not len(longest) else longest
        for window in wrong.tolist():
            _shorten(longest, window, lengths, bounds, starts, offsets)


def _shorten(
    longest: np.ndarray, window: int, lengths: np.ndarray, bounds: np.ndarray, starts: np.ndarray, offsets: np.ndarray
) -> None:
    """Has a window end a byte earlier; where it has no byte to spare, one before it, so that M1's context differs."""
    text = int(np.searchsorted(bounds, window, side="right")) - 1
    while lengths[window] == 1:
        window -= 1
        if window < bounds[text]:
            raise UserError(
                "M1 in floats did not say the same twice: the first byte of a text did not come back",
                "use a recurrent M1, which becomes whole numbers",
            )
    longest[starts[window] + 1 : offsets[text + 1]] = UNBOUNDED_BYTES  # what follows is coded anew
    longest[starts[window]] = lengths[window] - 1


def _encode_texts(
    model: Model, rule: Rule, text: np.ndarray, offsets: np.ndarray, longest: np.ndarray, threads: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes and lengths at the place of each text's first byte on, and each text's number of windows, int64 [T]."""
    count, width = len(offsets) - 1, -(-rule.window_bits // 16)
    # as many windows as bytes is the worst case; memory that is not written to costs nothing
    codes, lengths = np.empty((len(text), width), np.uint16), np.empty(len(text), np.int32)
    counts, nodes = np.zeros(count, np.int64), model.nodes
    order = np.argsort(-np.diff(offsets), kind="stable")  # the longest first, so that none is left over alone
    order = order[np.diff(offsets)[order] > 0]
    lanes = 1 if isinstance(model.predictor, FixedM1) else max(1, min(LANES, len(order)))

    def run(jobs: np.ndarray) -> None:
        now, saved = model.space(lanes), model.space(lanes)
        rows = np.zeros((lanes, windows.ROW_FIELDS), np.int64)
        limbs = (
            np.zeros((lanes, windows.MOST_POINTS), np.int64),
            np.zeros((lanes, windows.UPPER_LIMBS), np.int64),
            np.zeros((lanes, width), np.uint16),
        )

        def start(row: int, job: int) -> None:
            at, end = offsets[order[jobs[job]]], offsets[order[jobs[job]] + 1]
            windows.start_windows(rows[row], rule, at, end, at)

        def finish(row: int, job: int) -> bool:
            counts[order[jobs[job]]] = rows[row, windows.WINDOW] - offsets[order[jobs[job]]]
            return True

        def advance(picked: np.ndarray) -> np.ndarray:
            symbols = np.empty(len(picked), np.int64)
            _encode_rows(picked, rows, rule, text, longest, nodes, now, saved, limbs, codes, lengths, symbols)
            return symbols

        if not isinstance(model.predictor, FixedM1):
            return in_lockstep(model, now, len(jobs), start, advance, finish)
        for job in range(len(jobs)):
            start(0, job)
            windows.encode_windows(
                rows[0], rule, text, longest, nodes, model.predictor.fixed, (now[0][0], now[1][0]),
                (saved[0][0], saved[1][0]), (limbs[0][0], limbs[1][0], limbs[2][0]), codes, lengths,
            )  # fmt: skip
            finish(0, job)
        return None

    shared(run, len(order), threads)
    return codes, lengths, counts


def decode_rows(
    model: Model, rule: Rule, codes: np.ndarray, firsts: np.ndarray, lasts: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray, int]:
    """The texts of runs of windows, each of which M1 begins anew.

    Args:
        model: the byte model.
        rule: how windows were made.
        codes: uint16 [windows, L].
        firsts: int64 [R], the first window of each run.
        lasts: int64 [R], the window behind its last.

    Returns:
        uint8 [bytes] of each run, the bytes of each window int32 [windows], and the number of codes no text has.
    """
    fixed = model.predictor.fixed if isinstance(model.predictor, FixedM1) else None
    lanes = 1 if fixed else max(1, min(LANES, len(firsts)))
    now, saved, nodes = model.space(lanes), model.space(lanes), model.nodes
    rows, lengths = np.zeros((lanes, unwindows.ROW_FIELDS), np.int64), np.zeros(len(codes), np.int32)
    room = [np.zeros((lanes, FIRST_ROOM), np.uint8)]
    found, strange = [room[0][0, :0]] * len(firsts), [0]

    def start(row: int, job: int) -> None:
        unwindows.start_row(rows[row], codes, firsts[job], lasts[job])

    def finish(row: int, job: int) -> bool:
        if rows[row, unwindows.FULL]:
            if rows[row, unwindows.AT] >= room[0].shape[1]:
                room[0] = np.concatenate([room[0], np.zeros_like(room[0])], axis=1)
            return False
        found[job] = room[0][row, : rows[row, unwindows.AT]].copy()
        strange[0] += int(rows[row, unwindows.STRANGE])
        return True

    def advance(picked: np.ndarray) -> np.ndarray:
        symbols = np.empty(len(picked), np.int64)
        _decode_rows(picked, rows, rule, codes, nodes, now, saved, room[0], lengths, symbols)
        return symbols

    if fixed is None:
        in_lockstep(model, now, len(firsts), start, advance, finish)
        return found, lengths, strange[0]
    decode = partial(unwindows.decode_windows, rows[0], rule, codes, nodes, fixed)
    for job in range(len(firsts)):
        start(0, job)
        while True:
            decode((now[0][0], now[1][0]), (saved[0][0], saved[1][0]), room[0][0], lengths)
            if finish(0, job):
                break
    return found, lengths, strange[0]


def decode_text(model: Model, rule: Rule, codes: np.ndarray) -> tuple[bytes, int]:
    """The text of all windows of one text, and the number of windows that no text has."""
    step = rule.reset_windows
    if step == 0 or isinstance(model.predictor, FixedM1):
        firsts = np.zeros(min(1, len(codes)), np.int64)
        lasts = firsts + len(codes)
    else:
        firsts = np.arange(0, len(codes), step)
        lasts = np.minimum(firsts + step, len(codes))
    found, _, strange = decode_rows(model, rule, codes, firsts, lasts)
    return b"".join(part.tobytes() for part in found), strange


def _first_wrong(
    verifier: Model,
    rule: Rule,
    codes: np.ndarray,
    lengths: np.ndarray,
    bounds: np.ndarray,
    starts: np.ndarray,
    text: np.ndarray,
    offsets: np.ndarray,
) -> np.ndarray:
    """The first window of each text that does not come back, int64."""
    number = np.arange(len(codes)) - np.repeat(bounds[:-1], np.diff(bounds))
    if rule.reset_windows:
        begins = number % rule.reset_windows == 0
    else:
        begins = (starts - np.repeat(offsets[:-1], np.diff(bounds))) % rule.piece_bytes == 0
    firsts = np.flatnonzero(begins)
    lasts = np.append(firsts[1:], len(codes))
    found, back, _ = decode_rows(verifier, rule, codes, firsts, lasts)
    wrong = back != lengths
    # equal lengths, so each window's text lies where the encoder's does: compare byte by byte
    for first, last, part in zip(firsts.tolist(), lasts.tolist(), found, strict=True):
        place = 0
        for window in range(first, last):
            size, at = int(lengths[window]), int(starts[window])
            wrong[window] |= not np.array_equal(part[place : place + size], text[at : at + size])
            place += int(back[window])
    owners = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    all_wrong = np.flatnonzero(wrong)
    return all_wrong[np.unique(owners[all_wrong], return_index=True)[1]] if len(all_wrong) else all_wrong
