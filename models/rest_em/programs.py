"""Small Python functions: one to three operations on a number, a list or a string, specified by a line and two tests.

The level is the number of operations. Each has a line of the solution. The tests are chosen so that a solution with a
constant one too high, or with a step left out, fails at least one of them.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Any, NamedTuple

from models.rest_em.operations import MAIN, TRANSFER, VARIABLES, Operation, constant, higher, lower
from models.rest_em.records import Problem

LEVELS = (1, 2, 3)
KINDS = ("int", "list", "str")  # what a function may be given
SHOWN, FEWEST, MOST = 2, 4, 6  # tests in the prompt, and in all
PAIRS_HELD_OUT = 8  # one in so many pairs of operations follows each other in the transfer split only
EDGES: dict[str, tuple[Any, ...]] = {"int": (0, -1), "list": ([], [0]), "str": ("", "a")}
WORDS: tuple[str, ...] = (
    "apple",
    "banana",
    "code",
    "Data",
    "egg",
    "Fox",
    "hello",
    "ink",
    "jam",
    "lemon",
    "moon",
    "Tree",
)
Step = tuple[Operation, tuple[Any, ...]]


class Mutant(NamedTuple):
    """A chain with a fault in one step; `step` is None where it is left out."""

    place: int
    step: Step | None
    needed: bool


@dataclass(frozen=True)
class Chain:
    """Operations one after another, with their constants.

    Attributes:
        kind: what the function is given, one of KINDS.
        steps: operations, each of what the last one gave.
    """

    kind: str
    steps: tuple[Step, ...]

    @property
    def content(self) -> str:
        """The specification in words: what decides the split."""
        return f"{VARIABLES[self.kind]}: {', then '.join(written(one.text, values) for one, values in self.steps)}"

    @property
    def body(self) -> str:
        """The function without its head."""
        lines = []
        for number, (one, values) in enumerate(self.steps, start=1):
            left = "return" if number == len(self.steps) else f"{VARIABLES[one.gives]} ="
            lines.append(f"    {left} {written(one.code, values)}\n")
        return "".join(lines)

    def problem(self, identity: str) -> Problem | None:
        """The chain as a problem; None where no few tests tell it from its mutants."""
        tests = chosen_tests(self)
        if tests is None:
            return None
        shown, head = tests[:SHOWN], f"def f({VARIABLES[self.kind]}):\n"
        return Problem(
            id=identity,
            prompt=f"# From {self.content}.\n" + "".join(f"# {one}\n" for one in shown) + head,
            verifier="python",
            family="programs",
            level=len(self.steps),
            tests=tuple(f"assert {one}" for one in tests),
            prefix=head,
            solution=self.body,
        )


def written(template: str, values: Sequence[Any]) -> str:
    """A template with the constants, as Python writes them, at {a}, {b} and {c}."""
    return template.format(**dict(zip("abc", map(literal, values), strict=False)))


def literal(value: Any) -> str:
    """A value in Python, with double quotes as the project's style has them."""
    if isinstance(value, str):
        return json.dumps(value)
    return f"[{', '.join(map(literal, value))}]" if isinstance(value, list) else repr(value)


def draw(random: Random, level: int, *, transfer: bool = False) -> Chain | None:
    """A random chain; None where it is not of the asked kind.

    Args:
        random: where the draws come from.
        level: the number of operations, one of LEVELS.
        transfer: draws what the other splits never contain: an operation of TRANSFER, or a pair that is held out.
    """
    kind = given = random.choice(KINDS)
    steps: list[Step] = []
    for place in range(level):
        pool = _POOLS[given, transfer, place == level - 1]
        operation = random.choice(pool)
        if any(operation is one for one, _ in steps):
            return None
        values: list[Any] = []
        for need in operation.constants:
            values.append(constant(random, need, values))
        steps.append((operation, tuple(values)))
        given = operation.gives
    return Chain(kind, tuple(steps)) if is_transfer([one for one, _ in steps]) == transfer else None


def is_transfer(operations: Sequence[Operation]) -> bool:
    """Whether only the transfer split may have these, one after another."""
    pairs = pairwise(operations)
    return any(one in _TRANSFER for one in operations) or any(pair in _PAIRS for pair in pairs)


