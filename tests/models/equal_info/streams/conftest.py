"""Models for streams, and the coder once more in fractions, by the definitions, for short texts."""

from bisect import bisect_right
from fractions import Fraction
from math import ceil, floor

import numpy as np
import pytest

from models.equal_info.m1 import M1, START
from models.equal_info.streams.fixed_point import FixedM1
from models.equal_info.streams.models import FloatM1
from models.equal_info.streams.quantise import fixed_m1


@pytest.fixture(scope="session")
def fixed(small_m1: M1) -> FixedM1:
    return fixed_m1(small_m1)


@pytest.fixture(scope="session")
def floats(small_m1: M1) -> FloatM1:
    return FloatM1(small_m1)


class Reference:
    """Arithmetic coding in fractions; `context` is what M1 has read since its start."""

    def __init__(self, predictor, precision: int) -> None:
        self.predictor, self.precision = predictor, precision
        self._known: dict[bytes, tuple[np.ndarray, list[int]]] = {}

    def frequencies(self, context: bytes) -> list[int]:
        if context not in self._known:
            if context:
                self.frequencies(context[:-1])
            memory = self._known[context[:-1]][0] if context else self.predictor.start(1)
            memory, cumulative = self.predictor.read(
                memory, np.array([context[-1] if context else START]), self.precision
            )
            self._known[context] = memory, cumulative[0].tolist()
        return self._known[context][1]

    def part(self, low: Fraction, width: Fraction, unit: Fraction, context: bytes, byte: int):
        """The interval of a byte inside another, on the grid of a unit that shrinks with the width."""
        cumulative = self.frequencies(context)
        begin, end = (floor(width / unit * cumulative[at] / 2**self.precision) for at in (byte, byte + 1))
        low, width = low + begin * unit, (end - begin) * unit
        return low, width, unit / 2**16 if width / unit < 2**32 else unit

    def intervals(self, text: bytes, context: bytes = b""):
        """The interval of each beginning of a text."""
        low, width, unit = Fraction(0), Fraction(1), Fraction(1, 2**48)
        for at, byte in enumerate(text):
            low, width, unit = self.part(low, width, unit, context + text[:at], byte)
            yield low, width

    @staticmethod
    def code(low: Fraction, width: Fraction, most_bits: int) -> tuple[int, int] | None:
        """The shortest binary expansion inside, the lowest of its length: its value and bits."""
        for bits in range(most_bits + 1):
            value = ceil(low * 2**bits)
            if Fraction(value + 1, 2**bits) <= low + width:
                return value, bits
        return None

    def padded(self, text: bytes, window_bits: int, context: bytes) -> list[int]:
        """The padded code of each beginning that fits a window."""
        found = []
        for interval in self.intervals(text, context):
            code = self.code(*interval, window_bits)
            if code is None:
                break
            found.append(code[0] << (window_bits - code[1]))
        return found

    def decode(self, code: int, window_bits: int, context: bytes, longest: bool = False) -> bytes:
        """The text of a window: along the path of its point, the shortest whose code it is."""
        point, text, match = Fraction(code, 2**window_bits), b"", b""
        low, width, unit = Fraction(0), Fraction(1), Fraction(1, 2**48)
        while True:
            cumulative, whole = self.frequencies(context + text), floor(width / unit)
            edges = [whole * value // 2**self.precision for value in cumulative]
            byte = bisect_right(edges, floor((point - low) / unit)) - 1
            low, width, unit = self.part(low, width, unit, context + text, byte)
            text += bytes([byte])
            assert low <= point < low + width
            found = self.code(low, width, window_bits)
            if found is None:
                return match or text[:-1]
            if found[0] << (window_bits - found[1]) == code:
                match = text
                if not longest:
                    return match

    def windows(
        self, text: bytes, window_bits: int, *, reset: int = 1, piece_bytes: int = 0, greedy: bool = False
    ) -> list[tuple[int, bytes]]:
        """Codes and texts of all windows of a text."""
        found, at, context, since = [], 0, b"", 0
        while at < len(text):
            end = min(len(text), at - at % piece_bytes + piece_bytes) if piece_bytes else len(text)
            codes = self.padded(text[at:end], window_bits, context)
            sizes = [
                size
                for size, code in enumerate(codes, 1)
                if greedy or self.decode(code, window_bits, context) == text[at : at + size]
            ]
            found.append((codes[sizes[-1] - 1], text[at : at + sizes[-1]]))
            context += found[-1][1]
            at, since = at + sizes[-1], since + 1
            if since == reset or (piece_bytes and at % piece_bytes == 0):
                context, since = b"", 0
        return found


@pytest.fixture(scope="session")
def reference():
    return Reference


@pytest.fixture(scope="session")
def hard_texts(code_text: np.ndarray) -> list[bytes]:
    """Of unequal lengths: empty, likely, unlikely, of one byte over and over, not UTF-8."""
    code, random = code_text.tobytes(), np.random.default_rng(0)
    texts = [b"", b"\x00", b"\xff" * 40, b"\x00" * 300, b" " * 500, bytes(range(256)), "déjà vu".encode() * 9]
    texts += [random.integers(0, 256, 200).astype(np.uint8).tobytes()]
    return texts + [code[at : at + size] for at, size in random.integers(1, 1500, (56, 2)) * [300, 1]]
