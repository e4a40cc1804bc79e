"""M1 in whole numbers: exactly its definition, close to the floats, the same in any batch."""

import numpy as np
import pytest

from models.equal_info.m1 import M1, START, M1Config
from models.equal_info.streams.fixed_point import Fixed, FixedM1, check
from models.equal_info.streams.quantise import fixed_m1
from shammie.errors import UserError


def test_the_loss_is_within_a_thousandth(small_m1: M1, fixed: FixedM1, code_text: np.ndarray) -> None:
    starts = np.random.default_rng(0).integers(0, len(code_text) - 64, 512)
    windows = code_text[starts[:, None] + np.arange(64)]
    floats, whole = _bits_per_byte(small_m1, windows), _bits_per_byte(fixed, windows)
    assert 0.999 * floats < whole < 1.001 * floats


def _bits_per_byte(m1: M1 | FixedM1, windows: np.ndarray) -> float:
    memory, symbols, bits = m1.start(len(windows)), np.full(len(windows), START), 0.0
    for column in windows.T:
        memory, cumulative = m1.read(memory, symbols, 14)
        symbols = column
        frequency = np.take_along_axis(np.diff(cumulative, axis=1), column[:, None].astype(np.int64), 1)
        bits -= float(np.log2(frequency / 2**14).sum())
    return bits / windows.size


@pytest.mark.parametrize("precision", [9, 12, 14])
def test_frequencies_are_at_least_one_and_sum_exactly(fixed: FixedM1, precision: int) -> None:
    memory, symbols = fixed.start(64), np.full(64, START)
    for _ in range(5):
        memory, cumulative = fixed.read(memory, symbols, precision)
        assert cumulative.shape == (64, 257)
        assert np.all(cumulative[:, 0] == 0)
        assert np.all(cumulative[:, -1] == 1 << precision)
        assert np.diff(cumulative, axis=1).min() >= 1
        symbols = np.random.default_rng(0).integers(0, 256, 64)


def _step(fixed: Fixed, memory: list[int], symbol: int, precision: int) -> tuple[list[int], list[int]]:
    """The definition, in Python's whole numbers of any size."""
    width = len(memory)
    hidden = [sum(int(w) * m for w, m in zip(row, memory, strict=True)) for row in fixed.hidden]
    inputs = [int(value) for value in fixed.inputs[symbol]]
    shift = 13 + int(fixed.scales[0])

    def look_up(table: np.ndarray, value: int, step_bits: int) -> int:
        return int(table[min(max((value >> (shift - step_bits)) + len(table) // 2, 0), len(table) - 1)])

    after = []
    for unit in range(width):
        reset = look_up(fixed.sigmoid, hidden[unit] + inputs[unit], 8)
        update = look_up(fixed.sigmoid, hidden[width + unit] + inputs[width + unit], 8)
        inner = ((hidden[2 * width + unit] + int(fixed.hidden_bias[unit])) * reset >> 14) + inputs[2 * width + unit]
        after.append(((2**14 - update) * look_up(fixed.tanh, inner, 10) + update * memory[unit] + 2**13) >> 14)
    logits = [
        sum(int(w) * m for w, m in zip(row, after, strict=True)) + int(bias)
        for row, bias in zip(fixed.logits, fixed.logit_bias, strict=True)
    ]
    shift = 13 + int(fixed.scales[1]) - 8
    weights = [int(fixed.exp[min((max(logits) - logit) >> shift, len(fixed.exp) - 1)]) for logit in logits]
    share = ((2**precision - 256) << 32) // sum(weights)
    inner_edges = [byte + 1 + (sum(weights[: byte + 1]) * share >> 32) for byte in range(255)]
    return after, [0, *inner_edges, 2**precision]


def test_a_step_is_its_definition(fixed: FixedM1) -> None:
    memory, expected = fixed.start(1), [0] * 48
    for symbol in (START, 100, 101, 102, 32, 0, 255, 255):
        memory, cumulative = fixed.read(memory, np.array([symbol]), 14)
        expected, expected_cumulative = _step(fixed.fixed, expected, symbol, 14)
        assert memory[0].tolist() == expected
        assert cumulative[0].tolist() == expected_cumulative


def test_sums_that_could_overflow_are_refused(fixed: FixedM1) -> None:
    hidden = np.full_like(fixed.fixed.hidden, 32767)
    with pytest.raises(ValueError, match="sums do not fit 32 bits"):
        check(fixed.fixed._replace(hidden=hidden))
    with pytest.raises(ValueError, match="M1's tanh has shape"):
        check(fixed.fixed._replace(tanh=fixed.fixed.tanh[1:]))


def test_only_a_recurrent_network_has_whole_numbers(small_m1: M1) -> None:
    decoder = M1(M1Config(kind="decoder"), small_m1.params)
    with pytest.raises(UserError, match="only the recurrent M1"):
        fixed_m1(decoder)
