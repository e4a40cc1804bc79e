"""English number words: where a text has them and what they are worth."""

import re
from collections.abc import Iterator
from typing import NamedTuple

SMALL = dict(
    zip(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen".split(),
        range(20),
        strict=True,
    )
)
TENS = dict(zip("twenty thirty forty fifty sixty seventy eighty ninety".split(), range(20, 100, 10), strict=True))
SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}

_VALUES = {**SMALL, **TENS, "a": 1, "an": 1, "nought": 0, "naught": 0, "fourty": 40}
_GAP = r"(?:\s*-\s*|\s+)"
_ONES = "(?:" + "|".join(list(SMALL)[1:10]) + ")"
_SMALL = "(?:" + "|".join(sorted([*SMALL, "nought", "naught"], key=len, reverse=True)) + ")"
_TENS = "(?:" + "|".join([*TENS, "fourty"]) + ")"
_BELOW_100 = rf"(?:{_TENS}(?:{_GAP}{_ONES})?|{_SMALL})"
_AND = rf"(?:(?:\s*,)?\s+and\s+|\s*,\s*|{_GAP})"
_BELOW_1000 = rf"(?:(?:{_BELOW_100}|an?){_GAP}hundred(?:{_AND}{_BELOW_100})?|{_BELOW_100})"
_SCALE = "(?:thousand|million|billion|trillion)"
_NUMBER = re.compile(
    rf"\b(?:(?P<minus>minus|negative){_GAP})?"
    rf"(?P<words>(?:{_BELOW_1000}|an?){_GAP}{_SCALE}(?:{_AND}{_BELOW_1000}{_GAP}{_SCALE})*(?:{_AND}{_BELOW_1000})?"
    rf"|{_BELOW_1000})\b(?P<part>\s+point(?:{_GAP}{_SMALL})+\b|\s+and\s+an?\s+(?:half|third|quarter)\b|{_GAP}(?:halves|thirds|quarters)\b)?",
    re.IGNORECASE,
)
_BEFORE_ONE = re.compile(r"(?:^|\b(?:is|equals|makes|gives|answer|be|to|say|says)\b|[=:])\W*$", re.IGNORECASE)


class Word(NamedTuple):
    """A number in words.

    Attributes:
        start: of its first letter in the text.
        end: behind its last letter.
        value: what it is worth; None where it is no integer, such as "three point five".
    """

    start: int
    end: int
    value: int | None


def number_words(line: str) -> Iterator[Word]:
    """The numbers of a line in order, such as "forty-two", "minus three" and "one hundred and five".

    A lone "one" is one only where it ends the line or a clause and stands alone or after "is", "=" and the like: "no
    one", "that one" and "one moment" are no numbers.
    """
    for found in _NUMBER.finditer(line):
        words = found["words"].lower()
        alone = line[found.end() :].lstrip()[:1] in ("", *".,;!)*\"'")
        if words == "one" and not found["minus"] and not (alone and _BEFORE_ONE.search(line[: found.start()])):
            continue
        yield Word(*found.span(), None if found["part"] else _value(words) * (-1 if found["minus"] else 1))


def _value(words: str) -> int:
    total = current = 0
    for word in re.findall(r"[a-z]+", words):
        if word == "hundred":
            current *= 100
        elif word in SCALES:
            total, current = total + current * SCALES[word], 0
        elif word != "and":
            current += _VALUES[word]
    return total + current
