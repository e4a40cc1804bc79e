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
    assert words_of("x**2 == x*2") == ["x", "**", "2", "==", "x", "*", "2"]
    assert words_of("-----Input-----\n...\n+-+ ((a))") == ["---", "input", "---", "+", "-", "+", "a"]
    assert words_of("-" * 1000) == words_of("-----") == ["---"]


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


def test_one_entry_for_each_held_out_problem_the_first_of_train_by_id() -> None:
    train = [problem("z", LONG), problem("b", LONG + " and more"), problem("c", LONG)]
    evaluation = [problem("y", LONG), problem("a", "so " + LONG + " " + LONG), problem("n", "nothing")]
    first = f"13 words: {' '.join(LONG.split()[:13])}"
    expected = [Overlap("b", "y", first), Overlap("b", "a", first)]
    assert overlapping(train, evaluation) == overlapping(reversed(train), evaluation) == expected
    assert overlapping([train[0], train[2]], evaluation)[0] == Overlap("c", "y", SAME_TEXT)
    both = [problem("t", "so it is. not at all")]
    found = overlapping(both, [problem("x", "not at all"), problem("y", "so it is")], n=3)
    assert [one.evaluation for one in found] == ["x", "y"]


def test_the_first_run_is_the_held_out_problems() -> None:
    train = [problem("t", "four five six, and one two three")]
    assert overlapping(train, [problem("e", "one two three four five six")], n=3) == [
        Overlap("t", "e", "3 words: one two three")
    ]


def test_what_only_a_template_adds_is_no_overlap() -> None:
    # in the layout of APPS, in words of ours
    head = "-----Input-----\nThe first line holds one whole number"
    train = [problem("a", f"Count the ways to pave a yard.\n\n{head}, the yard's length.")]
    assert overlapping(train, [problem("e", f"Find the tallest of the given towers.\n\n{head}: how many.")]) == []
    # a longer one is in many problems
    long_head = f"{head} that is not above a thousand million, which is the size"
    many = [problem(f"t{n}", f"Task {n}\n{long_head} of part {n}.") for n in range(11)]
    held_out = [problem("e", f"Other\n{long_head} of it."), problem("f", many[7].prompt.upper())]
    assert overlapping(many, held_out) == [Overlap("t7", "f", SAME_TEXT)]  # the same text is never ignored
    (first, second) = overlapping(many[:10], held_out)
    assert first.why.startswith("13 words: --- input --- the first line")
    assert (first.train, second.train) == ("t0", "t0")
    assert [one.train for one in overlapping(many, held_out, common=11)] == ["t0", "t0"]
    assert overlapping(many[:2], held_out[:1], common=1) == []


def test_a_phrase_of_many_problems_and_a_word_beside_it_are_no_overlap() -> None:
    phrase = " ".join(LONG.split()[:14])
    many = [problem(f"t{n:02}", f"Task {n} {phrase} {n} {n}") for n in range(12)]
    assert overlapping(many, [problem("e", f"Other {phrase} 7 8")]) == []  # "... miles 7": in one of them
    own = "seven brothers share out ten coins"
    many[7] = problem("t07", f"Task 7 {phrase} 7 {own}")
    (found,) = overlapping(
        many, [problem("e", f"Other {phrase} 7 {own}")]
    )  # the run's last 7 of 13 are not the phrase's
    assert found == Overlap("t07", "e", f"13 words: {' '.join(phrase.split()[-6:])} 7 {own}")


def test_a_problem_that_is_twice_in_train_counts_once() -> None:
    ten = [problem(f"t{n}", f"{n}: {LONG} ({n})") for n in range(10)]
    assert [one.train for one in overlapping(ten + ten, [problem("e", LONG)])] == ["t0"]
    assert overlapping([*ten, problem("t10", LONG + " too")], [problem("e", LONG)]) == []


def test_nothing_in_common() -> None:
    assert overlapping([problem("a", "one")], [problem("b", "two")], n=1) == []
    assert overlapping([], [problem("b", "two")]) == []
    with pytest.raises(ValueError, match="above 0"):
        overlapping([], [], n=0)
    with pytest.raises(ValueError, match="above 0"):
        overlapping([], [], common=0)
