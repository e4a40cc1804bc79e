"""A trained recurrent M1 to whole numbers (`fixed_point`). Only this needs floats, and the network's libraries."""

from collections.abc import Callable

import numpy as np

from models.equal_info.m1 import M1
from models.equal_info.streams.fixed_point import (
    EXP_REACH,
    EXP_STEPS,
    GATE_BITS,
    MEMORY_BITS,
    MOST_SCALE,
    SIGMOID_REACH,
    SIGMOID_STEPS,
    TANH_REACH,
    TANH_STEPS,
    WEIGHT_BITS,
    Fixed,
    FixedM1,
)
from shammie.errors import UserError


def fixed_m1(m1: M1) -> FixedM1:
    """The whole-number version of a trained recurrent M1.

    Raises:
        UserError: the network is no recurrent one.
    """
    if m1.config.kind != "recurrent":
        raise UserError("only the recurrent M1 has a whole-number version", 'train one with kind="recurrent"')
    cell = {name: {key: np.asarray(value, np.float64) for key, value in layer.items()}
            for name, layer in m1.params["cell"].items()}  # fmt: skip
    hidden = np.concatenate([cell[name]["kernel"].T for name in ("hr", "hz", "hn")])
    scale = _scale(hidden)
    embedding = np.asarray(m1.params["embed"]["embedding"], np.float64)
    inputs = np.concatenate(
        [embedding @ cell[name]["kernel"] + cell[name]["bias"] for name in ("ir", "iz", "in")], axis=1
    )
    logits = np.asarray(m1.params["logits"]["kernel"], np.float64).T
    logit_scale = _scale(logits)
    return FixedM1(
        Fixed(
            inputs=_rounded(inputs, MEMORY_BITS + scale, np.int32),
            hidden_bias=_rounded(cell["hn"]["bias"], MEMORY_BITS + scale, np.int32),
            hidden=_rounded(hidden, scale, np.int16),
            logits=_rounded(logits, logit_scale, np.int16),
            logit_bias=_rounded(np.asarray(m1.params["logits"]["bias"]), MEMORY_BITS + logit_scale, np.int32),
            sigmoid=_table(lambda x: 1 / (1 + np.exp(-x)), -SIGMOID_REACH, SIGMOID_REACH, SIGMOID_STEPS, GATE_BITS),
            tanh=_table(np.tanh, -TANH_REACH, TANH_REACH, TANH_STEPS, MEMORY_BITS),
            exp=_table(lambda x: np.exp(-x), 0, EXP_REACH, EXP_STEPS, WEIGHT_BITS).astype(np.int32),
            scales=np.array([scale, logit_scale], np.int64),
        )
    )


def _scale(matrix: np.ndarray) -> int:
    """The most bits after the point with which weights fit 16 bits and any sum over a memory fits 32."""
    greatest = max(np.abs(matrix).max() / (1 << 15), np.abs(matrix).sum(1).max() / (1 << 31 - MEMORY_BITS), 1e-30)
    scale = min(int(np.floor(-np.log2(greatest * 1.01))), MOST_SCALE)
    if scale < 3:
        raise UserError("M1's weights are too large for whole numbers", "train with a lower learning rate")
    return scale


def _rounded(values: np.ndarray, bits: int, dtype: type) -> np.ndarray:
    limits = np.iinfo(dtype)
    return np.clip(np.rint(values * 2.0**bits), limits.min, limits.max).astype(dtype, order="C")


def _table(function: Callable[[np.ndarray], np.ndarray], least: int, most: int, steps: int, bits: int) -> np.ndarray:
    """A function in the middle of each step of its argument."""
    argument = (np.arange((most - least) * steps) + 0.5) / steps + least
    return np.rint(function(argument) * (1 << bits)).astype(np.int16 if bits < 15 else np.int32)
