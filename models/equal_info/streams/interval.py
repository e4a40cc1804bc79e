"""An arithmetic coder's interval of any depth, in exact integers.

An interval is [low, low + width) in units of 2^-(48 + 16 n). Whenever its width falls below 2^32 the unit shrinks by
2^16: width and low are multiplied, nothing is rounded, so the interval stays exact for ever. The width is at most
2^48, and times a frequency of 14 bits below 2^62. Only the last 48 bits of low are at hand; those before are `upper`,
16 bits each, which a carry may still change. Sources: arXiv:2404.03626 section 2.4; for windows of 16 bits and less
nothing shrinks, and all is as in `models.equal_info.coder`.
"""

from shammie.jit import compiled, inlined

PRECISION_BITS = 14  # of the total frequency, the paper's; fewer in shorter windows, so that any byte fits
UNIT_BITS = 48
WHOLE = 1 << UNIT_BITS
LIMB_BITS = 16
LIMB = 1 << LIMB_BITS
UNIT_LIMBS = UNIT_BITS // LIMB_BITS
LEAST_WIDTH = 1 << 32
UNIT_MASK = WHOLE - 1


@inlined
def edges(width, cumulative, symbol, precision):
    """Where a symbol's part of the interval begins and ends, in units from low."""
    return (width * cumulative[symbol]) >> precision, (width * cumulative[symbol + 1]) >> precision


@compiled
def symbol_at(width, cumulative, offset, precision):
    """The symbol whose part holds the point low + offset."""
    least, most = 0, 256  # the part of `least` begins at or below the point, that of `most` above
    while most - least > 1:
        middle = (least + most) >> 1
        if (width * cumulative[middle]) >> precision <= offset:
            least = middle
        else:
            most = middle
    return least


@compiled
def carry(upper, count):
    """Adds one to the last of `count` limbs."""
    place = count - 1
    while place >= 0:
        limb = int(upper[place]) + 1
        upper[place] = limb & (LIMB - 1)
        place = place - 1 if limb == LIMB else -1


@compiled
def log2_floor(width):
    """The place of the highest bit of a width from 2^32 to 2^48."""
    bits = 32
    if width >> 40:
        bits += 8
    if width >> (bits + 4):
        bits += 4
    if width >> (bits + 2):
        bits += 2
    if width >> (bits + 1):
        bits += 1
    return bits


@compiled
def fits(low, width, count, window_bits):
    """Whether a binary expansion of at most window_bits bits lies, with all its continuations, inside.

    Args:
        low: its last 48 bits.
        width: from 2^32 to 2^48.
        count: n, limbs above.
        window_bits: W.
    """
    step = UNIT_BITS + LIMB_BITS * count - window_bits
    inside = step <= 0
    if 0 < step <= UNIT_BITS:
        first = ((low + (1 << step) - 1) >> step) << step
        inside = first + (1 << step) <= low + width
    return inside


@compiled
def shortest(low, width):
    """The shortest binary expansion inside, the lowest of its length.

    Returns:
        Its point, in units from low, and s: it has 48 + 16 n - s bits.
    """
    step = log2_floor(width)
    first = ((low + (1 << step) - 1) >> step) << step
    if first + (1 << step) > low + width:  # then one of half the size lies inside for sure
        step -= 1
        first = ((low + (1 << step) - 1) >> step) << step
    return first - low, step


@compiled
def write_point(upper, count, point, out):
    """Writes the limbs of a point: those of low's upper part, then the 48 bits of low + offset, with the carry."""
    for place in range(min(count, len(out))):
        out[place] = upper[place]
    if point >> UNIT_BITS:
        limb = count - 1
        while limb >= 0:  # a limb that is not in `out` holds zeros, but passes the carry on
            raised = int(upper[limb]) + 1
            if limb < len(out):
                out[limb] = raised & (LIMB - 1)
            limb = limb - 1 if raised == LIMB else -1
    for place in range(UNIT_LIMBS):
        if count + place < len(out):
            out[count + place] = (point >> (UNIT_BITS - LIMB_BITS * (place + 1))) & (LIMB - 1)
    for place in range(count + UNIT_LIMBS, len(out)):
        out[place] = 0
