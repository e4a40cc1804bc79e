"""Noise between encoder and decoder: counted by hand on tables that are known, and on a trained M1."""

import numpy as np
import pytest

from models.equal_info import noise
from models.equal_info.codec import Codec
from models.equal_info.codes import delay
from models.equal_info.m1 import M1

TOTAL = 1 << 14


def _table(*starts: int) -> np.ndarray:
    """Cumulative frequencies of symbols 0, 1, 2 … with the rest in the last one."""
    return np.array([*starts, *[TOTAL] * (257 - len(starts))])


def test_the_first_wrong_byte_is_where_the_point_leaves_the_decoders_interval() -> None:
    """One byte: encoder gives symbol 1 the part [4096, 12288), its middle is 8192."""
    encoder, text = _table(0, 4096, 12288)[None], np.array([1], np.uint8)
    assert noise.first_wrong_byte(encoder, encoder, text) == 1
    assert noise.first_wrong_byte(encoder, _table(0, 8192, 12288)[None], text) == 1  # 8192 is just inside
    assert noise.first_wrong_byte(encoder, _table(0, 8193, 12288)[None], text) == 0
    assert noise.first_wrong_byte(encoder, _table(0, 4096, 8192)[None], text) == 0


def test_a_small_change_early_is_a_wrong_byte_later() -> None:
    """Two bytes of half the line each: the point of (0, 1) is 3/8.

    The decoder's first byte has [0, 7/16): 3/8 is in it, at 6/7 of its width; the second byte 1 begins at 1/2, so it is
    read rightly unless its part ends before 6/7.
    """
    half = _table(0, TOTAL // 2)
    first = _table(0, 7 * TOTAL // 16)
    text = np.array([0, 1], np.uint8)
    assert noise.first_wrong_byte(np.stack([half, half]), np.stack([first, half]), text) == 2
    ends_early = _table(0, TOTAL // 2, int(TOTAL * 0.85))
    assert noise.first_wrong_byte(np.stack([half, half]), np.stack([first, ends_early]), text) == 1


def test_damage_counts_tables_and_texts() -> None:
    half, other = _table(0, TOTAL // 2), _table(0, TOTAL // 8)
    tables = np.stack([[half, half], [half, half]])
    disturbed = np.stack([[half, half], [half, other]])
    texts = np.array([[0, 0], [0, 0]], np.uint8)
    told = noise.damage(tables, disturbed, texts)
    # the second text's point is at 1/4 of its first half's half: 1/4 lies beyond 1/8
    assert (told.changed_tables, told.wrong_texts, told.right_bytes) == (0.25, 0.5, 1.5)


@pytest.fixture(scope="module")
def texts(code_text: np.ndarray) -> np.ndarray:
    return code_text[5000 : 5000 + 24 * 200].reshape(24, 200)


def test_more_noise_does_more_harm_and_none_does_none(small_m1: M1, texts: np.ndarray) -> None:
    tables = noise.tables_of(small_m1, texts)
    found = [
        noise.damage(tables, noise.tables_of(small_m1, texts, noise.relative(size)), texts) for size in (0, 1e-6, 1e-2)
    ]
    assert found[0] == noise.Damage(0.0, 0.0, 200.0)
    assert 0 < found[1].changed_tables < found[2].changed_tables
    assert found[1].right_bytes > found[2].right_bytes
    assert found[2].wrong_texts == 1.0
    coarse = noise.damage(tables, noise.tables_of(small_m1, texts, noise.rounded("bfloat16")), texts)
    assert coarse.wrong_texts == 1.0
    assert coarse.changed_tables > 0.9


def test_tables_read_byte_by_byte_are_those_of_whole_texts_but_for_rounding(small_m1: M1, texts: np.ndarray) -> None:
    whole, read = noise.tables_of(small_m1, texts), noise.tables_read(small_m1, texts)
    assert read.shape == whole.shape == (24, 200, 257)
    assert np.abs(read - whole).max() <= 2
    np.testing.assert_array_equal(noise.tables_read(small_m1, texts, rows=5), read)  # M1 pads its rows to one shape


def test_windows_are_wrong_where_the_other_machines_dictionary_differs(small_m1: M1, code_text: np.ndarray) -> None:
    def codec(m1: M1) -> Codec:
        candidates = delay.propose(m1, 1 << 12, 12)
        return Codec(delay.prune(candidates, code_text, 1 << 12), scheme="delay", window_bits=12)

    ours = codec(small_m1)
    codes = ours.encode(code_text[:20_000])
    strings = ours.dictionary.code_strings()
    shares = [
        noise.wrong_windows(
            strings, codec(noise.DisturbedM1(small_m1, noise.relative(size))).dictionary.code_strings(), codes
        )
        for size in (0.0, 1e-2)
    ]
    assert shares[0] == 0.0
    assert shares[1] > 0.01
