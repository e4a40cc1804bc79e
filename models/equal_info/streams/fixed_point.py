"""M1 in whole numbers: the same frequencies on every machine, in any batch, with any number of threads.

A gated recurrent unit (`models.equal_info.m1.RecurrentLM`) whose weights and memory are 16-bit integers and whose sums
are 32-bit ones. Sigmoid, hyperbolic tangent and exponential are tables that travel with the model: libraries differ in
their last bits. Embeddings are multiplied into the input's matrices beforehand, one row a symbol.
H = width, h = memory in units of 2^-13, a sum of weights and memory in units of 2^-(13 + scale).
"""

from typing import NamedTuple

import numpy as np

from shammie.jit import compiled

START = 256  # as in `models.equal_info.m1`, which a codec at work does not load
MEMORY_BITS = 13
GATE_BITS = 14
WEIGHT_BITS = 20  # of an exponential; 256 of them times 2^14 stay far below 2^63
SIGMOID_STEPS, TANH_STEPS, EXP_STEPS = 256, 1024, 256  # table entries for each unit of the argument
SIGMOID_REACH, TANH_REACH, EXP_REACH = 8, 4, 16
MOST_SCALE = 12  # inputs and biases, in units of 2^-25 then, may reach 64


class Fixed(NamedTuple):
    """The arrays of the model.

    Attributes:
        inputs: int32 [257, 3 H], what each symbol adds to reset, update and candidate gates, biases included.
        hidden_bias: int32 [H], the candidate gate's bias inside the reset.
        hidden: int16 [3 H, H], matrices of the memory.
        logits: int16 [256, H].
        logit_bias: int32 [256].
        sigmoid: int16 [4096], in units of 2^-14.
        tanh: int16 [8192], in units of 2^-13.
        exp: int32 [4096], of minus its place, in units of 2^-20.
        scales: int64 [2], the bits of `hidden` and `logits` after the point.
    """

    inputs: np.ndarray
    hidden_bias: np.ndarray
    hidden: np.ndarray
    logits: np.ndarray
    logit_bias: np.ndarray
    sigmoid: np.ndarray
    tanh: np.ndarray
    exp: np.ndarray
    scales: np.ndarray


