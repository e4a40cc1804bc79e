"""Problems of the training set that an evaluation set has too: by their whole text, and by runs of words."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from models.rest_em.records import Problem

SAME_TEXT = "same text"

_WORD = re.compile(r"\w+|[^\w\s]")


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

    Signs stay because problems that differ in nothing else differ in them: "2 + 3" and "2 * 3".
    """
    return [word for word in _WORD.findall(text.lower()) if word not in ".,;:!?'\"`$()[]{}"]


def overlapping(train: Iterable[Problem], evaluation: Iterable[Problem], n: int = 13) -> list[Overlap]:
    """The pairs of prompts with the same words, or with `n` consecutive words in common.

    13 words are the rule of GPT-3's evaluation (Brown et al., arXiv:2005.14165, appendix C). Prompts of fewer words
    are compared as a whole only. What a prompt's template adds counts as well: one of `n` words and more would make
    all problems overlap.

    Args:
        train: the problems to train on.
        evaluation: the problems to evaluate on.
        n: words.

    Returns:
        One for each pair, in the order of `train`, then of `evaluation`.

    Raises:
        ValueError: n is not above 0.
    """
    if n < 1:
        raise ValueError(f"n must be above 0, got {n}")
    order: dict[str, int] = {}
    whole: dict[str, list[str]] = {}
    runs: dict[str, list[str]] = {}
    for problem in evaluation:
        order[problem.id] = len(order)
        words = words_of(problem.prompt)
        whole.setdefault(" ".join(words), []).append(problem.id)
        for run in dict.fromkeys(_runs(words, n)):
            runs.setdefault(run, []).append(problem.id)
    found = []
    for problem in train:
        words = words_of(problem.prompt)
        why = dict.fromkeys(whole.get(" ".join(words), ()), SAME_TEXT)
        for run in _runs(words, n):
            for other in runs.get(run, ()):
                why.setdefault(other, f"{n} words: {run}")
        found += [Overlap(problem.id, other, why[other]) for other in sorted(why, key=order.__getitem__)]
    return found


def _runs(words: list[str], n: int) -> Iterator[str]:
    return (" ".join(words[start : start + n]) for start in range(len(words) - n + 1))
