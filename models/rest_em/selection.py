"""Which graded samples are trained on: those that passed, each once, and no more than a cap of each problem.

ReST-EM (arXiv:2312.06585) keeps at most 10 correct solutions of a problem so that easy problems do not crowd out the
others; which 10 it does not say: here the first by a seeded hash. With `key="equations"` two solutions with the same
sequence of equations count as one, as in RFT (Yuan et al., arXiv:2308.01825), and one that states a false equation is
dropped; of equal ones RFT keeps the farthest in edit distance from the others, here it is the one of lowest number.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

from models.rest_em.equations import equations
from models.rest_em.records import Graded, Record
from shammie.errors import UserError, unknown
from shammie.files import canonical_json

Key = Literal["text", "equations"]
NOT_FINISHED, NOT_PASSED, FALSE_EQUATION = "not finished", "not passed", "false equation"
DUPLICATE, OVER_THE_CAP = "duplicate", "over the cap"
CAP = 10


@dataclass(frozen=True)
class Dropped(Record):
    """A sample that is not trained on, and why.

    Attributes:
        problem: the problem's id.
        sample: the sample's number.
        reason: the first that applies of "not finished", the verdict's own, "false equation", "duplicate" and
            "over the cap".
    """

    problem: str
    sample: int
    reason: str


@dataclass(frozen=True)
class Selection:
    """Samples in the order of (problem, sample): each is in one of the two.

    Attributes:
        kept: to train on.
        dropped: the others.
    """

    kept: tuple[Graded, ...]
    dropped: tuple[Dropped, ...]

    @cached_property
    def problems(self) -> int:
        """How many problems have a sample."""
        return len({one.problem for one in (*self.kept, *self.dropped)})

    @cached_property
    def covered(self) -> int:
        """How many problems have a sample that is kept."""
        return len({one.problem for one in self.kept})

    @property
    def coverage(self) -> float:
        """The share of problems with a sample that is kept; 0 where there are none."""
        return self.covered / self.problems if self.problems else 0.0

    @property
    def mean_kept(self) -> float:
        """Samples kept per problem, those without any included; 0 where there are none."""
        return len(self.kept) / self.problems if self.problems else 0.0

    @cached_property
    def reasons(self) -> dict[str, int]:
        """How many were dropped for each reason, in the order of their names."""
        return dict(sorted(Counter(one.reason for one in self.dropped).items()))


def select(graded: Iterable[Graded], *, cap: int = CAP, seed: int = 0, key: Key = "text") -> Selection:
    """Chooses the samples to train on.

    The result depends on the samples, not on their order; of problems that are divided among several calls it is the
    same. Samples that the limit of tokens cut are dropped even if they passed: they would teach not to end.

    Args:
        graded: all samples of each problem.
        cap: the most that are kept of a problem; 0 keeps all.
        seed: of the rank by which they are chosen.
        key: what makes two samples of a problem one: the exact text, or the sequence of its equations.

    Raises:
        shammie.errors.UserError: a sample is there twice, or there is no such cap or key.
    """
    if cap < 0:
        raise UserError(f"a cap of {cap} samples is negative", "give 0 for no cap")
    if key not in get_args(Key):
        raise unknown("key of duplicates", key, get_args(Key))
    by_problem: dict[str, dict[int, Graded]] = {}
    for one in graded:
        samples = by_problem.setdefault(one.problem, {})
        if one.sample in samples:
            raise UserError(f"sample {one.sample} of problem {one.problem!r} is there twice", "grade each sample once")
        samples[one.sample] = one
    kept, dropped = [], []
    for _, samples in sorted(by_problem.items()):
        reasons = _reasons([samples[number] for number in sorted(samples)], cap, seed, key)
        for one, reason in reasons:
            if reason:
                dropped.append(Dropped(one.problem, one.sample, reason))
            else:
                kept.append(one)
    return Selection(tuple(kept), tuple(dropped))


def rank(seed: int, problem: str, sample: int) -> bytes:
    """What orders a problem's samples for the cap: SHA-256 of the three as canonical JSON."""
    return hashlib.sha256(canonical_json([seed, problem, sample]).encode()).digest()


def _reasons(samples: list[Graded], cap: int, seed: int, key: Key) -> list[tuple[Graded, str]]:
    """The samples of one problem, by number, each with the reason to drop it, or ""."""
    identity = _text_key if key == "text" else _equations_key
    reasons: dict[int, str] = {}
    seen = set()
    for one in samples:
        if not one.finished:
            reasons[one.sample] = NOT_FINISHED
        elif not one.passed:
            reasons[one.sample] = one.reason or NOT_PASSED
        elif (name := identity(one.text)) is None:
            reasons[one.sample] = FALSE_EQUATION
        elif name in seen:
            reasons[one.sample] = DUPLICATE  # the lowest number stays, which favours no text in the ranking below
        else:
            seen.add(name)
    left = sorted(
        (one for one in samples if one.sample not in reasons), key=lambda one: rank(seed, one.problem, one.sample)
    )
    for one in left[cap:] if cap else ():
        reasons[one.sample] = OVER_THE_CAP
    return [(one, reasons.get(one.sample, "")) for one in samples]


def _text_key(text: str) -> tuple[str, ...]:
    return ("text", text)


def _equations_key(text: str) -> tuple[str, ...] | None:
    """The equations in order, or the text where it has none; None where one is false."""
    found = equations(text)
    if not all(true for _, true in found):
        return None
    return ("equations", *(equation for equation, _ in found)) if found else _text_key(text)
