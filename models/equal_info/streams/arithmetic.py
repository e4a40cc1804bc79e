"""Plain arithmetic coding of pieces: the whole piece is one interval, its shortest code is the piece's (section 3.3).

A piece's bits are padded with zeros to whole tokens. Where a piece ends its code does not say: decoders are told how
many bytes it has, and find the length of its code as the encoder did. State fields are in `ROW`; R = rows.
"""

from models.equal_info.streams.fixed_point import fixed_step
from models.equal_info.streams.interval import (
    LEAST_WIDTH,
    LIMB_BITS,
    UNIT_BITS,
    UNIT_MASK,
    WHOLE,
    carry,
    edges,
    shortest,
    symbol_at,
    write_point,
)
from shammie.jit import compiled

# the fields of a row: place in the text, its end, interval, limbs or bits read, the frequencies' node
AT, END, LOW, WIDTH, COUNT, NODE, OFFSET, NEXT, LIMIT, ROW_FIELDS = range(10)


@compiled
def start_encoding(row, at, end):
    """Sets a row to encode text[at:end]."""
    row[AT], row[END], row[LOW], row[WIDTH], row[COUNT], row[NODE] = at, end, 0, WHOLE, 0, 0


@compiled
def encode_on(row, text, nodes, memory, cumulative, upper, precision):
    """Encodes until M1 must read on.

    Args:
        row: int64 [ROW_FIELDS].
        text: uint8 [bytes].
        nodes: `nodes.Nodes`, what M1 says after its likeliest beginnings.
        memory: M1's, before the symbol that is returned.
        cumulative: int32 [257], what M1 says now, unless the row is at a node.
        upper: uint16, receives the code.
        precision: the bits of the total frequency.

    Returns:
        The symbol that M1 must read, -1 at the end.
    """
    at, low, width, count, node = row[AT], row[LOW], row[WIDTH], row[COUNT], row[NODE]
    symbol = -1
    while at < row[END]:
        symbol = int(text[at])
        frequencies = nodes.cumulative[node] if node >= 0 else cumulative
        below, above = edges(width, frequencies, symbol, precision)
        low, width = low + below, above - below
        if low >> UNIT_BITS:
            carry(upper, count)
            low &= UNIT_MASK
        if width < LEAST_WIDTH:
            upper[count] = low >> (UNIT_BITS - LIMB_BITS)
            count += 1
            low, width = (low << LIMB_BITS) & UNIT_MASK, width << LIMB_BITS
        at += 1
        if at == row[END]:
            symbol = -1
            break
        if node >= 0:
            following = nodes.child[node, symbol]
            if following < 0:
                memory[:] = nodes.memory[node]
            node = following
        if node < 0:
            break
    row[AT], row[LOW], row[WIDTH], row[COUNT], row[NODE] = at, low, width, count, node
    return symbol


@compiled
def finish_encoding(row, upper, scratch):
    """Writes the shortest code of a row's interval into its limbs; returns the number of its bits."""
    count = row[COUNT]
    offset, step = shortest(row[LOW], row[WIDTH])
    scratch[: count + 3] = upper[: count + 3]
    write_point(scratch, count, row[LOW] + offset, upper[: count + 3])
    return UNIT_BITS + LIMB_BITS * count - step


@compiled
def _limb(data, byte):
    """16 bits of a stream from a byte on; zeros follow its end."""
    first = int(data[byte]) if byte < len(data) else 0
    second = int(data[byte + 1]) if byte + 1 < len(data) else 0
    return first << 8 | second


@compiled
def start_decoding(row, data, at, limit):
    """Sets a row to decode a piece that begins at a byte of the stream, and has `limit` bytes of text at most."""
    row[AT], row[LIMIT], row[LOW], row[WIDTH], row[COUNT], row[NODE] = 0, limit, 0, WHOLE, 0, 0
    row[OFFSET] = _limb(data, at) << 32 | _limb(data, at + 2) << 16 | _limb(data, at + 4)
    row[NEXT], row[END] = at + 6, at


@compiled
def decode_on(row, data, nodes, memory, cumulative, out, precision, certain):
    """Decodes until M1 must read on.

    Args:
        row: int64 [ROW_FIELDS].
        data: uint8 [bytes], the stream.
        nodes: as in `encode_on`.
        memory: as in `encode_on`.
        cumulative: as in `encode_on`.
        out: uint8, receives the piece's text.
        precision: the bits of the total frequency.
        certain: stop before the first byte that bits beyond the stream's end would decide.

    Returns:
        The symbol that M1 must read, -1 at the end; then row[AT] is the number of bytes.
    """
    at, low, width, count, node = row[AT], row[LOW], row[WIDTH], row[COUNT], row[NODE]
    offset, symbol = row[OFFSET], -1
    stream_bits = 8 * (len(data) - row[END])
    while at < row[LIMIT]:
        frequencies = nodes.cumulative[node] if node >= 0 else cumulative
        symbol = symbol_at(width, frequencies, offset, precision)
        below, above = edges(width, frequencies, symbol, precision)
        unknown = UNIT_BITS + LIMB_BITS * count - stream_bits
        if unknown > UNIT_BITS or (certain and unknown > 0 and offset + (1 << unknown) > above):
            symbol = -1
            break
        out[at] = symbol
        low, width, offset = (low + below) & UNIT_MASK, above - below, offset - below
        if width < LEAST_WIDTH:
            low, width = (low << LIMB_BITS) & UNIT_MASK, width << LIMB_BITS
            offset = offset << LIMB_BITS | _limb(data, row[NEXT])
            row[NEXT] += 2
            count += 1
        at += 1
        if at == row[LIMIT]:
            symbol = -1
            break
        if node >= 0:
            following = nodes.child[node, symbol]
            if following < 0:
                memory[:] = nodes.memory[node]
            node = following
        if node < 0:
            break
    row[AT], row[LOW], row[WIDTH], row[COUNT], row[NODE], row[OFFSET] = at, low, width, count, node, offset
    return symbol


@compiled
def padded_bits(row, token_bits):
    """The bits of the padded code of what a row has decoded; negative where the stream holds another of its codes."""
    point, step = shortest(row[LOW], row[WIDTH])
    bits = UNIT_BITS + LIMB_BITS * row[COUNT] - step
    padding = -bits % token_bits
    beyond = row[OFFSET] - point  # what the stream says behind the code: the padding's zeros, then what follows
    own = 0 <= beyond < 1 << (step - padding)
    return bits + padding if own else -bits - padding


@compiled
def encode_piece(row, text, nodes, fixed, memory, cumulative, upper, precision):
    """Encodes a row to its end with the whole-number M1."""
    symbol = encode_on(row, text, nodes, memory, cumulative, upper, precision)
    while symbol >= 0:
        fixed_step(fixed, memory, symbol, precision, cumulative)
        symbol = encode_on(row, text, nodes, memory, cumulative, upper, precision)


@compiled
def decode_piece(row, data, nodes, fixed, memory, cumulative, out, precision, certain):
    """Decodes a row to its end with the whole-number M1."""
    symbol = decode_on(row, data, nodes, memory, cumulative, out, precision, certain)
    while symbol >= 0:
        fixed_step(fixed, memory, symbol, precision, cumulative)
        symbol = decode_on(row, data, nodes, memory, cumulative, out, precision, certain)
