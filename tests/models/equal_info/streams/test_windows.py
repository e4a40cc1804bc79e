"""Windows: those of the definition, those of the compiled codes at 16 bits, the same in any batch."""

from itertools import pairwise

import numpy as np
import pytest

from models.equal_info.codec import Codec
from models.equal_info.codes import CODES
from models.equal_info.streams.models import Model
from models.equal_info.streams.texts import decode_rows, decode_text, encode_texts
from models.equal_info.streams.windows import Rule

SETTINGS = [(9, 1), (12, 1), (16, 1), (16, 2), (17, 3), (24, 1), (24, 0), (37, 2), (64, 1), (64, 0), (128, 1)]


def _rule(window_bits: int, reset: int = 1, *, greedy: bool = False, piece_bytes: int = 50) -> Rule:
    return Rule(window_bits, min(14, window_bits), reset, 0 if reset else piece_bytes, greedy)


_MODELS: dict[tuple[int, int], Model] = {}


def _model(predictor, rule: Rule) -> Model:
    return _MODELS.setdefault((id(predictor), rule.precision), Model(predictor, rule.precision))


def _encoded(predictor, rule: Rule, texts: list[bytes]) -> list[list[tuple[int, int]]]:
    """Code and length of each window of each text."""
    data = np.frombuffer(b"".join(texts), np.uint8)
    offsets = np.cumsum([0, *map(len, texts)])
    codes, lengths, bounds = encode_texts(_model(predictor, rule), rule, data, offsets)
    extra = 16 * codes.shape[1] - rule.window_bits
    values = [int("".join(f"{limb:04x}" for limb in row), 16) >> extra for row in codes.tolist()]
    pairs = list(zip(values, lengths.tolist(), strict=True))
    return [pairs[start:end] for start, end in pairwise(bounds.tolist())]


@pytest.mark.parametrize("greedy", [False, True])
@pytest.mark.parametrize(("window_bits", "reset"), SETTINGS)
def test_windows_are_those_of_the_definition(fixed, reference, code_text, window_bits, reset, greedy) -> None:
    texts = [code_text[:60].tobytes(), b" " * 130 + b"x = 1\n", b"\xff\x00\xfe", code_text[5000:5060].tobytes()]
    by_definition = reference(fixed, min(14, window_bits))
    found = _encoded(fixed, _rule(window_bits, reset, greedy=greedy), texts)
    for text, windows in zip(texts, found, strict=True):
        piece_bytes = 0 if reset else 50
        expected = by_definition.windows(text, window_bits, reset=reset, piece_bytes=piece_bytes, greedy=greedy)
        assert windows == [(code, len(part)) for code, part in expected]


