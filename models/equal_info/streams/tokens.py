"""Bits to tokens and back: a stream's bytes, most significant bit first, by 8 or 16 bits."""

import numpy as np
from numpy.typing import ArrayLike


def codes_of_bytes(data: np.ndarray, token_bits: int) -> np.ndarray:
    """The codes of a stream.

    Args:
        data: uint8 [bytes]; an odd one is padded with a zero byte where tokens have 16 bits.
        token_bits: 8 or 16.

    Returns:
        uint16 [tokens].
    """
    if token_bits == 8:
        return data.astype(np.uint16)
    if len(data) % 2:
        data = np.append(data, np.uint8(0))
    return np.ascontiguousarray(data).view(">u2").astype(np.uint16)


def bytes_of_codes(codes: ArrayLike, token_bits: int) -> np.ndarray:
    """The stream of codes, uint8.

    Raises:
        ValueError: a code is none of the vocabulary; it names the position.
    """
    array = np.asarray(codes)
    if array.size == 0:
        return np.zeros(0, np.uint8)
    if array.ndim != 1 or array.dtype.kind not in "ui":
        raise ValueError(f"codes must be a row of integers, got shape {array.shape} of {array.dtype}")
    wrong = np.flatnonzero((array < 0) | (array >= 1 << token_bits))
    if len(wrong):
        raise ValueError(f"code {int(array[wrong[0]])} at position {int(wrong[0])} is not below {1 << token_bits}")
    return array.astype(np.uint8) if token_bits == 8 else array.astype(">u2").view(np.uint8)


def bytes_of_windows(limbs: np.ndarray, window_bits: int) -> np.ndarray:
    """Windows one behind another, padded with zeros to a whole byte.

    Args:
        limbs: uint16 [windows, ceil(W / 16)], each window's bits from the top of its first limb on.
        window_bits: W.

    Returns:
        uint8 [ceil(windows * W / 8)].
    """
    data = limbs.astype(">u2").view(np.uint8).reshape(len(limbs), 2 * limbs.shape[1])
    if window_bits % 8 == 0:
        return np.ascontiguousarray(data[:, : window_bits // 8]).reshape(-1)
    return np.packbits(np.unpackbits(data, axis=1)[:, :window_bits].reshape(-1))


def windows_of_bytes(data: np.ndarray, window_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """The whole windows of a stream: uint16 [windows, ceil(W / 16)], and the bits that are left, uint8 [bits]."""
    windows, limbs = 8 * len(data) // window_bits, -(-window_bits // 16)
    bits = np.unpackbits(data)
    padded = np.zeros((windows, 16 * limbs), np.uint8)
    padded[:, :window_bits] = bits[: windows * window_bits].reshape(windows, window_bits)
    packed = np.packbits(padded, axis=1).reshape(-1).view(">u2").astype(np.uint16).reshape(windows, limbs)
    return packed, bits[windows * window_bits :]
