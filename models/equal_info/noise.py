"""What happens when the M1 that decodes differs numerically from the one that encoded (arXiv:2404.03626 section 3.7).

A lossless code needs the same frequencies on both sides. Here M1's logits are disturbed as other hardware, batch shapes
or number formats would disturb them, and it is counted how many tables of frequencies change, how far an arithmetic
decoder comes, and how many windows decode to other text. n = texts, L = bytes of a text.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from models.equal_info.coder import MAX_PRECISION_BITS, cumulative_frequencies
from models.equal_info.m1 import M1, START, network_of
from models.training import inputs_of

Disturb = Callable[[jax.Array, jax.Array], jax.Array]


def relative(size: float) -> Disturb:
    """Multiplies each logit by 1 + size * a standard normal number."""
    return lambda logits, key: logits * (1.0 + size * jax.random.normal(key, logits.shape, logits.dtype))


def rounded(dtype: str) -> Disturb:
    """Rounds logits to another floating point type, such as "bfloat16"."""
    bits = jnp.finfo(dtype)
    # a cast there and back is left out by the compiler, which may keep more precision than it is asked for
    return lambda logits, key: jax.lax.reduce_precision(logits, bits.nexp, bits.nmant)


def none(logits: jax.Array, key: jax.Array) -> jax.Array:
    """Leaves logits as they are."""
    return logits


def tables_of(
    m1: M1, texts: np.ndarray, disturb: Disturb = none, *, rows: int | None = None, seed: int = 0
) -> np.ndarray:
    """The frequencies of each next byte, each text read from M1's start.

    Args:
        m1: the byte model.
        texts: uint8 [n, L].
        disturb: logits float32 [n, L, 256] and a key to disturbed logits.
        rows: texts in one call of the network; None: all. Other shapes may round differently.
        seed: of the disturbance.

    Returns:
        Cumulative frequencies, int32 [n, L, 257], total 2^14.
    """
    network, size = network_of(m1.config), rows or len(texts)

    @jax.jit
    def tables(params: Any, block: jax.Array, key: jax.Array) -> jax.Array:
        logits = jnp.asarray(network.apply({"params": params}, inputs_of(block, START)))[..., :256]
        return cumulative_frequencies(disturb(logits, key).reshape(-1, 256), MAX_PRECISION_BITS)

    keys, found = jax.random.split(jax.random.key(seed), -(-len(texts) // size)), []
    for number, start in enumerate(range(0, len(texts), size)):
        block = texts[start : start + size].astype(np.int32)
        padded = np.pad(block, ((0, size - len(block)), (0, 0)))
        told = np.asarray(tables(m1.params, padded, keys[number])).reshape(size, texts.shape[1], 257)
        found.append(told[: len(block)])
    return np.concatenate(found)


class Predictor(Protocol):
    """A byte model that is read a byte at a time: M1, or M1 in whole numbers (`models.equal_info.streams`)."""

    def start(self, rows: int) -> np.ndarray:
        """The memory before the first byte."""
        ...

    def read(self, memory: np.ndarray, symbols: np.ndarray, precision: int) -> tuple[np.ndarray, np.ndarray]:
        """The next memory, and cumulative frequencies of the next byte [n, 257]."""
        ...


def tables_read(predictor: Predictor, texts: np.ndarray, *, rows: int | None = None) -> np.ndarray:
    """As `tables_of`, read byte by byte, so many texts at a time.

    Args:
        predictor: the byte model.
        texts: uint8 [n, L].
        rows: texts in one call; None: all.
    """
    size, found = rows or len(texts), []
    for start in range(0, len(texts), size):
        block = texts[start : start + size]
        memory, symbols, told = predictor.start(len(block)), np.full(len(block), START), []
        for column in range(texts.shape[1]):
            memory, cumulative = predictor.read(memory, symbols, MAX_PRECISION_BITS)
            told.append(cumulative)
            symbols = block[:, column].astype(np.int64)
        found.append(np.stack(told, axis=1))
    return np.concatenate(found)


@dataclass(frozen=True)
class Damage:
    """What a disturbed M1 does to arithmetic decoding.

    Attributes:
        changed_tables: share of tables of frequencies with any number changed.
        wrong_texts: share of texts that do not come back.
        right_bytes: mean bytes that come back before the first wrong one, over all texts.
    """

    changed_tables: float
    wrong_texts: float
    right_bytes: float


def damage(tables: np.ndarray, disturbed: np.ndarray, texts: np.ndarray) -> Damage:
    """Encodes texts by one set of tables and decodes them by another, in exact integers without end.

    Args:
        tables: int [n, L, 257], of the encoder.
        disturbed: int [n, L, 257], of the decoder after the true bytes: what it has until its first wrong byte.
        texts: uint8 [n, L].
    """
    right = [first_wrong_byte(*one) for one in zip(tables, disturbed, texts, strict=True)]
    return Damage(
        changed_tables=float(np.any(tables != disturbed, axis=-1).mean()),
        wrong_texts=float(np.mean([at < texts.shape[1] for at in right])),
        right_bytes=float(np.mean(right)),
    )


def first_wrong_byte(tables: np.ndarray, disturbed: np.ndarray, text: np.ndarray) -> int:
    """The first byte that a decoder with other tables reads wrongly; L where it reads all.

    Args:
        tables: int [L, 257], cumulative, total 2^14, of the encoder.
        disturbed: int [L, 257], of the decoder.
        text: uint8 [L].
    """
    symbols, scale = text.tolist(), MAX_PRECISION_BITS
    low, width = 0, 1
    for cumulative, symbol in zip(tables.tolist(), symbols, strict=True):
        low = (low << scale) + width * cumulative[symbol]
        width *= cumulative[symbol + 1] - cumulative[symbol]
    bits = scale * len(symbols)
    point = low + width // 2  # any point inside decodes; the middle is the one that stands most
    low, width = 0, 1
    for at, (cumulative, symbol) in enumerate(zip(disturbed.tolist(), symbols, strict=True)):
        left = bits - scale * (at + 1)
        start = (low << scale) + width * cumulative[symbol]
        size = width * (cumulative[symbol + 1] - cumulative[symbol])
        if not start << left <= point < (start + size) << left:
            return at
        low, width = start, size
    return len(symbols)


class DisturbedM1(M1):
    """An M1 whose logits are disturbed whenever it is asked: what another machine would compile a code from.

    Args:
        m1: the byte model.
        disturb: logits and a key to disturbed logits; the key follows from the logits, so equal ones fare equally.
    """

    def __init__(self, m1: M1, disturb: Disturb) -> None:
        super().__init__(m1.config, m1.params)
        self._network: Any = _DisturbedNetwork(self._network, disturb)


class _DisturbedNetwork:
    """A network that answers `apply` as M1's does, with disturbed logits."""

    def __init__(self, network: Any, disturb: Disturb) -> None:
        self._network, self._disturb = network, disturb

    def apply(self, *arguments: Any, **named: Any) -> Any:
        out = self._network.apply(*arguments, **named)
        *memory, logits = out if isinstance(out, tuple) else (out,)
        seed = jax.lax.bitcast_convert_type(logits.astype(jnp.float32).sum(), jnp.uint32)
        disturbed = self._disturb(logits, jax.random.fold_in(jax.random.key(0), seed))
        return (*memory, disturbed) if memory else disturbed


def wrong_windows(strings: Sequence[bytes | None], disturbed: Sequence[bytes | None], codes: np.ndarray) -> float:
    """The share of windows of a text that decode to other text by another M1's dictionary.

    Args:
        strings: what each code stands for, by the encoder's M1.
        disturbed: likewise by the decoder's.
        codes: of a text, by the encoder's, int [windows].
    """
    wrong = np.array([ours != theirs for ours, theirs in zip(strings, disturbed, strict=True)])
    return float(wrong[codes].mean())
