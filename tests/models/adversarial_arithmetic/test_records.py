from dataclasses import replace

import pytest

from models.adversarial_arithmetic.questions import question_of
from models.adversarial_arithmetic.records import Attack, Candidate, Trial, candidate_of, leaks, trial_of
from models.rest_em.records import read_records, write_records
from shammie.errors import UserError

QUESTION = question_of(2, "+", 3)


def test_a_trial_counts_what_the_replies_say() -> None:
    candidate = candidate_of(QUESTION, 6, "It is 6.", round=1, source="lm", parents=["a"])
    replies = ["6", "6", "= 6", "5", "2 + 3 = 5", "9", "", "I can't say", "six", "-1"]
    trial = trial_of(candidate, QUESTION, "small", replies)
    assert (trial.right, trial.targeted, trial.other, trial.none) == (2, 4, 2, 2)
    assert trial.values == ((-1, 1), (5, 2), (6, 4), (9, 1))
    assert (trial.samples, trial.p_any, trial.p_target) == (10, 0.6, 0.4)
    assert (trial.p("any"), trial.p("targeted")) == (0.6, 0.4)
    assert (trial.candidate, trial.victim) == (candidate.id, "small")


def test_replies_without_an_answer_are_never_fooled() -> None:
    trial = trial_of(candidate_of(QUESTION, None, "x", round=0, source="lm"), QUESTION, "v", ["", "no", "3.5"])
    assert (trial.p_any, trial.p_target, trial.none) == (0, 0, 3)


def test_ids_are_of_question_target_and_text_alone() -> None:
    first = candidate_of(QUESTION, 6, "It is 6.", round=0, source="lm")
    assert candidate_of(QUESTION, 6, "It is 6.", round=4, source="seed", parents=["b"]).id == first.id
    others = [
        candidate_of(QUESTION, 7, "It is 6.", round=0, source="lm"),
        candidate_of(QUESTION, None, "It is 6.", round=0, source="lm"),
        candidate_of(QUESTION, 6, "It is 6", round=0, source="lm"),
        candidate_of(question_of(3, "+", 2), 6, "It is 6.", round=0, source="lm"),
    ]
    assert len({first.id, *(one.id for one in others)}) == 5


def test_records_come_back_from_files(tmp_path) -> None:
    candidate = candidate_of(QUESTION, 6, "It \N{SNOWMAN} is 6.", round=1, source="lm", parents=["a", "b"])
    trial = trial_of(candidate, QUESTION, "small", ["6", "5", "12345678901234567890123"])
    attack = Attack(**candidate.__dict__, victim="small", p_any=0.5, p_target=0.25, said=6)
    for number, one in enumerate([candidate, trial, attack, replace(candidate, target=None, parents=())]):
        path = str(tmp_path / f"{number}.jsonl")
        write_records(path, [one])
        assert read_records(path, type(one)) == [one]
    assert isinstance(attack, Candidate)


@pytest.mark.parametrize(
    "counts",
    [
        {"right": 0, "targeted": 0, "other": 0, "none": 0, "values": ()},
        {"right": -1, "targeted": 2, "other": 0, "none": 0, "values": ((6, 1),)},
        {"right": 1, "targeted": 0, "other": 0, "none": 0, "values": ()},
        {"right": 1, "targeted": 1, "other": 0, "none": 0, "values": ((6, 1), (5, 1))},
        {"right": 1, "targeted": 0, "other": 0, "none": 1, "values": ((5, 1), (6, 0))},
    ],
)
def test_trials_that_do_not_add_up_are_refused(counts: dict) -> None:
    with pytest.raises(ValueError, match=r"a trial of|values"):
        Trial(candidate="a", victim="b", **counts)


def test_bad_trials() -> None:
    candidate = candidate_of(QUESTION, 6, "It is 6.", round=0, source="lm")
    with pytest.raises(UserError, match="no reply"):
        trial_of(candidate, QUESTION, "small", [])
    with pytest.raises(UserError, match=r"'2\+3', not '3\+3'"):
        trial_of(candidate, question_of(3, "+", 3), "small", ["6"])
    with pytest.raises(UserError, match="right answer"):
        trial_of(replace(candidate, target=5), QUESTION, "small", ["6"])


@pytest.mark.parametrize(
    "text",
    [
        *("2+3=6", "2 + 3 = 6", "2  +3 =6.", "we know 2+3==6", "2 + 3 is 6", "2 plus 3 equals 6", "2 + 3 equal 6"),
        *("2 + 3 = -6", "3+2=6", "2 and 3 make 6", "2 + 3 is equal to 6", '"2+3=6"', "2 + 3 gives 6", "2 + 3 = **6**"),
        *(
            "\N{FULLWIDTH DIGIT TWO}+3=6",
            "2 \N{FULLWIDTH PLUS SIGN} 3 \N{FULLWIDTH EQUALS SIGN} 6",
            "2+3=5",
            "1+1=2, 2+3=6",
        ),
    ],
)
def test_texts_with_the_equation_leak(text: str) -> None:
    assert leaks(QUESTION, text)
    assert candidate_of(QUESTION, 6, text, round=0, source="lm").leak


@pytest.mark.parametrize(
    "text",
    [
        *("", "The answer is 6.", "12+3=15", "2+33=6", "2.2+3=6", "2 + 3 is not 6", "2 + 3", "2 + 2 = 5", "2 - 3 = 6"),
        *("2 + 3 + 1 = 6", "2 + 3 = six", "1,2+3=6", "2*3=6"),
    ],
)
def test_other_texts_do_not(text: str) -> None:
    assert not leaks(QUESTION, text)


def test_a_difference_has_one_order() -> None:
    assert leaks(question_of(9, "-", 2), "9 minus 2 is 6")
    assert not leaks(question_of(9, "-", 2), "2 - 9 = 6")
    assert leaks(question_of(2, "*", 3), "3 x 2 = 7")
    assert leaks(question_of(1234, "+", 3), "1,234 + 3 = 6")
