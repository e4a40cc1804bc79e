"""Arithmetic: solutions are true, follow from the prompt and reach the answer; levels and bounds hold."""

import re
from collections import Counter
from random import Random

import pytest

from models.rest_em.arithmetic import (
    DISTRACTORS,
    HARDER,
    LEVELS,
    STORIES,
    TRANSFER_STORIES,
    Exercise,
    Sentence,
    Told,
    apply,
    calculations,
    draw,
)
from models.rest_em.families import problems
from models.rest_em.records import Problem

EQUATION = re.compile(r"(\d+)([-+*/])(\d+)=(\d+)\.")
APART = re.compile("|".join(re.sub(r"\\{\w+\\}", r"\\w+", re.escape(one)) for one in DISTRACTORS))


def _equations(problem: Problem) -> list[tuple[int, str, int, int]]:
    *equations, word, answer = problem.solution.split(" ")
    assert (word, answer) == ("Answer:", problem.answer)
    found = [EQUATION.fullmatch(one) for one in equations]
    return [(int(one[1]), one[2], int(one[3]), int(one[4])) for one in found if one]


@pytest.mark.parametrize("split", ["train", "transfer"])
def test_solutions_are_true_and_follow_from_the_prompt(split: str) -> None:
    signs: Counter[str] = Counter()
    for problem in problems("arithmetic", split, 2000, levels=LEVELS):
        equations = _equations(problem)
        assert len(equations) == problem.level == problem.solution.count("=")
        given = Counter(map(int, re.findall(r"\d+", APART.sub("", problem.prompt))))
        for left, sign, right, result in equations:
            if sign == "/":
                assert left == right * result
            else:
                assert {"+": left + right, "-": left - right, "*": left * right}[sign] == result
            assert 0 < result < 1000
            for operand in (left, right):
                assert given[operand] > 0, problem
                given[operand] -= 1
            given[result] += 1
            signs[sign] += 1
        assert +given == Counter([int(problem.answer)])  # every number was used once, and only the answer is left
    assert min(signs[sign] for sign in "+-*/") > 50


def test_a_problem_as_text() -> None:
    story = next(one for one in STORIES if one.title == "shop")
    buys = next(one for one in story.events if one.text.startswith("{name} buys {g}"))
    gives = next(one for one in story.events if one.text == "{name} gives {n} away.")
    exercise = Exercise(story, 3, (Told(story.starts[0], 0, 12), Told(buys, 3, 5), Told(gives, 0, 4)), "Tom", "apples")
    assert exercise.problem("arithmetic/train/000012") == Problem(
        id="arithmetic/train/000012",
        prompt="Tom has 12 apples. Tom buys 3 bags of 5 apples each. Tom gives 4 away. "
        "How many apples does Tom have?\n",
        verifier="number",
        family="arithmetic",
        level=3,
        answer="23",
        solution="3*5=15. 12+15=27. 27-4=23. Answer: 23",
    )
    assert exercise.content == "shop|=0,12|+3,5|-0,4"


def test_an_end_asks_its_own_question() -> None:
    told = (Told(Sentence("=", ""), 0, 12), Told(Sentence("/", ""), 0, 4))
    assert calculations(told) == ["12/4=3", "3"]
    shared = [one for one in problems("arithmetic", "train", 300, levels=(3,)) if "/" in one.solution]
    assert len(shared) > 10
    for problem in shared:
        assert problem.prompt.count("?") == 1
        assert "equal" in problem.prompt or "gives all to" in problem.prompt


def test_numbers_grow_with_the_level_and_distractors_come_with_the_harder_ones() -> None:
    largest = []
    for level in LEVELS:
        drawn = problems("arithmetic", "train", 400, levels=(level,))
        apart = sum(APART.search(one.prompt) is not None for one in drawn)
        assert 150 < apart < 250 if level >= HARDER else apart == 0
        assert any("/" in one.solution for one in drawn) == (level >= HARDER)
        largest.append(max(int(one) for problem in drawn for one in re.findall(r"\d+", APART.sub("", problem.prompt))))
    assert largest == [25, 40, 55, 70, 85]


def test_every_story_and_every_sentence_is_told() -> None:
    for stories, transfer in ((STORIES, False), (TRANSFER_STORIES, True)):
        random, told = Random(0), Counter()
        for _ in range(6000):
            drawn = draw(random, 3, transfer=transfer)
            if drawn:
                told.update((drawn.story.title, one.sentence) for one in drawn.told)
        known = {(story.title, one) for story in stories for one in (*story.starts, *story.events, *story.ends)}
        assert set(told) == known
        assert min(told.values()) > 20
    assert len(STORIES) >= 8
    assert len(TRANSFER_STORIES) >= 3


def test_sentences_of_transfer_stories_are_in_no_other() -> None:
    ours, theirs = (
        {one.text for story in stories for one in (*story.starts, *story.events, *story.ends)} | {
            story.question for story in stories}
        for stories in (STORIES, TRANSFER_STORIES)
    )  # fmt: skip
    assert not ours & theirs
    subjects = re.compile("tank|rope|garage|school")
    assert not any(subjects.search(one.prompt) for one in problems("arithmetic", "train", 2000, levels=LEVELS))
    assert all(subjects.search(one.prompt) for one in problems("arithmetic", "transfer", 2000, levels=LEVELS))


def test_arithmetic_on_the_quantity() -> None:
    assert [apply(sign, 12, 4) for sign in "=+-*/"] == [4, 16, 8, 48, 3]
