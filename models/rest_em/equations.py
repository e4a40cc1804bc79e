"""The equations that a worked solution states, such as "3*5=15", read with exact numbers and never evaluated as code.

Where a text has GSM8K's marks, only these are read: "3*5 = <<3*5=15>>15". What cannot be read for sure is passed over:
a run of numbers and signs counts if nothing before or after it (a letter, "^", "%", a unit in its midst) could change
its value.
"""

import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise

_MARKED = re.compile(r"<<([^<>]{0,400})>>")
_TIMES = re.compile(r"(?<=[0-9)])[ ]?[x\u00d7][ ]?(?=[0-9(])")
_NUMBER = r"[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?"
_TOKEN = re.compile(rf"(?P<number>{_NUMBER})|(?P<sign>[-+*/()=])|(?P<space>[ \t$]+)|(?P<other>.)", re.DOTALL)
_BEFORE = re.compile(r"(?:\A|[\s,;!?<>\"'$])\Z")  # what may stand before an equation
_GOES_ON = re.compile(r"\b(?:of|times|plus|minus|by|over)\s*\Z")  # and words that say it is the end of one
_AFTER = re.compile(r"(?![%^_\\])")  # and what may not follow it
_LOOK_BACK = 12  # characters, for these words
MOST_TOKENS, MOST_DIGITS = 60, 30  # of an equation and a number; longer ones are passed over
Equation = tuple[str, bool]


def equations(text: str) -> list[Equation]:
    """The equations of a text in order: each without spaces, and whether it is true.

    A side that is written with decimals is true within one unit of its last digit, so that a rounded quotient is.
    Of "a=b=c" each pair is an equation, if one of its sides has a sign of arithmetic.
    """
    marked = _MARKED.findall(text)
    found = []
    for part in marked or [text]:
        for run in _runs(_TIMES.sub("*", part).replace("\u00f7", "/").replace("\u2212", "-")):
            found += _equations_of(run)
    return found


def _runs(text: str) -> Iterator[list[str]]:
    """Stretches of numbers and signs with nothing else between."""
    run: list[str] = []
    start, end = 0, 0
    for match in _TOKEN.finditer(text):
        if match.lastgroup == "other":
            if _clear(text, start, end) and run:
                yield run
            run = []
        elif match.lastgroup != "space":
            if run and match.lastgroup == "number" and (run[-1] == ")" or run[-1][0].isdigit()):
                if _clear(text, start, end):
                    yield run  # two numbers side by side: the second begins another equation
                run = []
            start = start if run else match.start()
            run.append(match[0])
            end = match.end()
    if run and _clear(text, start, end):
        yield run


def _clear(text: str, start: int, end: int) -> bool:
    before = text[max(start - _LOOK_BACK, 0) : start]
    return bool(_BEFORE.search(before) and not _GOES_ON.search(before) and _AFTER.match(text, end))


def _equations_of(run: list[str]) -> Iterator[Equation]:
    if len(run) > MOST_TOKENS or run[0] in {"+", "-", "*", "/", "="} or any(len(one) > MOST_DIGITS for one in run):
        return  # one that begins with a sign goes on from something that was not read
    sides: list[list[str]] = [[]]
    for token in run:
        if token == "=":
            sides.append([])
        else:
            sides[-1].append(token)
    for left, right in pairwise(sides):
        values = [_value(side) for side in (left, right)]
        if None not in values and max(len(left), len(right)) >= 3:
            slack = max(_slack(left), _slack(right))
            difference = abs(values[0] - values[1])  # type: ignore[operator]
            yield f"{''.join(left)}={''.join(right)}", difference < slack or not difference


def _slack(side: list[str]) -> Fraction:
    """A unit of the last digit of a side that is one number with decimals; else 0."""
    decimals = side[0].partition(".")[2] if len(side) == 1 else ""
    return Fraction(1, 10 ** len(decimals)) if decimals else Fraction(0)


def _value(side: list[str]) -> Fraction | None:
    """A side's value; None where it is no expression, or divides by 0."""
    rest = side[::-1]
    try:
        value = _sum(rest)
    except (IndexError, ValueError, ZeroDivisionError):
        return None
    return None if rest else value


def _sum(rest: list[str]) -> Fraction:
    value = _product(rest)
    while rest and rest[-1] in {"+", "-"}:
        value = value + _product(rest) if rest.pop() == "+" else value - _product(rest)
    return value


def _product(rest: list[str]) -> Fraction:
    value = _factor(rest)
    while rest and rest[-1] in {"*", "/"}:
        value = value * _factor(rest) if rest.pop() == "*" else value / _factor(rest)
    return value


def _factor(rest: list[str]) -> Fraction:
    token = rest.pop()
    if token == "-":
        return -_factor(rest)
    if token != "(":
        return Fraction(token.replace(",", ""))
    value = _sum(rest)
    if rest.pop() != ")":
        raise ValueError("an open bracket")
    return value
