"""Equal-Info windows of any width: what text fits W bits, and back (arXiv:2404.03626 sections 3.3, A.5, D.5).

A window is the longest beginning of what is left of the text whose arithmetic code fits W bits; zeros fill it up. The
paper decodes a window to the longest string of its padded code, which loses text. Here (`greedy` false) it decodes to
the shortest, and a window only ends where its text is that: where no shorter beginning has the same padded code.
Single bytes always are, so there is always such a window. For W = 16 this is the code `delay`.

Padded codes that a beginning repeats are points inside its interval, as short as its own code; an interval holds no
more than a few, so those of all beginnings so far are kept as long as they lie inside (`points`).
State fields are in `ROW`, settings in `Rule`.
"""

from typing import NamedTuple

from models.equal_info.streams.fixed_point import fixed_step
from models.equal_info.streams.interval import (
    LEAST_WIDTH,
    LIMB_BITS,
    UNIT_BITS,
    UNIT_MASK,
    WHOLE,
    carry,
    edges,
    fits,
    shortest,
    write_point,
)
from shammie.jit import compiled

# a row: place in the text, start of the window, end of the piece, end of the text, number of the window, windows
# since M1's start; the interval; its points; best length; nodes of the frequencies now and after the best beginning
(AT, START, END, TEXT_END, WINDOW, SINCE, LOW, WIDTH, COUNT, POINTS, BEST, NODE, SAVED_NODE, ROW_FIELDS) = range(14)
MOST_POINTS = 8  # dyadic points as short as an interval's own code: below 5 lie inside it
UPPER_LIMBS = 16


class Rule(NamedTuple):
    """How windows are made.

    Attributes:
        window_bits: W.
        precision: the bits of the total frequency.
        reset_windows: M1 begins anew after so many windows, 0 for never.
        piece_bytes: and after so many bytes, where windows end too; 0 for never.
        greedy: the paper's rule as written.
    """

    window_bits: int
    precision: int
    reset_windows: int
    piece_bytes: int
    greedy: bool


@compiled
def start_windows(row, rule, at, text_end, window):
    """Sets a row to encode text[at:text_end], its first window having a number."""
    row[AT], row[START], row[TEXT_END], row[WINDOW] = at, at, text_end, window
    row[END] = text_end if rule.piece_bytes == 0 else min(text_end, at + rule.piece_bytes)
    row[SINCE], row[NODE], row[SAVED_NODE] = 0, 0, 0
    row[LOW], row[WIDTH], row[COUNT], row[POINTS], row[BEST] = 0, WHOLE, 0, 0, 0


@compiled
def _is_new_point(points, count, offset):
    """Whether none of the points is this one."""
    new = True
    for place in range(count):
        if points[place] == offset:
            new = False
    return new


@compiled
def _move_points(points, count, below, width):
    """Keeps the points that lie in a part of the interval, in units from its start; returns their number."""
    kept = 0
    for place in range(count):
        offset = points[place] - below
        if 0 <= offset < width:
            points[kept] = offset
            kept += 1
    return kept


@compiled
def windows_on(row, rule, text, longest, nodes, now, saved, limbs, codes, lengths):
    """Encodes until M1 must read on.

    Args:
        row: int64 [ROW_FIELDS].
        rule: `Rule`.
        text: uint8 [bytes].
        longest: int [bytes], the most bytes that a window may have which starts there; empty for no such bounds.
        nodes: `nodes.Nodes`.
        now: (memory before the symbol that is returned, cumulative int32 [257] unless the row is at a node).
        saved: the same after the best beginning so far.
        limbs: (points int64 [MOST_POINTS], upper int64 [UPPER_LIMBS], best uint16 [ceil(W / 16)]).
        codes: uint16 [windows, ceil(W / 16)], receives codes.
        lengths: int32 [windows], receives the bytes of each.

    Returns:
        The symbol that M1 must read, -1 at the end.
    """
    memory, cumulative = now
    saved_memory, saved_cumulative = saved
    points, upper, best_code = limbs
    at, start, low, width, count, node = row[AT], row[START], row[LOW], row[WIDTH], row[COUNT], row[NODE]
    held, best, end, symbol = row[POINTS], row[BEST], row[END], -1
    keeps_context = rule.reset_windows != 1
    while start < row[TEXT_END]:
        if keeps_context and best > 0 and at == start + best:
            row[SAVED_NODE] = node
            if node < 0:
                saved_memory[:] = memory
                saved_cumulative[:] = cumulative
        symbol = int(text[at])
        frequencies = nodes.cumulative[node] if node >= 0 else cumulative
        below, above = edges(width, frequencies, symbol, rule.precision)
        low, width = low + below, above - below
        if low >> UNIT_BITS:
            carry(upper, count)
            low &= UNIT_MASK
        held = _move_points(points, held, below, width)
        if width < LEAST_WIDTH:
            upper[count] = low >> (UNIT_BITS - LIMB_BITS)
            count += 1
            low, width = (low << LIMB_BITS) & UNIT_MASK, width << LIMB_BITS
            for place in range(held):
                points[place] <<= LIMB_BITS
        inside = fits(low, width, count, rule.window_bits)
        if inside:
            at += 1
            offset, _ = shortest(low, width)
            new = _is_new_point(points, held, offset)
            if new and held < MOST_POINTS:
                points[held] = offset
                held += 1
            allowed = len(longest) == 0 or at - start <= longest[start]
            if (new or rule.greedy) and allowed:
                best = at - start
                write_point(upper, count, low + offset, best_code)
            if at < end:
                if node >= 0:
                    following = nodes.child[node, symbol]
                    if following < 0:
                        memory[:] = nodes.memory[node]
                    node = following
                if node < 0:
                    break
                continue
        # the window is closed
        codes[row[WINDOW]] = best_code
        lengths[row[WINDOW]] = best
        row[WINDOW] += 1
        row[SINCE] += 1
        start += best
        if start == end:
            end = row[TEXT_END] if rule.piece_bytes == 0 else min(row[TEXT_END], start + rule.piece_bytes)
            node, row[SINCE] = 0, 0
        elif row[SINCE] == rule.reset_windows:
            node, row[SINCE] = 0, 0
        else:
            node = row[SAVED_NODE]
            if node < 0:
                memory[:] = saved_memory
                cumulative[:] = saved_cumulative
        at, low, width, count, held, best, symbol = start, 0, WHOLE, 0, 0, 0, -1
    row[AT], row[START], row[LOW], row[WIDTH], row[COUNT], row[NODE] = at, start, low, width, count, node
    row[POINTS], row[BEST], row[END] = held, best, end
    return symbol


@compiled
def encode_windows(row, rule, text, longest, nodes, fixed, now, saved, limbs, codes, lengths):
    """Encodes a row to its end with the whole-number M1."""
    symbol = windows_on(row, rule, text, longest, nodes, now, saved, limbs, codes, lengths)
    while symbol >= 0:
        fixed_step(fixed, now[0], symbol, rule.precision, now[1])
        symbol = windows_on(row, rule, text, longest, nodes, now, saved, limbs, codes, lengths)
