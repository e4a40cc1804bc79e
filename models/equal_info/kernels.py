"""The hot loops of a codec: text to codes and back.

Latency decides the speed: each byte needs a table look-up that waits for the one before. So six places of the
text are encoded side by side ("lanes"). A long document is cut into pieces that start anywhere; each is encoded
as if a token began there, and `join_pieces` then walks on from the piece before until both agree on a token
border, from where on they must agree for ever. The result is exactly the longest match from the document's start.
"""

import numpy as np

from models.equal_info.automaton import CODE_BITS, LABEL_BITS, ROOT_SLOT
from shammie.jit import compiled, copy_16_bytes, inlined

LANES = 6
_LABEL_MASK = (1 << LABEL_BITS) - 1
_CODE_MASK = (1 << CODE_BITS) - 1
COPY_BYTES = 16
LENGTH_BITS = 7
LENGTH_MASK = (1 << LENGTH_BITS) - 1


@inlined
def _step(units, emits, text, codes, base, state, at, out):
    """Reads the byte at `at`, or emits a code to `out` where the state has no child for it.

    The two outcomes meet again in one return: with a return in each branch the inlined loop runs five times slower.
    """
    byte = np.int64(text[at])
    child = base ^ byte
    unit = np.int64(units[child])
    if (unit & _LABEL_MASK) == byte:
        return unit >> LABEL_BITS, child, at + 1, out
    emit = emits[state]
    codes[out] = emit & _CODE_MASK
    rest = emit >> CODE_BITS
    at_root = rest == ROOT_SLOT
    rest = byte if at_root else rest  # from the root every byte has a child, at the slot of its own number
    return np.int64(units[rest]) >> LABEL_BITS, rest, at + np.int64(at_root), out + 1


@compiled
def _encode_from(units, emits, text, codes, state, at, end, out):
    """Encodes text[at:end] from a state, one lane; returns the last state and the end of the codes."""
    base = np.int64(units[state]) >> LABEL_BITS
    while at < end:
        base, state, at, out = _step(units, emits, text, codes, base, state, at, out)
    return state, out


@compiled
def encode_pieces(units, emits, text, starts, ends, codes, counts, states):
    """Encodes pieces of text, each from the root, six at a time.

    Args:
        units: uint32 [S], the automaton's.
        emits: int64 [S], the automaton's.
        text: uint8 [bytes].
        starts: int64 [P], where pieces start in the text.
        ends: int64 [P], where they end.
        codes: uint16 [bytes], receives a piece's codes from the piece's start on.
        counts: int64 [P], receives the number of codes.
        states: int64 [P], receives the state in which the piece ends (text read since its last token).
    """
    pieces = len(starts)
    piece = np.full(LANES, -1, np.int64)
    base = np.zeros(LANES, np.int64)
    state = np.zeros(LANES, np.int64)
    at = np.zeros(LANES, np.int64)
    out = np.zeros(LANES, np.int64)
    root_base = np.int64(units[ROOT_SLOT]) >> LABEL_BITS
    following = 0
    while True:
        steps = np.int64(1) << 62
        for lane in range(LANES):
            while piece[lane] < 0 or at[lane] == ends[piece[lane]]:  # finished: take the next piece
                if piece[lane] >= 0:
                    counts[piece[lane]] = out[lane] - starts[piece[lane]]
                    states[piece[lane]] = state[lane]
                    piece[lane] = -1
                if following == pieces:
                    steps = 0
                    break
                piece[lane], base[lane], state[lane] = following, root_base, ROOT_SLOT
                at[lane] = out[lane] = starts[following]
                following += 1
            if steps:
                steps = min(steps, ends[piece[lane]] - at[lane])
        if steps == 0:
            break
        b0, s0, a0, o0 = base[0], state[0], at[0], out[0]
        b1, s1, a1, o1 = base[1], state[1], at[1], out[1]
        b2, s2, a2, o2 = base[2], state[2], at[2], out[2]
        b3, s3, a3, o3 = base[3], state[3], at[3], out[3]
        b4, s4, a4, o4 = base[4], state[4], at[4], out[4]
        b5, s5, a5, o5 = base[5], state[5], at[5], out[5]
        for _ in range(steps):  # a step reads at most one byte, so no lane can pass its end
            b0, s0, a0, o0 = _step(units, emits, text, codes, b0, s0, a0, o0)
            b1, s1, a1, o1 = _step(units, emits, text, codes, b1, s1, a1, o1)
            b2, s2, a2, o2 = _step(units, emits, text, codes, b2, s2, a2, o2)
            b3, s3, a3, o3 = _step(units, emits, text, codes, b3, s3, a3, o3)
            b4, s4, a4, o4 = _step(units, emits, text, codes, b4, s4, a4, o4)
            b5, s5, a5, o5 = _step(units, emits, text, codes, b5, s5, a5, o5)
        base[0], state[0], at[0], out[0] = b0, s0, a0, o0
        base[1], state[1], at[1], out[1] = b1, s1, a1, o1
        base[2], state[2], at[2], out[2] = b2, s2, a2, o2
        base[3], state[3], at[3], out[3] = b3, s3, a3, o3
        base[4], state[4], at[4], out[4] = b4, s4, a4, o4
        base[5], state[5], at[5], out[5] = b5, s5, a5, o5
    for lane in range(LANES):  # fewer pieces than lanes are left: finish them one after another
        number = piece[lane]
        if number >= 0:
            last, end = _encode_from(units, emits, text, codes, state[lane], at[lane], ends[number], out[lane])
            counts[number] = end - starts[number]
            states[number] = last


