"""The embedded families of problems: drawn from a seed, in splits that share nothing.

What a problem asks (its story and numbers, or what its function does) is hashed, and the hash says which of train,
validation and test it may be in, whatever the seed. Problems of the split "transfer" are of kinds that the other three
never contain.
"""

import hashlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import NamedTuple, Protocol

from models.rest_em import arithmetic, programs
from models.rest_em.records import Problem
from shammie.errors import UserError, unknown
from shammie.files import canonical_json

SPLITS = {"train": range(0, 6), "validation": range(6, 8), "test": range(8, 10)}  # of ten values of the hash
TRANSFER = "transfer"
TRIES = 20_000  # draws without a new problem, after which there are no more


class Draft(Hashable, Protocol):
    """What a family draws; equal ones make equal problems."""

    @property
    def content(self) -> str:
        """What is asked, without what changes only the wording."""
        ...

    def problem(self, identity: str) -> Problem | None:
        """It as a problem of that id; None where it makes no good one."""
        ...


class Family(NamedTuple):
    """A kind of problem.

    Attributes:
        levels: that it has.
        draw: a draft from a generator and a level, with `transfer=True` for those of the transfer split; None where
            the draw failed.
    """

    levels: tuple[int, ...]
    draw: Callable[..., Draft | None]


FAMILIES = {
    "arithmetic": Family(arithmetic.LEVELS, arithmetic.draw),
    "programs": Family(programs.LEVELS, programs.draw),
}


def problems(family: str, split: str, count: int, *, seed: int = 0, levels: Sequence[int] = (1, 2, 3)) -> list[Problem]:
    """Problems of a family, the same for the same arguments; a longer list begins with the shorter one.

    Args:
        family: one of FAMILIES.
        split: "train", "validation", "test" or "transfer". Splits are disjoint, also those of different seeds.
        count: how many.
        seed: of the draws.
        levels: the problems' levels, in turn.

    Returns:
        Problems with ids such as "arithmetic/train/000012", which do not tell seed and levels; no prompt is there
        twice.

    Raises:
        shammie.errors.UserError: there is no such family, split or level, or there are not as many problems.
    """
    if family not in FAMILIES:
        raise unknown("family of problems", family, FAMILIES)
    if split not in (*SPLITS, TRANSFER):
        raise unknown("split", split, (*SPLITS, TRANSFER))
    if count < 0:
        raise UserError(f"count {count} of problems is negative", "give 0 or more")
    known = FAMILIES[family].levels
    if wrong := [level for level in levels if level not in known]:
        raise UserError(f"{family} has no level {wrong[0]!r}", f"its levels are {known[0]} to {known[-1]}")
    if not levels:
        raise UserError(f"no levels of {family} are given", f"its levels are {known[0]} to {known[-1]}")
    streams = {level: _stream(family, split, seed, level) for level in levels}
    return [
        replace(next(streams[levels[number % len(levels)]]), id=f"{family}/{split}/{number:06d}")
        for number in range(count)
    ]


def _stream(family: str, split: str, seed: int, level: int) -> Iterator[Problem]:
    """The problems of one level, without ids; each prompt shows its level, so that two streams share none."""
    name = canonical_json([family, split, seed, level])
    random = Random(int.from_bytes(hashlib.sha256(name.encode()).digest(), "big"))
    transfer, drawn, prompts, tries = split == TRANSFER, set(), set(), 0
    while tries < TRIES:
        tries += 1
        draft = FAMILIES[family].draw(random, level, transfer=transfer)
        if draft is None or draft in drawn or not (transfer or split_of(draft.content) == split):
            continue
        drawn.add(draft)
        problem = draft.problem("")
        if problem is not None and problem.prompt not in prompts:
            prompts.add(problem.prompt)
            tries = 0
            yield problem
    have = f"{len(prompts):,} problems of level {level} for {split}"
    raise UserError(f"{family} has only {have}", "ask for fewer, or for more levels")


def split_of(content: str) -> str:
    """The split, other than transfer, that may have what is asked."""
    value = int.from_bytes(hashlib.sha256(content.encode()).digest()[:8], "big") % 10
    return next(name for name, values in SPLITS.items() if value in values)