@compiled
def fixed_step(fixed, memory, symbol, precision, cumulative):
    """Reads a symbol.

    Args:
        fixed: the model.
        memory: int16 [H], changed in place.
        symbol: a byte, or START.
        precision: the bits of the total frequency.
        cumulative: int32 [257], receives the frequencies of the next byte.
    """
    width = len(memory)
    sums = np.empty(3 * width, np.int32)
    for gate in range(3 * width):
        total = np.int32(0)
        weights = fixed.hidden[gate]
        for unit in range(width):
            total += np.int32(weights[unit]) * np.int32(memory[unit])
        sums[gate] = total
    inputs, shift = fixed.inputs[symbol], MEMORY_BITS + fixed.scales[0]
    to_sigmoid, to_tanh = shift - 8, shift - 10
    sigmoids, tanhs = len(fixed.sigmoid), len(fixed.tanh)
    for unit in range(width):
        reset_sum = np.int64(sums[unit]) + inputs[unit]
        reset = np.int64(fixed.sigmoid[min(max((reset_sum >> to_sigmoid) + sigmoids // 2, 0), sigmoids - 1)])
        update_sum = np.int64(sums[width + unit]) + inputs[width + unit]
        update = np.int64(fixed.sigmoid[min(max((update_sum >> to_sigmoid) + sigmoids // 2, 0), sigmoids - 1)])
        inner = ((np.int64(sums[2 * width + unit]) + fixed.hidden_bias[unit]) * reset) >> GATE_BITS
        inner += inputs[2 * width + unit]
        candidate = np.int64(fixed.tanh[min(max((inner >> to_tanh) + tanhs // 2, 0), tanhs - 1)])
        mixed = ((1 << GATE_BITS) - update) * candidate + update * np.int64(memory[unit])
        memory[unit] = (mixed + (1 << (GATE_BITS - 1))) >> GATE_BITS
    _frequencies(fixed, memory, precision, cumulative)


@compiled
def _frequencies(fixed, memory, precision, cumulative):
    """Cumulative frequencies of the next byte, every byte's at least 1, to a total of 2^precision."""
    width, shift = len(memory), MEMORY_BITS + fixed.scales[1] - 8
    sums, logits = np.empty(256, np.int32), np.empty(256, np.int64)
    for byte in range(256):
        total = np.int32(0)
        weights = fixed.logits[byte]
        for unit in range(width):
            total += np.int32(weights[unit]) * np.int32(memory[unit])
        sums[byte] = total  # cut to 32 bits here, or the loop would run in 64
    for byte in range(256):
        logits[byte] = np.int64(sums[byte]) + fixed.logit_bias[byte]
    greatest = logits.max()
    last, total = len(fixed.exp) - 1, np.int64(0)
    for byte in range(256):
        total += fixed.exp[min((greatest - logits[byte]) >> shift, last)]
        logits[byte] = total
    spare = (1 << precision) - 256
    share = (spare << 32) // total  # one division a row; what it rounds off goes to the last byte
    cumulative[0] = 0
    for byte in range(255):
        cumulative[byte + 1] = byte + 1 + ((logits[byte] * share) >> 32)
    cumulative[256] = 1 << precision


@compiled
def _read_rows(fixed, memory, symbols, precision, cumulative):
    for row in range(len(symbols)):
        fixed_step(fixed, memory[row], symbols[row], precision, cumulative[row])


class FixedM1:
    """A trained M1 in whole numbers, read like the one in floats.

    Attributes:
        fixed: its arrays.
    """

    exact = True

    def __init__(self, fixed: Fixed) -> None:
        check(fixed)
        self.fixed = fixed

    def start(self, rows: int) -> np.ndarray:
        """The memory before a window's first byte, int16 [n, H]."""
        return np.zeros((rows, len(self.fixed.hidden_bias)), np.int16)

    def read(self, memory: np.ndarray, symbols: np.ndarray, precision: int) -> tuple[np.ndarray, np.ndarray]:
        """Reads one symbol in each row; see `models.equal_info.m1.M1.read`."""
        after, cumulative = memory.copy(), np.empty((len(symbols), 257), np.int32)
        _read_rows(self.fixed, after, np.asarray(symbols, np.int64), precision, cumulative)
        return after, cumulative


def check(fixed: Fixed) -> None:
    """Checks all that the kernels rest on: shapes, and that no sum can overflow.

    Raises:
        ValueError: the arrays are no model.
    """
    width = len(fixed.hidden_bias)
    shapes = {"inputs": (START + 1, 3 * width), "hidden": (3 * width, width), "logits": (256, width)}
    shapes |= {"logit_bias": (256,), "scales": (2,), "sigmoid": (2 * SIGMOID_REACH * SIGMOID_STEPS,)}
    shapes |= {"tanh": (2 * TANH_REACH * TANH_STEPS,), "exp": (EXP_REACH * EXP_STEPS,)}
    for name, shape in shapes.items():
        if getattr(fixed, name).shape != shape:
            raise ValueError(f"M1's {name} has shape {getattr(fixed, name).shape}, not {shape}")
    if not np.all((fixed.scales >= 3) & (fixed.scales <= MOST_SCALE)):
        raise ValueError("M1's scales are out of range")
    for matrix in (fixed.hidden, fixed.logits):
        if np.abs(matrix.astype(np.int64)).sum(1).max(initial=0) >= 1 << 31 - MEMORY_BITS:
            raise ValueError("M1's sums do not fit 32 bits")
    least = 0 <= fixed.sigmoid.min() and fixed.sigmoid.max() <= 1 << GATE_BITS
    if not least or np.abs(fixed.tanh.astype(np.int64)).max() > 1 << MEMORY_BITS:
        raise ValueError("M1's gates are out of range")
    if fixed.exp.min() < 0 or fixed.exp.max() > 1 << WEIGHT_BITS or fixed.exp[0] < 1 << WEIGHT_BITS - 1:
        raise ValueError("M1's exponentials are out of range")