def chosen_tests(chain: Chain) -> list[str] | None:
    """Comparisons such as "f(3) == 7" that every mutant fails; None where a few do not do it."""
    inputs = candidates(chain, Random(chain.content))
    traces = [[value] for value in inputs]  # the value before each step, and the result
    for trace in traces:
        for operation, values in chain.steps:
            trace.append(operation.apply(trace[-1], *values))
    killers = []  # of each mutant, the inputs that tell it apart
    for mutant in mutants(chain):
        found = {number for number, trace in enumerate(traces) if _differs(chain, mutant, trace)}
        if found:
            killers.append(found)
        elif mutant.needed:
            return None
    order = _ordered(_cover(killers, len(inputs)), [trace[-1] for trace in traces], len(EDGES[chain.kind]))
    if order is None:
        return None
    return [f"f({literal(inputs[one])}) == {literal(traces[one][-1])}" for one in order]


def _cover(killers: list[set[int]], inputs: int) -> list[int]:
    """Few inputs that tell all mutants apart, the most telling first (greedy set cover)."""
    order: list[int] = []
    while killers:
        order.append(max(range(inputs), key=lambda number: sum(number in one for one in killers)))
        killers = [one for one in killers if order[-1] not in one]
    return order


def _ordered(cover: list[int], results: list[Any], edges: int) -> list[int] | None:
    """The tests to make of a cover: two ordinary ones with different results first, and the first edge among all."""
    plain = [number for number in [*cover, *range(edges, len(results))] if number >= edges]
    second = next((one for one in plain if results[one] != results[plain[0]]), None)
    if second is None:
        return None
    order = list(dict.fromkeys([plain[0], second, 0, *cover]))
    return list(dict.fromkeys([*order, *plain]))[: max(len(order), FEWEST)] if len(order) <= MOST else None


def mutants(chain: Chain) -> list[Mutant]:
    """The chain with one fault each: a constant higher or lower by one, or a step left out.

    Constants that are higher, and steps left out, have to be told apart by the tests; a lower constant may be
    equivalent to the right one.
    """
    found = []
    for place, (operation, values) in enumerate(chain.steps):
        for number, value in enumerate(values):
            for change, needed in ((higher, True), (lower, False)):
                changed = (*values[:number], change(value), *values[number + 1 :])
                found.append(Mutant(place, (operation, changed), needed))
        if operation.takes == operation.gives:
            found.append(Mutant(place, None, True))
    return found


def _differs(chain: Chain, mutant: Mutant, trace: list[Any]) -> bool:
    value = trace[mutant.place]
    if mutant.step is not None:
        operation, values = mutant.step
        value = operation.apply(value, *values)
        if value == trace[mutant.place + 1]:
            return False
    for operation, values in chain.steps[mutant.place + 1 :]:
        value = operation.apply(value, *values)
    return value != trace[-1]


def candidates(chain: Chain, random: Random) -> list[Any]:
    """Inputs to choose tests from, edges first; they lie about the chain's constants."""
    values = [value for _, values in chain.steps for value in values]
    numbers = [near for value in values if isinstance(value, int) for near in (value - 1, value, value + 1)]
    if chain.kind == "int":
        plain = random.sample(range(-9, 31), 24)
        return list(dict.fromkeys([*EDGES["int"], *random.sample(numbers, len(numbers)), *plain]))
    if chain.kind == "list":
        some = [*numbers, *range(-2, 13)]
        lists = [[random.choice(some) for _ in range(2 + size % 4)] for size in range(20)]
        return [*EDGES["list"], *lists]
    pieces = [near for value in values if isinstance(value, str) for near in (value, higher(value))]
    texts = []
    for size in range(20):
        words = random.sample(WORDS, 1 + size % 2)
        if pieces and size % 4:
            at = random.randrange(len(words))
            piece, word = random.choice(pieces), words[at]
            words[at] = (piece + word, word + piece, word + piece + piece)[size % 3]
        texts.append(" ".join(words))
    return [*EDGES["str"], *dict.fromkeys(texts)]


def _pools() -> dict[tuple[str, bool, bool], list[Operation]]:
    """Operations by what they take, whether those of the transfer split are among them, and whether one may be last."""
    onward = {one.takes for one in MAIN}
    return {
        (takes, transfer, last): [
            one
            for one in (*MAIN, *(TRANSFER if transfer else ()))
            if one.takes == takes and (last or (one.gives in onward and not one.only_last))
        ]
        for takes in onward
        for transfer in (False, True)
        for last in (False, True)
    }


def _held_out_pairs() -> frozenset[tuple[Operation, Operation]]:
    """Every eighth pair of operations that fit: fixed, and spread over all operations."""
    fit = [(one, two) for one in MAIN for two in MAIN if one.gives == two.takes and one is not two]
    return frozenset(fit[3::PAIRS_HELD_OUT])


_POOLS, _PAIRS, _TRANSFER = _pools(), _held_out_pairs(), frozenset(TRANSFER)