@compiled
def join_pieces(units, emits, text, starts, ends, codes, counts, states, lengths, first_pieces, joined, joined_ends):
    """Joins the pieces of each document into its codes.

    Args:
        units: uint32 [S], the automaton's.
        emits: int64 [S], the automaton's.
        text: uint8 [bytes].
        starts: int64 [P], as `encode_pieces`.
        ends: int64 [P].
        codes: uint16 [bytes], from `encode_pieces`.
        counts: int64 [P], from `encode_pieces`.
        states: int64 [P], from `encode_pieces`.
        lengths: int64 [65536], the number of bytes a code stands for in the segmentation.
        first_pieces: int64 [D + 1], the pieces of document d are first_pieces[d] .. first_pieces[d + 1] - 1.
        joined: uint16 [bytes], receives the codes of all documents without gaps.
        joined_ends: int64 [D], receives the end of each document's codes in `joined`.
    """
    out = 0
    for document in range(len(first_pieces) - 1):
        state = np.int64(ROOT_SLOT)
        border = np.int64(0)  # where the next token starts
        for number in range(first_pieces[document], first_pieces[document + 1]):
            start = starts[number]
            read, read_end = start, start + counts[number]
            if number == first_pieces[document]:
                border = start
            guess = start  # the border before the guessed code at `read`
            base = np.int64(units[state]) >> LABEL_BITS
            at = start
            agreed = border == guess
            while at < ends[number] and not agreed:
                before = out
                base, state, at, out = _step(units, emits, text, joined, base, state, at, out)
                if out > before:
                    border += lengths[joined[out - 1]]
                    while guess < border and read < read_end:
                        guess += lengths[codes[read]]
                        read += 1
                    agreed = guess == border
            if agreed:
                size = read_end - read
                joined[out : out + size] = codes[read:read_end]
                out += size
                for code in codes[read:read_end]:
                    border += lengths[code]
                state = states[number]
        while state != ROOT_SLOT:
            emit = emits[state]
            joined[out] = emit & _CODE_MASK
            state = emit >> CODE_BITS
            out += 1
        joined_ends[document] = out


@compiled
def decoded_size(codes, strings):
    """The bytes that codes decode to, or -1 - i where code i is none of the vocabulary or stands for no text."""
    size = 0
    for i in range(len(codes)):
        code = codes[i]
        if code < 0 or code >= len(strings) or strings[code] & LENGTH_MASK == 0:
            return -1 - i
        size += np.int64(strings[code] & LENGTH_MASK)
    return size


@compiled
def decode(codes, strings, blob, text):
    """Writes the strings of codes one after another.

    Args:
        codes: int [T], each checked by `decoded_size`.
        strings: uint32 [V], where each code's string starts in the blob << 7 | its length: one small table, so that
            it and the blob stay in the cache.
        blob: uint8, followed by 16 spare bytes.
        text: uint8 [decoded size + 16]: copies are of 16 bytes, the excess is overwritten by the next.
    """
    out = 0
    for i in range(len(codes)):
        string = np.int64(strings[codes[i]])
        start, length = string >> LENGTH_BITS, string & LENGTH_MASK
        copied = 0
        while copied < length:
            copy_16_bytes(text, out + copied, blob, start + copied)
            copied += COPY_BYTES
        out += length
