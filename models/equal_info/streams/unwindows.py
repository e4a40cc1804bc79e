"""Windows back to text: the beginning of the path of the window's point whose padded code it is.

Every beginning of the text of a code lies on one path, since the code is a point in all their intervals. A code that
no text has (a model may draw one) gives the longest beginning that fits.
"""

from models.equal_info.streams.fixed_point import fixed_step
from models.equal_info.streams.interval import (
    LEAST_WIDTH,
    LIMB_BITS,
    UNIT_LIMBS,
    UNIT_MASK,
    WHOLE,
    edges,
    fits,
    shortest,
    symbol_at,
)
from shammie.jit import compiled

# a row: window, end of the windows, windows since M1's start; place in the text, start of the window and of the piece;
# the interval, the point's place in it; the longest match; nodes; whether the room for text is used up; codes without
# a text of their own
(WINDOW, LAST, SINCE, AT, START, PIECE, LOW, WIDTH, COUNT, OFFSET, BEST, NODE, SAVED_NODE, FULL, STRANGE,
 ROW_FIELDS) = range(16)  # fmt: skip


@compiled
def _limb(code, place):
    return int(code[place]) if place < len(code) else 0


@compiled
def _start_window(row, code):
    row[LOW], row[WIDTH], row[COUNT], row[BEST] = 0, WHOLE, 0, 0
    row[OFFSET] = _limb(code, 0) << 32 | _limb(code, 1) << 16 | _limb(code, 2)


@compiled
def start_row(row, codes, window, last):
    """Sets a row to decode codes[window:last], M1 at its start."""
    row[:] = 0
    row[WINDOW], row[LAST] = window, last
    if window < last:
        _start_window(row, codes[window])


@compiled
def _rest_is_zero(code, place):
    zero = True
    for limb in range(place, len(code)):
        if code[limb]:
            zero = False
    return zero


@compiled
def decode_on(row, rule, codes, nodes, now, saved, text, lengths):
    """Decodes until M1 must read on.

    Args:
        row: int64 [ROW_FIELDS].
        rule: `windows.Rule`.
        codes: uint16 [windows, ceil(W / 16)].
        nodes: `nodes.Nodes`.
        now: as in `windows.windows_on`.
        saved: as there.
        text: uint8, receives the row's text; where there is no room left row[FULL] is set.
        lengths: int32 [windows], receives the bytes of each.

    Returns:
        The symbol that M1 must read, -1 at the end or where there is no room; then row[AT] bytes are decoded.
    """
    memory, cumulative = now
    saved_memory, saved_cumulative = saved
    row[FULL] = 0
    while row[WINDOW] < row[LAST]:
        at, start, node, width, count = row[AT], row[START], row[NODE], row[WIDTH], row[COUNT]
        if at >= len(text):
            row[FULL] = 1
            return -1
        if rule.greedy and row[BEST] > 0 and at == start + row[BEST]:
            row[SAVED_NODE] = node
            if node < 0:
                saved_memory[:] = memory
                saved_cumulative[:] = cumulative
        code = codes[row[WINDOW]]
        frequencies = nodes.cumulative[node] if node >= 0 else cumulative
        symbol = symbol_at(width, frequencies, row[OFFSET], rule.precision)
        below, above = edges(width, frequencies, symbol, rule.precision)
        low, width, offset = (row[LOW] + below) & UNIT_MASK, above - below, row[OFFSET] - below
        if width < LEAST_WIDTH:
            low, width = (low << LIMB_BITS) & UNIT_MASK, width << LIMB_BITS
            offset = offset << LIMB_BITS | _limb(code, UNIT_LIMBS + count)
            count += 1
        inside = fits(low, width, count, rule.window_bits)
        over = not inside  # the window's text is over, and its last byte does not count
        if inside:
            text[at] = symbol
            at += 1
            point, _ = shortest(low, width)
            if point == offset and _rest_is_zero(code, UNIT_LIMBS + count):
                row[BEST] = at - start
            at_end = rule.piece_bytes > 0 and at == row[PIECE] + rule.piece_bytes
            over = (row[BEST] > 0 and not rule.greedy) or at_end
        read_on = inside
        if over:
            best = row[BEST]
            if best == 0:  # no text has this code
                best = at - start
                row[STRANGE] += 1
            lengths[row[WINDOW]] = best
            row[WINDOW] += 1
            row[SINCE] += 1
            read_on = read_on and best == at - start
            if best < at - start:
                node = row[SAVED_NODE]
                if node < 0:
                    memory[:] = saved_memory
                    cumulative[:] = saved_cumulative
            at = start + best
            row[START] = at
            if row[WINDOW] < row[LAST]:
                _start_window(row, codes[row[WINDOW]])
            full_piece = rule.piece_bytes > 0 and at == row[PIECE] + rule.piece_bytes
            if full_piece or row[SINCE] == rule.reset_windows:
                row[PIECE] = at if full_piece else row[PIECE]
                row[SINCE], node, read_on = 0, 0, False
        else:
            row[LOW], row[WIDTH], row[COUNT], row[OFFSET] = low, width, count, offset
        row[AT] = at
        if read_on and row[WINDOW] < row[LAST]:
            if node >= 0:
                following = nodes.child[node, symbol]
                if following < 0:
                    memory[:] = nodes.memory[node]
                node = following
            row[NODE] = node
            if node < 0:
                return symbol
        row[NODE] = node
    return -1


@compiled
def decode_windows(row, rule, codes, nodes, fixed, now, saved, text, lengths):
    """Decodes a row to its end, or to that of the room, with the whole-number M1."""
    symbol = decode_on(row, rule, codes, nodes, now, saved, text, lengths)
    while symbol >= 0:
        fixed_step(fixed, now[0], symbol, rule.precision, now[1])
        symbol = decode_on(row, rule, codes, nodes, now, saved, text, lengths)
