"""What the steps of `adversarial_arithmetic` found, as numbers: what the page and the result show."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from beam_jobs.adversarial_arithmetic.search import ATTACKS, CANDIDATES
from beam_jobs.adversarial_arithmetic.trials import TRIALS
from models.adversarial_arithmetic.measures import (
    Tried,
    accuracy,
    best_of,
    broken_share,
    by_digits,
    joined,
    leak_report,
    success_rate,
)
from models.adversarial_arithmetic.questions import Question, split_of
from models.adversarial_arithmetic.records import Attack, Candidate, Goal, Trial
from models.rest_em.metrics import Interval
from models.rest_em.records import read_records
from shammie.files import exists, join, read_json
from workflows.adversarial_arithmetic_steps import ATTACKED, CLEAN, COUNTS, OVERLOAD, RANDOM, RANDOM_WORDS, questions_in

CONTROLS = (CLEAN, RANDOM, RANDOM_WORDS, OVERLOAD, ATTACKED)
# kinds of the grammar that only assert an answer; conventions, corrections and further steps change what is asked, so
# that a reader may well follow them
CLAIMS = tuple(f"grammar: {kind}" for kind in ("claim", "quote", "equation"))
KS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Part:
    """A step that asked a model.

    Attributes:
        part: "clean", "attack", "controls", "confirm", "transfer", "measure" or "again".
        victim: who was asked.
        writer: of the search; "" where there was none.
        hardening: of the victim; "" for none.
        folder: of the step.
        questions: that were asked.
        tried: trials with what they were of.
        counts: what was asked (`beam_jobs.adversarial_arithmetic.trials.COUNTED`).
    """

    part: str
    victim: str
    writer: str
    hardening: str
    folder: str
    questions: tuple[Question, ...]
    tried: tuple[Tried, ...]
    counts: dict[str, int]

    def of(self, *sources: str) -> list[Tried]:
        """The trials of some sources."""
        return [one for one in self.tried if one.candidate.source in sources]

    def others(self) -> list[Tried]:
        """The trials of the other generator's texts, which no hardening saw."""
        return [one for one in self.tried if one.candidate.source not in CONTROLS]

    def of_split(self, split: str) -> "tuple[list[Tried], list[Question]]":
        """Trials and questions of a split."""
        asked = [one for one in self.questions if split_of(one) == split]
        return [one for one in self.tried if split_of(one.question) == split], asked

    def attacks(self) -> list[Attack]:
        """What worked, the surest first; of transfer the attacks that were tried again."""
        name = join(self.folder, ATTACKS)
        return read_records(name, Attack) if exists(name) else read_records(join(self.folder, "sources.jsonl"), Attack)


def part_of(told: dict[str, Any], folder: str) -> Part:
    """Reads a step's output.

    Args:
        told: its place: part, victim and the rest.
        folder: of the step.
    """
    asked = questions_in(folder)
    tried = joined(read_records(join(folder, TRIALS), Trial), read_records(join(folder, CANDIDATES), Candidate), asked)
    named = {name: told.get(name, "") for name in ("part", "victim", "writer", "hardening")}
    return Part(**named, folder=folder, questions=tuple(asked.values()), tried=tuple(tried),
                counts=read_json(join(folder, COUNTS)))  # fmt: skip


def of(parts: Sequence[Part], part: str, **place: str) -> list[Part]:
    """The parts of a kind, at a place."""
    return [
        one for one in parts if one.part == part and all(getattr(one, name) == value for name, value in place.items())
    ]


def literal(tried: Sequence[Tried]) -> list[Tried]:
    """Trials whose text states no equation of the question's own."""
    return [one for one in tried if not one.candidate.leak]


def claims(part: Part) -> list[Tried]:
    """Trials of texts that only assert an answer, of the grammar's."""
    return part.of(*CLAIMS)