@pytest.mark.parametrize("greedy", [False, True])
@pytest.mark.parametrize("window_bits", [16, 37])
def test_any_code_decodes_by_the_definition(fixed, reference, window_bits, greedy) -> None:
    random, limbs = np.random.default_rng(5), -(-window_bits // 16)
    values = [int(value) % 2**window_bits for value in random.integers(0, 2**60, 24)]
    codes = np.array(
        [[value << (16 * limbs - window_bits) >> 16 * (limbs - 1 - at) & 0xFFFF for at in range(limbs)]
         for value in values], np.uint16,
    )  # fmt: skip
    by_definition = reference(fixed, 14)
    expected = [by_definition.decode(value, window_bits, b"", longest=greedy) for value in values]
    assert decode_text(Model(fixed), _rule(window_bits, greedy=greedy), codes)[0] == b"".join(expected)


def test_all_bits_of_a_window_count(fixed, reference) -> None:
    """A code that differs from a text's in its last bits only, which its beginnings do not reach, is another."""
    by_definition, rule = reference(fixed, 14), _rule(64)
    for byte in b"ae \n":
        (code,) = by_definition.padded(bytes([byte]), 64, b"")
        limbs = [code >> 16 * (3 - at) & 0xFFFF for at in range(4)]
        for last in (0, 1):
            found, _ = decode_text(_model(fixed, rule), rule, np.array([[*limbs[:3], limbs[3] | last]], np.uint16))
            assert found == by_definition.decode(code | last, 64, b"")
            assert (found == bytes([byte])) == (last == 0)


@pytest.fixture(scope="module")
def sample(code_text: np.ndarray) -> list[bytes]:
    """100 kB in 200 texts."""
    data = code_text[:100_000].tobytes()
    return [data[at : at + 500] for at in range(0, len(data), 500)]


def _compiled(m1, scheme: str) -> Codec:
    code = CODES[scheme]
    return Codec(code.prune(code.propose(m1, 1 << 16, 16), np.zeros(0, np.uint8), 1 << 16), scheme=scheme)


@pytest.mark.parametrize(("scheme", "greedy"), [("delay", False), ("greedy", True)])
@pytest.mark.parametrize("kind", ["fixed", "floats"])
def test_16_bits_are_the_compiled_code(kind, scheme, greedy, fixed, floats, sample) -> None:
    predictor, m1 = (fixed, fixed) if kind == "fixed" else (floats, floats.m1)
    expected = _compiled(m1, scheme).encode_batch(sample)
    for windows, codes in zip(_encoded(predictor, _rule(16, greedy=greedy), sample), expected, strict=True):
        assert [code for code, _ in windows] == codes.tolist()


@pytest.mark.parametrize(("window_bits", "reset"), [(16, 1), (24, 2), (64, 0)])
@pytest.mark.parametrize("kind", ["fixed", "floats"])
def test_the_batch_does_not_matter(kind, fixed, floats, hard_texts, window_bits, reset) -> None:
    predictor, rule = (
        fixed if kind == "fixed" else floats,
        _rule(window_bits, reset, piece_bytes=30 if kind == "floats" else 400),
    )
    texts = hard_texts if kind == "fixed" else [text[:40] for text in hard_texts]
    together = _encoded(predictor, rule, texts)
    by_7 = [windows for at in range(0, len(texts), 7) for windows in _encoded(predictor, rule, texts[at : at + 7])]
    assert by_7 == together
    few = slice(None) if kind == "fixed" else slice(4, 9)
    assert [_encoded(predictor, rule, [text])[0] for text in texts[few]] == together[few]


class Shaken:
    """M1 as another machine might have it: after some bytes its frequencies differ."""

    exact = False

    def __init__(self, predictor) -> None:
        self.predictor = predictor

    def start(self, rows: int) -> np.ndarray:
        return self.predictor.start(rows)

    def read(self, memory: np.ndarray, symbols: np.ndarray, precision: int) -> tuple[np.ndarray, np.ndarray]:
        memory, cumulative = self.predictor.read(memory, symbols, precision)
        cumulative = cumulative.copy()
        cumulative[np.isin(symbols, list(b"=(:")), 1:256] -= 40
        cumulative[:, 1:256] = np.maximum(cumulative[:, 1:256], np.arange(1, 256))
        return memory, cumulative


@pytest.mark.parametrize(("window_bits", "reset", "size"), [(16, 1, 2000), (24, 2, 800), (64, 0, 800)])
def test_windows_that_do_not_come_back_are_made_shorter(fixed, code_text, window_bits, reset, size) -> None:
    text, rule = code_text[:size], _rule(window_bits, reset, piece_bytes=300)
    other, offsets = Model(Shaken(fixed)), np.array([0, 350, size])
    plain, _, _ = encode_texts(Model(fixed), rule, text, offsets)
    codes, _, bounds = encode_texts(Model(fixed), rule, text, offsets, verifier=other)
    assert not np.array_equal(codes, plain)
    for number, part in enumerate((text[:350], text[350:])):
        row = codes[bounds[number] : bounds[number + 1]]
        assert decode_text(other, rule, row)[0] == part.tobytes()


def test_a_long_likely_text_needs_more_room_than_was_there(fixed) -> None:
    text, rule = np.full(40_000, ord(" "), np.uint8), _rule(128)
    codes, lengths, _ = encode_texts(Model(fixed), rule, text, np.array([0, len(text)]))
    found, back, strange = decode_rows(Model(fixed), rule, codes, np.array([0]), np.array([len(codes)]))
    assert np.array_equal(found[0], text)
    assert np.array_equal(back, lengths)
    assert strange == 0
