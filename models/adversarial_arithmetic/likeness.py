"""When two texts count as the same, or as nearly so."""

import re
from collections.abc import Set
from itertools import pairwise

from models.adversarial_arithmetic.number_words import number_words
from models.adversarial_arithmetic.replies import plain_digits

NEARLY = 0.8
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_WORD = re.compile(r"[^\W_]+|[^\w\s]")


def folded(text: str) -> str:
    """The text without differences of case and of spaces, for the search of duplicates."""
    return "".join(text.casefold().split())


def word_pairs(text: str) -> frozenset[tuple[str, str]]:
    """Pairs of neighbouring words and signs, in lower case, with each number as "#" and the text's ends as words."""
    text = plain_digits(text)
    for one in reversed(tuple(number_words(text))):
        text = f"{text[: one.start]} # {text[one.end :]}"
    return frozenset(pairwise(["^", *_WORD.findall(_NUMBER.sub(" # ", text.lower())), "$"]))


def jaccard(first: Set[object], second: Set[object]) -> float:
    """The share of common members among all; 1 for two empty sets."""
    either = len(first | second)
    return len(first & second) / either if either else 1.0


def nearly_the_same(first: Set[object], second: Set[object]) -> bool:
    """Whether two texts' `word_pairs` have a Jaccard similarity over `NEARLY`."""
    return jaccard(first, second) > NEARLY
