"""A small trained M1 and its codecs, made once a session."""

import inspect
import json

import jax
import numpy as np
import pytest

from models.equal_info.codec import Codec
from models.equal_info.codes import CODES, pruned
from models.equal_info.m1 import M1, M1Config, train_m1


@pytest.fixture(scope="session")
def code_text() -> np.ndarray:
    """Some 600 kB of real code, enough that every code has something to find."""
    import argparse
    import ast
    import email.message
    import http.client
    import logging
    import tarfile
    import typing

    modules = (argparse, ast, email.message, http.client, logging, tarfile, typing, inspect, json)
    return np.frombuffer("".join(inspect.getsource(module) for module in modules).encode(), np.uint8)


@pytest.fixture(scope="session")
def small_m1(code_text: np.ndarray) -> M1:
    return train_m1(M1Config(width=48, steps=150, batch=128, learning_rate=1e-2), code_text, jax.random.key(1))


@pytest.fixture(scope="session")
def codecs(small_m1: M1, code_text: np.ndarray) -> dict[str, Codec]:
    """Each scheme at a size that tests can afford."""
    out = {}
    for scheme, vocab_size, window_bits in (
        ("greedy", 1 << 16, 16),
        ("delay", 1 << 16, 16),
        ("full", 4096, 16),
        ("pruned", 4096, 16),
        ("delay12", 1 << 12, 12),
    ):
        code = CODES[scheme.removesuffix("12")]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pruned, "PROPOSED_PER_TOKEN", 16)
            candidates = code.propose(small_m1, vocab_size, window_bits)
        dictionary = code.prune(candidates, code_text, vocab_size)
        out[scheme] = Codec(dictionary, scheme=scheme.removesuffix("12"), window_bits=window_bits)
    return out
