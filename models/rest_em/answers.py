"""Final answers that are numbers: where a solution states one, and its exact value.

A model that is trained on what passes learns whatever passes, so reading is strict: one number is one answer, and a
line that hedges ("5 or 6") or leaves something to work out ("3*5") is none. Values are fractions, never floats, and
nothing of the text is evaluated.
"""

import re
from collections import deque
from dataclasses import dataclass
from fractions import Fraction

MAX_DIGITS = 500
MAX_EXPONENT = 1000
MAX_LINE = 1000
NO_ANSWER = "no answer"
UNREADABLE = "unreadable answer"

_MARK = re.compile(r"answer\s*:|####", re.IGNORECASE)
_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9,])|[0-9]+)"
_DECIMAL = rf"(?:{_DIGITS}(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_NUMBER = re.compile(
    rf"(?P<sign>[-+]?)\s?[$€£¥]?(?:(?P<whole>[0-9]+) (?=[0-9]+/))?(?P<top>{_DECIMAL})(?:/(?P<under>{_DECIMAL}))?"
)
_LAST = re.compile(rf"(?<![\w.,/^])-?[$€£¥]?{_DECIMAL}(?:/{_DECIMAL})?(?![\w/^*]|[.,][0-9])")
_START = re.compile(r"[-+$€£¥0-9]|\.(?=[0-9])")
_FRACTION = re.compile(r"\\[dtc]?frac\s*\{(-?[0-9]+)\}\s*\{([0-9]+)\}")
_NOT_BEFORE = re.compile(r"[(\[]|\b(?:minus|negative|not|sqrt|root|square|cube|log)\b", re.IGNORECASE)
_NOT_AFTER = re.compile(
    r"^[^\W\d_](?![^\W\d_])|\b(?:dozens?|hundreds?|thousands?|[mbtr]+illions?|pi|squared|cubed)\b", re.IGNORECASE
)
_WORKING = frozenset("+-*/^<>≤≥≠±√!=|~÷·\\\N{MULTIPLICATION SIGN}")
_MINUS = str.maketrans("\N{MINUS SIGN}\N{EN DASH}\N{FULLWIDTH HYPHEN-MINUS}", "---")
_AROUND = " \t\r*_`"


@dataclass(frozen=True)
class Found:
    """A final answer.

    Attributes:
        value: the number; None where there is none.
        reason: why there is none: `NO_ANSWER` or `UNREADABLE`; "" where there is one.
    """

    value: Fraction | None
    reason: str = ""

    @property
    def text(self) -> str:
        """Normal form: "-7", "3/4"; "" where there is none."""
        return "" if self.value is None else str(self.value)


def last_match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """The last match of a pattern; None where there is none."""
    return next(iter(deque(pattern.finditer(text), maxlen=1)), None)


def is_marked(text: str) -> bool:
    """Whether a text marks its final answer, by "Answer:" or GSM8K's "####"."""
    return _MARK.search(text) is not None


def final_number(text: str, *, marked: bool) -> Found:
    """The final answer of a worked solution.

    It is what follows the last mark ("Answer:" in any case, or "####") on its line, or on the next line that is not
    empty: exactly one number, after the last "=" if there is one, with a currency sign, a unit or a full stop around
    it. Where nothing is marked it is the last number of the text.

    Args:
        text: the solution.
        marked: whether solutions of this kind mark their answer; then one that does not has none.
    """
    last = last_match(_MARK, text)
    if last is None and marked:
        return Found(None, NO_ANSWER)
    if last is None:
        last = last_match(_LAST, text[-100 * MAX_LINE :].translate(_MINUS))
        line = last[0] if last else ""
    else:
        line = text[last.end() : last.end() + 2 * MAX_LINE].lstrip(_AROUND + "\n").partition("\n")[0]
    if not line.strip(_AROUND):
        return Found(None, NO_ANSWER)
    value = number_of(line)
    return Found(value, UNREADABLE if value is None else "")


def number_of(text: str) -> Fraction | None:
    r"""The value of a text that states one number, such as "x = -1,234.50 dollars."; None for any other text.

    Read are integers with or without groups of thousands, decimals, exponents, fractions ("3/4", "1 1/2",
    \frac{3}{4}) and numbers of ASCII digits only. A unit is skipped, and so is a percent sign: "50%" is 50, for
    reference answers are written both with and without their unit. None too: a second number, operators, a letter
    that may be a variable ("5x"), words such as "million" or "minus", more than `MAX_LINE` characters or `MAX_DIGITS`
    digits, an exponent beyond `MAX_EXPONENT`, a denominator of 0.
    """
    if len(text) > MAX_LINE:
        return None
    text = _FRACTION.sub(r"\1/\2", text.translate(_MINUS))
    for noise in ("\\boxed{", "\\$", "\\%", "\\(", "\\)", "{", "}"):
        text = text.replace(noise, {"\\$": "$", "\\%": "%"}.get(noise, ""))
    text = text.strip(_AROUND)
    text = text[1:-1] if len(text) > 1 and text[0] == text[-1] == "$" else text
    text = text.rpartition("=")[2].strip(_AROUND).rstrip(".")
    start = _START.search(text)
    found = _NUMBER.match(text, start.start()) if start else None
    if found is None:
        return None
    before, after = text[: found.start()], text[found.end() :]
    if any(char in _WORKING or char.isnumeric() for char in before + after):
        return None
    if _NOT_BEFORE.search(before) or _NOT_AFTER.search(after) or before[-1:].isalpha() or before[-1:] == "_":
        return None
    return _value(found)


def _value(found: re.Match[str]) -> Fraction | None:
    top, under = _decimal(found["top"]), _decimal(found["under"] or "1")
    whole = _decimal(found["whole"] or "0")
    if top is None or whole is None or not under:
        return None
    return (whole + top / under) * (-1 if found["sign"] == "-" else 1)


def _decimal(text: str) -> Fraction | None:
    digits, _, exponent = text.replace(",", "").lower().partition("e")
    if len(digits) > MAX_DIGITS or len(exponent) > 5 or abs(int(exponent or 0)) > MAX_EXPONENT:
        return None
    return Fraction(digits) * Fraction(10) ** int(exponent or 0)
