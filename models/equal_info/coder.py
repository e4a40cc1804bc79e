"""The arithmetic coder of Equal-Info windows, in exact integers.

A window's text narrows the interval [low, low + width) of a line of 2^48 points; the width needs no
renormalisation, since a window closes before it falls below 2^(48 - W). Frequencies are the only thing that passes
from the network to the coder. n = rows, 256 = next bytes. Source: arXiv:2404.03626 sections 2.4, 3.3.
"""

import jax
import jax.numpy as jnp
import numpy as np

LINE_BITS = 48
MAX_WINDOW_BITS = 16
MAX_PRECISION_BITS = 14


def precision_bits(window_bits: int) -> int:
    """Bits of the frequencies: the paper's 14, fewer in shorter windows, so that the rarest first byte still fits."""
    if not 9 <= window_bits <= MAX_WINDOW_BITS:
        raise ValueError(f"window_bits must be 9 to {MAX_WINDOW_BITS}, got {window_bits}")
    return min(MAX_PRECISION_BITS, window_bits)


def cumulative_frequencies(logits: jax.Array, precision: int) -> jax.Array:
    """Integer cumulative frequencies of the next byte, every byte's at least 1.

    Rounding the cumulative sum, not each share, keeps the total exact without a repair pass; from the 16-bit
    weights on all is integer.

    Args:
        logits: float [n, 256].
        precision: the total is 2^precision, at most 2^14.

    Returns:
        int32 [n, 257], from 0 to 2^precision.
    """
    weights = jnp.floor(jax.nn.softmax(logits.astype(jnp.float32)) * (1 << 16)).astype(jnp.int32)
    cumulative = jnp.cumsum(weights, axis=-1)
    spare = (1 << precision) - logits.shape[-1]
    inner = jnp.arange(1, logits.shape[-1] + 1)[None] + cumulative * spare // cumulative[:, -1:]
    return jnp.pad(inner, ((0, 0), (1, 0)))


def subdivide(
    low: np.ndarray, width: np.ndarray, cumulative: np.ndarray, precision: int
) -> tuple[np.ndarray, np.ndarray]:
    """The intervals of the next bytes inside the given ones.

    Args:
        low: int64 [n].
        width: int64 [n], at most 2^48.
        cumulative: int [n, 257].
        precision: the bits of the total frequency.

    Returns:
        low and width, int64 [n, 256]; they tile the given interval without gaps.
    """
    edges = (width[:, None] * cumulative.astype(np.int64)) >> precision
    return low[:, None] + edges[:, :-1], np.diff(edges, axis=1)


def fits(low: np.ndarray, width: np.ndarray, window_bits: int) -> np.ndarray:
    """Whether some binary expansion of at most window_bits bits lies, with all its continuations, inside (bool)."""
    step = LINE_BITS - window_bits
    first = (low + ((1 << step) - 1)) >> step
    return (first + 1) << step <= low + width


def shortest_code(low: np.ndarray, width: np.ndarray, window_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """The shortest binary expansion whose dyadic interval lies inside, the lowest of its length.

    Args:
        low: int64 [n].
        width: int64 [n]; every interval must fit the window.
        window_bits: W.

    Returns:
        The bits padded with zeros to W, int32 [n], and their number before padding, int32 [n].

    Raises:
        ValueError: an interval does not fit.
    """
    if not np.all(fits(low, width, window_bits)):
        raise ValueError(f"row {int(np.argmin(fits(low, width, window_bits)))} does not fit {window_bits} bits")
    code = np.zeros(len(low), np.int32)
    length = np.full(len(low), -1, np.int32)
    for bits in range(window_bits + 1):
        step = LINE_BITS - bits
        first = (low + ((1 << step) - 1)) >> step
        found = (length < 0) & ((first + 1) << step <= low + width)
        length[found] = bits
        code[found] = first[found] << (window_bits - bits)
    return code, length
