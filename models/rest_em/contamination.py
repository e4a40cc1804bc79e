"""Held-out problems that the training set has too: by their whole text, and by runs of words."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from models.rest_em.records import Problem

SAME_TEXT = "same text"
COMMON = 10

_WORD = re.compile(r"\w+|([^\w\s])\1*")
_PUNCTUATION = frozenset(".,;:!?'\"`$()[]{}")
_LONGEST_SIGN = 3  # a rule of five dashes is one of six


class Overlap(NamedTuple):
    """Two problems that have text in common.

    Attributes:
        train: id of the one that is trained on.
        evaluation: id of the one that is evaluated on.
        why: `SAME_TEXT`, or the first run of words that they share, as "13 words: ...".
    """

    train: str
    evaluation: str
    why: str


def words_of(text: str) -> list[str]:
    """The words of a text, and signs of its mathematics, in lower case; spaces and punctuation are left out.

    Signs stay because problems that differ in nothing else differ in them: "2 + 3" and "2 * 3". A sign that is
    repeated is one word, and of more than 3 like it 3 are left: a line of dashes is no line of words.
    """
    found = (one[0] if one[1] is None else one[0][:_LONGEST_SIGN] for one in _WORD.finditer(text.lower()))
    return [word for word in found if word[0] not in _PUNCTUATION]


def overlapping(
    train: Iterable[Problem], evaluation: Iterable[Problem], n: int = 13, *, common: int = COMMON
) -> list[Overlap]:
    """The held-out problems with the same words as one of the training set, or with `n` consecutive ones in common.

    13 words are the rule of GPT-3's evaluation (Brown et al., arXiv:2005.14165, appendix C), which also ignores runs
    that collide with more than 10 documents: those are a dataset's phrases, such as "the first line of the input
    contains". So is here a run more than half of which lies in such ones: a phrase and the next word are no problem
    either. Prompts of fewer words are compared as a whole only; the same whole text is never ignored. Time and memory
    grow with the text, not with the number of pairs.

    Args:
        train: the problems to train on; one that is there twice counts once.
        evaluation: the problems to evaluate on.
        n: words.
        common: runs of words in the prompts of more problems of `train` than this are ignored.

    Returns:
        One for each problem of `evaluation` that overlaps, in their order, with the first of `train` by id.

    Raises:
        ValueError: n or common is not above 0.
    """
    if n < 1 or common < 1:
        raise ValueError(f"n and common must be above 0, got {n} and {common}")
    held_out = list(evaluation)
    wanted = {key for problem in held_out for key in _keys(words_of(problem.prompt), n)}
    first, times = _found_in(train, wanted, n)
    found = []
    for problem in held_out:
        words = words_of(problem.prompt)
        whole, *runs = _keys(words, n)
        told = [(first[whole], -1)] if whole in first else []
        ignored = {at for place, key in enumerate(runs) if times[key] > common for at in range(place, place + n)}
        for place, key in enumerate(runs):
            if 0 < times[key] <= common and 2 * len(ignored.intersection(range(place, place + n))) <= n:
                told.append((first[key], place))
        if told:
            seen_in, place = min(told)
            why = SAME_TEXT if place < 0 else f"{n} words: {' '.join(words[place : place + n])}"
            found.append(Overlap(seen_in, problem.id, why))
    return found


def _found_in(problems: Iterable[Problem], wanted: set[bytes], n: int) -> tuple[dict[bytes, str], Counter[bytes]]:
    """Of each wanted key that a problem has: the least id of such problems, and how many they are."""
    first: dict[bytes, str] = {}
    times: Counter[bytes] = Counter()
    seen: set[bytes] = set()
    for problem in problems:
        if (itself := _hash("problem", problem.id, problem.prompt)) in seen:
            continue
        seen.add(itself)
        for key in wanted.intersection(_keys(words_of(problem.prompt), n)):
            times[key] += 1
            first[key] = min(problem.id, first.get(key, problem.id))
    return first, times


def _keys(words: list[str], n: int) -> Iterator[bytes]:
    """Of the whole text, then of each run of n words; hashes, for the runs are n times as long as the text."""
    yield _hash("whole", *words)
    for start in range(len(words) - n + 1):
        yield _hash("run", *words[start : start + n])


def _hash(*words: str) -> bytes:
    return hashlib.blake2b("\0".join(words).encode(errors="replace"), digest_size=16).digest()