def broken(part: Part, goal: Goal = "any", tried: Sequence[Tried] | None = None) -> Interval:
    """The share of a part's questions that some text broke."""
    return broken_share(part.tried if tried is None else tried, part.questions, goal)


def curve(tried: Sequence[Tried], goal: Goal = "any") -> dict[int, float]:
    """The chance that k texts hold one that works, for those k that every question has."""
    if not tried:
        return {}
    counts: dict[str, int] = {}
    for one in tried:
        counts[one.question.id] = counts.get(one.question.id, 0) + 1
    return {k: best_of(tried, k, goal) for k in KS if k <= min(counts.values())}


def result(parts: Sequence[Part]) -> dict[str, Any]:
    """The flat result: shares of 1; `…_low` and `…_high` bound 95 % over questions."""
    out: dict[str, Any] = {}
    for one in of(parts, "attack"):
        name = f"{one.victim}_{one.writer}"
        out |= _bounded(f"{name}_broken_any", broken(one))
        out |= _bounded(f"{name}_broken_targeted", broken(one, "targeted"))
        out[f"{name}_broken_any_without_equation"] = broken(one, tried=literal(one.tried)).mean
        if one.writer == "grammar":
            out[f"{name}_broken_any_by_claims"] = broken(one, tried=claims(one)).mean
        out[f"{name}_broken_targeted_without_equation"] = broken(one, "targeted", literal(one.tried)).mean
        if one.tried:
            out |= _bounded(f"{name}_success_any", success_rate(one.tried))
            out |= _bounded(f"{name}_success_targeted", success_rate(one.tried, "targeted"))
            for digits, rate in by_digits(one.tried).items() if len(by_digits(one.tried)) > 1 else ():
                out[f"{name}_success_any_{digits}_digits"] = rate.mean
            out[f"{name}_leak_share"] = leak_report(one.tried).share
        out[f"{name}_candidates"] = len(one.tried)
        out[f"{name}_untried"] = one.counts["untried"]
    for one in of(parts, "controls"):
        for what, tried in (
            ("random", one.of(RANDOM)),
            ("random_words", one.of(RANDOM_WORDS)),
            ("others", one.others()),
        ):
            if tried:
                out[f"{one.victim}_{what}_broken_any"] = broken(one, tried=tried).mean
                out[f"{one.victim}_{what}_success_any"] = success_rate(tried).mean
                out[f"{one.victim}_{what}_texts"] = len(tried)
    for one in (*of(parts, "controls"), *of(parts, "clean")):
        if clean := one.of(CLEAN):
            out[f"{one.victim}_clean_accuracy"] = accuracy(clean).mean
    for one in of(parts, "confirm"):
        out |= _bounded(f"{one.victim}_{one.writer}_confirmed_any", broken(one))
    for one in of(parts, "measure"):
        name = one.hardening or "start"
        out[f"{name}_clean_accuracy"] = accuracy(one.of(CLEAN)).mean
        if held_out := one.of(ATTACKED):
            out |= _bounded(f"{name}_held_out_success", success_rate(held_out))
            out |= _bounded(f"{name}_held_out_broken", broken_share(held_out, one.of_split("test")[1]))
        if others := one.others():
            out[f"{name}_others_success"] = success_rate(others).mean
        for rule, share in read_json(join(one.folder, "rules.json")).items():
            out[f"{name}_rule_{rule}"] = share
    for one in of(parts, "again"):
        out |= _bounded(f"{one.hardening or 'start'}_attacked_again_broken", broken(one))
        out[f"{one.hardening or 'start'}_attacked_again_broken_by_claims"] = broken(one, tried=claims(one)).mean
        if one.tried:
            out[f"{one.hardening or 'start'}_attacked_again_success"] = success_rate(one.tried).mean
    for name in ("requests", "retries", "cache_hits", "dead", "unasked", "tokens", "prompt_tokens"):
        out[name] = sum(one.counts.get(name, 0) for one in parts)
    return out


def _bounded(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
