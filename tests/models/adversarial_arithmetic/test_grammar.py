import re
import string

import pytest

from models.adversarial_arithmetic.corpus_text import NAMES
from models.adversarial_arithmetic.grammar import (
    CHANGED,
    KINDS,
    OUT_OF_DISTRIBUTION,
    PROPOSALS,
    out_of_distribution,
    overload,
    proposals,
    propose,
    random_strings,
    random_words,
    retargeted,
    vocabulary,
)
from models.adversarial_arithmetic.questions import Question, question_of, questions
from models.adversarial_arithmetic.screening import fault_of
from shammie.errors import UserError

QUESTION = question_of(3, "+", 4)
SLOTS = "x y z w sign more less first second n name other thing place".split()


def words_of(text: str) -> list[str]:
    return re.findall(r"\w+", text)


@pytest.mark.parametrize("grammar", [PROPOSALS, OUT_OF_DISTRIBUTION])
def test_every_rule_is_defined_and_used_and_every_slot_known(grammar):
    used = {"attack"}
    for productions in grammar.values():
        for weight, text in productions:
            assert weight > 0
            used |= set(re.findall(r"<([^>]*)>", text))
            assert set(re.findall(r"\{([^}]*)\}", text)) <= set(SLOTS)
    assert used == set(grammar)
    assert set(KINDS) <= set(PROPOSALS)


def test_the_same_arguments_give_the_same_texts_and_others_other_ones():
    texts = propose(QUESTION, 9, 20, seed=1)
    assert texts == propose(QUESTION, 9, 20, seed=1)
    assert len(set(texts)) == 20
    for other in (
        propose(QUESTION, 9, 20, seed=2), propose(question_of(4, "+", 3), 9, 20, seed=1),
        propose(QUESTION, 8, 20, seed=1),
    ):  # fmt: skip
        assert len(set(texts) & set(other)) < 10


@pytest.mark.parametrize("sign", ["+", "-", "*"])
def test_candidates_pass_the_search_s_screening(sign):
    for question in questions(1, 6, 0, sign):
        for target in (None, question.answer + 1, question.answer - 2, question.answer + 100):
            made = [*proposals(question, target, 40, seed=0), *out_of_distribution(question, target, 20, seed=0)]
            assert len(made) == 60
            for text, _ in made:
                assert fault_of(question, text, 200) == "", text
                assert "  " not in text, text
                assert not re.search("[<>{}]", text.replace("->", "")), text


def test_every_kind_comes_up():
    kinds = [one.kind for one in proposals(QUESTION, 9, 300, seed=0)]
    assert set(kinds) == set(KINDS)
    assert {one.kind for one in out_of_distribution(QUESTION, 9, 40, seed=0)} == {"template", "word problem", "copy"}


@pytest.mark.parametrize(("x", "sign", "y", "target"), [(3, "+", 4, 9), (3, "+", 4, 5), (8, "-", 3, 2), (2, "*", 4, 6)])
def test_numbers_fit_the_answer_that_is_wanted(x, sign, y, target):
    question = question_of(x, sign, y)
    patterns = {
        r"results are (\d+) higher|[Cc]ount (\d+) more|[Tt]hen add (\d+)": lambda n: question.answer + n,
        r"results are (\d+) lower|count (\d+) less|take (\d+) away": lambda n: question.answer - n,
        r"second number is (\d+)": lambda n: question_of(x, sign, n).answer,
        r"first number is (\d+)": lambda n: question_of(n, sign, y).answer,
        r"(?:answer|result|solution) is (\d+)": lambda n: n,
        rf"{x} \{sign} {y} (?:=|is) (\d+)": lambda n: n,
    }
    checked = dict.fromkeys(patterns, 0)
    for text in propose(question, target, 300, seed=0):
        for pattern, outcome in patterns.items():
            for groups in re.findall(pattern, text):
                number = next(one for one in [groups, *groups] if isinstance(one, str) and one)
                assert outcome(int(number)) == target, text
                checked[pattern] += 1
    assert sum(count > 0 for count in checked.values()) >= 4


