"""What is measured of a model on a set of problems, and what the seeds' measurements say together."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.rest_em.metrics import (
    Interval,
    by_bucket,
    majority_at_k,
    mean_pass_at_k,
    paired_bootstrap,
    t_interval,
    wilson_interval,
)
from models.rest_em.records import Graded, Problem
from shammie.files import join, read_json


def measure(problems: Sequence[Problem], greedy: Sequence[Graded], drawn: Sequence[Graded] = ()) -> dict[str, Any]:
    """Measures of one model on one set.

    Args:
        problems: the set.
        greedy: one greedy solution of each, with its verdict.
        drawn: several samples of each; none leaves pass@k and majority votes out.

    Returns:
        `pass_at_1` with its 95 % interval over problems (`low`, `high`), `levels` ([right, all] of each), `passed` by
        problem, `failed` by reason; with samples also `samples`, `pass_at` and `majority_at` by k, `rates` by problem.
    """
    level = {one.id: one.level for one in problems}
    passed = {one.problem: one.passed for one in greedy}
    levels: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for problem, right in passed.items():
        levels[level[problem]][0] += right
        levels[level[problem]][1] += 1
    share = wilson_interval(sum(passed.values()), len(passed))
    found: dict[str, Any] = {
        "problems": len(passed),
        "pass_at_1": share.mean,
        "low": share.low,
        "high": share.high,
        "levels": {str(one): levels[one] for one in sorted(levels)},
        "passed": passed,
        "failed": dict(Counter(one.reason for one in greedy if not one.passed).most_common()),
    }
    if not drawn:
        return found
    by_problem: dict[str, list[Graded]] = defaultdict(list)
    for one in drawn:
        by_problem[one.problem].append(one)
    counts = [(len(them), sum(one.passed for one in them)) for them in by_problem.values()]
    samples = min(count for count, _ in counts)
    ks = [k for k in (1, 2, 4, 8, 16, 32, 64) if k <= samples]
    return found | {
        "samples": samples,
        "pass_at": {str(k): mean_pass_at_k(counts, k) for k in ks},
        "majority_at": {str(k): _majority_at(by_problem, k) for k in ks},
        "rates": {problem: sum(one.passed for one in them) / len(them) for problem, them in by_problem.items()},
    }


def _majority_at(by_problem: Mapping[str, Sequence[Graded]], k: int) -> float:
    """The share of problems whose most frequent answer among their first k samples is right."""
    votes = []
    for them in by_problem.values():
        ordered = sorted(them, key=lambda one: one.sample)
        votes.append(majority_at_k([one.answer for one in ordered], [one.passed for one in ordered], k))
    return float(np.mean(votes))


@dataclass(frozen=True)
class Place:
    """A model in a chain: a size, a seed, a variant ("" for the base) and an iteration, with what its steps left.

    Attributes:
        size: the model size's name.
        seed: of the chain.
        variant: the loop's name.
        iteration: from 1; 0 for the base.
        folders: what a step made ("model", "sample", "grade", "select", "evaluate") to the step's folder.
    """

    size: str
    seed: int
    variant: str
    iteration: int
    folders: Mapping[str, str]

    def measures(self) -> dict[str, Any]:
        """Set to its measures; empty where the model was not measured."""
        return read_json(join(self.folders["evaluate"], "measures.json")) if "evaluate" in self.folders else {}


class Found:
    """All that a run found, by place.

    Args:
        places: of all chains.
    """

    def __init__(self, places: Sequence[Place]) -> None:
        self.places = list(places)
        self._at = {(one.size, one.seed, one.variant, one.iteration): one for one in places}
        self._measures = {key: one.measures() for key, one in self._at.items()}

    def iterations(self, size: str, variant: str) -> int:
        """The last iteration of a variant at a size; 0 where there is none."""
        return max((one.iteration for one in self.places if (one.size, one.variant) == (size, variant)), default=0)

    def place(self, size: str, seed: int, variant: str, iteration: int) -> Place | None:
        """A place; iteration 0 is the base's whatever the variant."""
        return self._at.get((size, seed, variant if iteration else "", iteration))

    def measures(self, size: str, seed: int, variant: str, iteration: int) -> dict[str, Any]:
        """The measures there, by set."""
        return self._measures.get((size, seed, variant if iteration else "", iteration), {})

    def seeds(self, size: str, variant: str, iteration: int) -> list[int]:
        """The seeds whose model there was measured."""
        every = sorted({one.seed for one in self.places})
        return [seed for seed in every if self.measures(size, seed, variant, iteration)]

    def values(self, size: str, variant: str, iteration: int, what: str = "test") -> list[float]:
        """Greedy pass@1 on a set, a value a seed."""
        seeds = self.seeds(size, variant, iteration)
        found = [self.measures(size, seed, variant, iteration).get(what) for seed in seeds]
        return [one["pass_at_1"] for one in found if one]

    def gains(self, size: str, variant: str, iteration: int, what: str = "test", over: str = "") -> list[float]:
        """Pass@1 over the base's, or over the last model of another variant, a value a seed; in points (percent)."""
        other = self.iterations(size, over) if over else 0
        seeds = [seed for seed in self.seeds(size, variant, iteration) if self.measures(size, seed, over, other)]
        pairs = [
            (self.measures(size, seed, variant, iteration), self.measures(size, seed, over, other)) for seed in seeds
        ]
        return [100 * (a[what]["pass_at_1"] - b[what]["pass_at_1"]) for a, b in pairs if what in a and what in b]

    def over_problems(self, size: str, variant: str, iteration: int, what: str = "test", over: str = "") -> Interval:
        """The gain in points, as `gains`, with 95 % over problems: a paired bootstrap of the seeds' means."""
        other = self.iterations(size, over) if over else 0
        before, after = (self._passed(size, *place, what) for place in ((over, other), (variant, iteration)))
        common = sorted(set(before) & set(after))
        found = paired_bootstrap([before[one] for one in common], [after[one] for one in common], seed=0)
        return Interval(*(100 * one for one in found))

    def _passed(self, size: str, variant: str, iteration: int, what: str) -> dict[str, float]:
        """Problem to the share of the seeds' models that solve it."""
        them = [
            self.measures(size, seed, variant, iteration)[what]["passed"]
            for seed in self.seeds(size, variant, iteration)
        ]
        return {one: float(np.mean([passed[one] for passed in them])) for one in (them[0] if them else ())}

    def by_bucket(self, size: str, variant: str, iteration: int, what: str = "test") -> dict[str, list[float]]:
        """Gains in points by how often the base solves a problem, one a problem and seed (paper, section 5.4)."""
        gains: dict[str, list[float]] = defaultdict(list)
        for seed in self.seeds(size, variant, iteration):
            base = self.measures(size, seed, "", 0).get(what, {})
            after = self.measures(size, seed, variant, iteration)[what]
            if "rates" in base and "rates" in after:
                gained = {problem: 100 * (after["rates"][problem] - rate) for problem, rate in base["rates"].items()}
                for bucket, values in by_bucket(base["rates"], gained).items():
                    gains[bucket] += values
        return dict(gains)


def over_seeds(values: Sequence[float]) -> Interval:
    """Low, mean and high at 95 % over seeds, by Student's t; of one seed the value alone, three times."""
    if len(values) < 2:
        mean = float(np.mean(values)) if values else float("nan")
        return Interval(mean, mean, mean)
    return t_interval(values)


def over_values(values: Sequence[float]) -> Interval:
    """Low, mean and high of a mean of many values at 95 %, by the bootstrap."""
    return paired_bootstrap([0.0] * len(values), values, seed=0)
