"""The byte models of streams: M1 in whole numbers or in floats, and the byte unigram."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from models.equal_info.streams.fixed_point import START, FixedM1
from models.equal_info.streams.interval import PRECISION_BITS
from models.equal_info.streams.nodes import Nodes, Predictor, constant_nodes, likeliest_nodes

if TYPE_CHECKING:
    from models.equal_info.m1 import M1  # the network's libraries take seconds to load, and whole numbers need none

DECODER_CONTEXT = 128
FLOAT_NODES = 1024


class Unigram:
    """The paper's StaticAC: bytes by their share of some text, whatever was before.

    Attributes:
        cumulative: int32 [257], to a total of 2^14, each byte's frequency at least 1.
    """

    exact = True

    def __init__(self, cumulative: np.ndarray) -> None:
        if cumulative.shape != (257,) or cumulative[0] != 0 or cumulative[-1] != 1 << PRECISION_BITS:
            raise ValueError("a unigram's frequencies run from 0 to 2^14")
        if np.any(np.diff(cumulative) < 1):
            raise ValueError("every byte's frequency must be at least 1")
        self.cumulative = cumulative.astype(np.int32)

    @classmethod
    def of_text(cls, text: np.ndarray) -> "Unigram":
        """The shares of bytes in a text, uint8 [bytes]."""
        counts = np.bincount(text, minlength=256).cumsum()
        spare = (1 << PRECISION_BITS) - 256
        cumulative = np.zeros(257, np.int32)
        cumulative[1:] = np.arange(1, 257) + counts * spare // max(1, int(counts[-1]))
        cumulative[-1] = 1 << PRECISION_BITS
        return cls(cumulative)

    def start(self, rows: int) -> np.ndarray:
        """Nothing to remember."""
        return np.zeros((rows, 1), np.int16)

    def read(self, memory: np.ndarray, symbols: np.ndarray, precision: int) -> tuple[np.ndarray, np.ndarray]:
        """The same frequencies after every symbol."""
        return memory, np.tile(self.cumulative, (len(symbols), 1))


class FloatM1:
    """A trained M1 in floats, so that its memory is one row of numbers, whichever its kind.

    The decoder rereads the last 128 bytes behind a start; rows are read in groups of one length, so that a row's call
    never depends on the others. That such calls round alike is hoped, not known: see `exact`.

    Attributes:
        m1: the network.
    """

    exact = False

    def __init__(self, m1: "M1") -> None:
        self.m1 = m1

    def start(self, rows: int) -> np.ndarray:
        """The memory before a window's first byte."""
        if self.m1.config.kind == "recurrent":
            return self.m1.start(rows)
        return np.full((rows, 1 + DECODER_CONTEXT), -1, np.int16)  # the number of bytes read, then the bytes

    def read(self, memory: np.ndarray, symbols: np.ndarray, precision: int) -> tuple[np.ndarray, np.ndarray]:
        """Reads one symbol in each row; see `models.equal_info.m1.M1.read`."""
        if self.m1.config.kind == "recurrent":
            return self.m1.read(memory, symbols, precision)
        after, cumulative = memory.copy(), np.empty((len(symbols), 257), np.int32)
        full = (symbols != START) & (memory[:, 0] == DECODER_CONTEXT)
        after[full, 1:-1] = memory[full, 2:]
        after[:, 0] = np.where(symbols == START, 0, np.minimum(memory[:, 0] + 1, DECODER_CONTEXT))
        told = np.flatnonzero(symbols != START)
        after[told, after[told, 0]] = symbols[told]
        for length in np.unique(after[:, 0]):
            rows = np.flatnonzero(after[:, 0] == length)
            read = after[rows, 1:length].astype(np.uint8)  # all but the last byte, which is the symbol
            last = after[rows, length].astype(np.int64) if length else np.full(len(rows), START)
            cumulative[rows] = self.m1.read(read, last, precision)[1]
        return after, cumulative


@dataclass(frozen=True, eq=False)
class Model:
    """A byte model at work.

    Attributes:
        predictor: the model.
        precision: the bits of the total frequency.
    """

    predictor: FixedM1 | FloatM1 | Unigram | Predictor
    precision: int = PRECISION_BITS

    @cached_property
    def nodes(self) -> Nodes:
        """What it says after its likeliest beginnings."""
        if isinstance(self.predictor, Unigram):
            return constant_nodes(self.predictor.cumulative)
        if isinstance(self.predictor, FixedM1):
            return likeliest_nodes(self.predictor, self.precision)
        return likeliest_nodes(self.predictor, self.precision, FLOAT_NODES)

    def space(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Memory and cumulative frequencies of some rows, to be written to."""
        one: Any = self.nodes.memory
        return np.zeros((rows, *one.shape[1:]), one.dtype), np.zeros((rows, 257), np.int32)
