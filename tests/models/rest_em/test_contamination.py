import pytest

from models.rest_em.contamination import SAME_TEXT, Overlap, overlapping, words_of
from models.rest_em.records import Problem

LONG = "a train leaves the town at noon and rides at sixty miles an hour for two hours"


def problem(name: str, prompt: str) -> Problem:
    return Problem(id=name, prompt=prompt, verifier="number")


def test_words() -> None:
    assert words_of("If $x+1 = 2$, what's  X?") == ["if", "x", "+", "1", "=", "2", "what", "s", "x"]
    assert words_of("2 * 3") != words_of("2 + 3")
    assert words_of(" .\n") == []


def test_the_same_text_in_another_writing() -> None:
    train = [problem("a", "What is 2 + 3?"), problem("b", "What is 2 * 3?")]
    evaluation = [problem("e", "what is 2+3"), problem("f", "What  is\n2 + 3 ?")]
    assert overlapping(train, evaluation) == [Overlap("a", "e", SAME_TEXT), Overlap("a", "f", SAME_TEXT)]


def test_a_run_of_words() -> None:
    words = LONG.split()
    assert len(words) == 17
    shared = " ".join(words[2:15])
    train = [problem("a", f"Yesterday, {shared.upper()}! Then it stops."), problem("b", " ".join(words[2:14]))]
    assert overlapping(train, [problem("e", LONG)]) == [Overlap("a", "e", f"13 words: {shared}")]
    # 12 words in common: none at 13, one at 12, and told by the first run
    assert overlapping(train[1:], [problem("e", LONG)]) == []
    (found,) = overlapping(train[1:], [problem("e", LONG)], n=12)
    assert found.why == f"12 words: {' '.join(words[2:14])}"


def test_pairs_come_once_and_in_order() -> None:
    train = [problem("z", LONG + " and more"), problem("a", LONG)]
    evaluation = [problem("y", LONG), problem("b", "so " + LONG + " " + LONG)]
    pairs = [(one.train, one.evaluation) for one in overlapping(train, evaluation)]
    assert pairs == [("z", "y"), ("z", "b"), ("a", "y"), ("a", "b")]
    assert overlapping(train, evaluation)[2].why == SAME_TEXT
    both = [problem("t", "so it is. not at all")]
    found = overlapping(both, [problem("x", "not at all"), problem("y", "so it is")], n=3)
    assert [one.evaluation for one in found] == ["x", "y"]


def test_nothing_in_common() -> None:
    assert overlapping([problem("a", "one")], [problem("b", "two")], n=1) == []
    assert overlapping([], [problem("b", "two")]) == []
    with pytest.raises(ValueError, match="above 0"):
        overlapping([], [], n=0)
