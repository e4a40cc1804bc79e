"""Programs: solutions pass their tests, faulty ones do not, and what is for transfer stays there."""

import re
from collections import Counter
from random import Random
from typing import Any

import pytest

from models.rest_em.families import problems
from models.rest_em.operations import MAIN, TRANSFER, VARIABLES, constant, higher, lower
from models.rest_em.programs import LEVELS, Chain, draw, is_transfer, literal, mutants
from models.rest_em.records import Problem


def _passes(program: str, tests: tuple[str, ...]) -> bool:
    """Whether a program of ours passes: it is run here, since nobody else wrote it."""
    names: dict[str, Any] = {}
    exec(program, names)
    try:
        for test in tests:
            exec(test, names)
    except Exception:
        return False
    return True


def _problems(split: str, count: int) -> list[Problem]:
    return problems("programs", split, count, levels=LEVELS)


@pytest.mark.parametrize("split", ["train", "transfer"])
def test_every_solution_passes_its_tests(split: str) -> None:
    for problem in _problems(split, 1200):
        assert 4 <= len(problem.tests) <= 6
        assert _passes(problem.prefix + problem.solution, problem.tests), problem
        assert problem.solution.count("\n") == problem.level == len(problem.prompt.split(", then "))
        shown = [line[2:] for line in problem.prompt.splitlines()[1:3]]
        assert [f"assert {one}" for one in shown] == list(problem.tests[:2])
        assert problem.prompt.endswith("\n" + problem.prefix)
        assert any(edge in one for one in problem.tests for edge in ("f(0)", "f([])", 'f("")'))
        compile(problem.prompt + problem.solution, problem.id, "exec")


def test_a_constant_that_is_off_by_one_fails() -> None:
    tried = caught = 0
    for problem in _problems("train", 600):
        for number in re.finditer(r"(?<![\w])\d+", problem.solution):
            wrong = f"{problem.solution[: number.start()]}{int(number[0]) + 1}{problem.solution[number.end() :]}"
            tried += 1
            caught += not _passes(problem.prefix + wrong, problem.tests)
    assert tried > 500
    assert caught / tried >= 0.95


def test_a_step_that_is_left_out_and_an_answer_that_is_copied_fail() -> None:
    left_out = 0
    for problem in _problems("train", 600):
        lines = problem.solution.splitlines(keepends=True)
        for number, line in enumerate(lines[:-1]):
            name, rest = line.split(" = ", 1)
            if name.strip() == problem.prefix[6:-3] and name.strip() in re.findall(r"\w+", rest):
                kinds = [one.split(" = ")[0].strip() for one in lines[: number + 1]]
                if set(kinds) == {name.strip()}:
                    left_out += 1
                    wrong = "".join(lines[:number] + lines[number + 1 :])
                    assert not _passes(problem.prefix + wrong, problem.tests), problem
        result = problem.tests[0].split(" == ", 1)[1]
        assert not _passes(f"{problem.prefix}    return {result}\n", problem.tests), problem
    assert left_out > 200


def test_words_and_code_of_an_operation_agree_with_its_function() -> None:
    random = Random(0)
    given = {
        "int": [0, 7, -8, 30],
        "list": [[], [3, 8, -2, 30], [5, 5]],
        "str": ["", "banana", "a Bc d"],
        "words": [[], ["b", "a", "cc"]],
    }
    for operation in (*MAIN, *TRANSFER):
        for _ in range(5):
            values: list[Any] = []
            for need in operation.constants:
                values.append(constant(random, need, values))
            names = dict(zip("abc", map(literal, values), strict=False))
            code = operation.code.format(**names)
            assert all(name in operation.text.format(**names) for name in names.values())
            for value in given[operation.takes]:
                result = operation.apply(value, *values)
                assert eval(code, {VARIABLES[operation.takes]: value}) == result
                assert type(result).__name__ == {"words": "list"}.get(operation.gives, operation.gives)


def test_a_problem_as_text() -> None:
    named = {one.text: one for one in MAIN}
    chain = Chain("int", ((named["multiply by {a}"], (2,)), (named["subtract {a}"], (7,))))
    assert chain.content == "x: multiply by 2, then subtract 7"
    problem = chain.problem("programs/train/000003")
    assert problem is not None
    assert re.fullmatch(
        r"# From x: multiply by 2, then subtract 7\.\n(# f\(-?\d+\) == -?\d+\n){2}def f\(x\):\n", problem.prompt
    )
    assert problem.prefix == "def f(x):\n"
    assert problem.solution == "    x = x * 2\n    return x - 7\n"
    assert (problem.verifier, problem.level, problem.id) == ("python", 2, "programs/train/000003")


def test_a_step_that_does_nothing_makes_no_problem() -> None:
    named = {one.text: one for one in MAIN if one.takes == "int"}
    idle = Chain("int", ((named["limit to at most {a}"], (5,)), (named["limit to at most {a}"], (9,))))
    assert idle.problem("") is None
    assert Chain("int", idle.steps[:1]).problem("") is not None


def test_only_transfer_has_its_operations_and_pairs() -> None:
    random = Random(1)
    kinds: Counter[bool] = Counter()
    seen: set[str] = set()
    for transfer in (False, True):
        for _ in range(4000):
            chain = draw(random, random.choice(LEVELS), transfer=transfer)
            if chain is not None:
                operations = [one for one, _ in chain.steps]
                assert is_transfer(operations) == transfer
                kinds[not any(one in TRANSFER for one in operations)] += transfer
                seen |= {one.text for one in operations} if transfer else set()
    assert min(kinds.values()) > 50  # some are of new operations, some of known ones in a new order
    assert {one.text for one in TRANSFER} <= seen
    new = re.compile("if under|from each|drop the last|smallest|count those|take the last|ends with|multiply each over")
    assert not any(new.search(one.prompt) for split in ("train", "test") for one in _problems(split, 1500))
    assert sum(new.search(one.prompt) is not None for one in _problems("transfer", 1500)) > 700


def test_mutants_are_wrong_by_one_or_lack_a_step() -> None:
    assert [higher(one) for one in (3, "ab", "z")] == [4, "ac", "a"]
    assert [lower(one) for one in (3, 1, "ab")] == [2, 0, "zb"]
    named = {one.text: one for one in MAIN if one.takes == "int"}
    chain = Chain("int", ((named["add {a}"], (4,)), (named["square"], ())))
    found = [(one.place, one.step and one.step[1], one.needed) for one in mutants(chain)]
    assert found == [(0, (5,), True), (0, (3,), False), (0, None, True), (1, None, True)]


def test_values_are_written_with_double_quotes() -> None:
    assert [literal(one) for one in (3, -1, True, "a", ["b", "c"], [1, 2], [])] == [
        "3", "-1", "True", '"a"', '["b", "c"]', "[1, 2]", "[]",
    ]  # fmt: skip