def test_without_a_target_a_text_has_a_wrong_answer_of_its_own():
    claimed = [int(one) for text in propose(QUESTION, None, 300, seed=0) for one in re.findall(r"3 \+ 4 = (\d+)", text)]
    assert len(set(claimed)) > 3
    assert QUESTION.answer not in claimed


def test_half_of_the_candidates_are_made_of_the_pool():
    pool = ("Kim insists on 9 and nothing but 9.", "Zebras count to 9.")
    made = proposals(QUESTION, 9, 100, seed=0, pool=pool)
    changed = [one.text for one in made if one.kind == CHANGED]
    assert 30 < len(changed) < 70
    assert all("insists" in text or "Zebras" in text for text in changed)
    assert any("insists" in text and "Zebras" in text for text in changed)  # spliced
    assert any(re.search(r"\b3\b", text) for text in changed)  # with other numbers
    assert any(not text.startswith("Kim") and "insists" in text for text in changed)  # of another name
    assert not any(one.kind == CHANGED for one in proposals(QUESTION, 9, 100, seed=0))


def test_braces_and_rules_in_the_pool_are_only_text():
    odd = "{x} <claim> {0!r} 9."
    changed = [one.text for one in proposals(QUESTION, 9, 30, seed=0, pool=(odd,)) if one.kind == CHANGED]
    assert any(odd in text for text in changed)
    assert all("<claim>" in text for text in changed)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3 + 4 is 9, all say 9.", "2 + 6 is 5, all say 5."),
        ("Count 2 more than 7.", "Count 3 more than 8."),
        ("Room 93 of 34, not 12.", "Room 93 of 34, not 12."),
        ("No numbers.", "No numbers."),
    ],
)
def test_a_text_for_another_question_has_its_numbers(text: str, expected: str):
    assert retargeted(text, QUESTION, 9, question_of(2, "+", 6), 5) == expected


def test_retargeting_by_the_first_role_of_a_number():
    old, new = question_of(2, "+", 2), question_of(3, "+", 5)
    assert retargeted("2 + 2 is 4, not 2.", old, 2, new, 1) == "1 + 1 is 8, not 1."
    assert retargeted("2 is 4.", old, None, new, 1) == "3 is 8."


def test_an_overload_repeats_one_equation():
    assert overload(QUESTION, 9, 3) == "3 + 4 = 9. 3 + 4 = 9. 3 + 4 = 9."
    assert overload(Question("q", 8, "-", 5), 1, 1) == "8 - 5 = 1."
    assert overload(QUESTION, 9, 4096).count("3 + 4 = 9.") == 4096
    with pytest.raises(UserError, match="0 copies"):
        overload(QUESTION, 9, 0)


def test_random_strings_are_printable_and_as_long_as_asked():
    lengths = [1, 2, 30, 64, *[9] * 200, 500]
    made = random_strings(lengths, seed=4)
    assert [len(one) for one in made] == lengths
    assert made == random_strings(lengths, seed=4) != random_strings(lengths, seed=5)
    assert all(one == one.strip() and set(one) <= set(string.printable) - set("\t\n\r\v\f") for one in made)
    assert len(set(made[-1])) > 70  # of 95 signs
    assert 30 < made[-1].count(" ") < 120


def test_random_words_are_of_the_corpus_and_as_long_as_asked():
    lengths = [1, 30, 64, 500]
    made = random_words(lengths, seed=4)
    assert [len(one) for one in made] == lengths
    assert made == random_words(lengths, seed=4) != random_words(lengths, seed=5)
    known = set(vocabulary())
    for text in made:
        assert not text.endswith(" ")
        assert set(text.split()[:-1]) <= known
    assert {"7", "Tom", "minus."} <= known
    assert not any("{" in word for word in known)


def test_the_other_generator_shares_no_text_with_the_grammar():
    question = question_of(5, "+", 4)
    ours = set(propose(question, 11, 400, seed=0))
    others = [one.text for one in out_of_distribution(question, 11, 60, seed=0)]
    assert others
    assert not ours & set(others)
    inside = [text for productions in PROPOSALS.values() for _, text in productions]
    assert not set(inside) & {text for productions in OUT_OF_DISTRIBUTION.values() for _, text in productions}
    assert "11" in words_of(" ".join(others))
    assert set(NAMES) & set(words_of(" ".join(others)))
