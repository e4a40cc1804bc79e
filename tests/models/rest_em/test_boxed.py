from fractions import Fraction

import pytest

from models.rest_em.boxed import MAX_ANSWER, last_boxed, normal_form, rational, same_answer, settled
from models.rest_em.metrics import majority


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("so \\boxed{5}.", "5"),
        ("\\boxed{1} or \\boxed{2}, thus $\\boxed{3}$", "3"),
        ("\\boxed{\\frac{1}{\\sqrt{2}}}", "\\frac{1}{\\sqrt{2}}"),
        ("\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
        ("\\boxed{a \\} b}", "a \\} b"),
        ("\\fbox{7}", "7"),
        ("$\\boxed 5$.", "5"),
        ("\\boxed 5. And", "5"),
        ("\\boxed {8}", "8"),
        ("\\boxed{\\boxed{6}}", "6"),
        ("\\boxed{}", ""),
        ("\\boxed{5", None),
        ("\\boxed{1} and \\boxed{2", None),
        ("\\boxedx{5}", None),
        ("5", None),
        ("\\boxed{" + "{" * 100_000, None),
        ("\\boxed{5" * 100_000, None),
    ],
)
def test_the_last_box(text: str, answer: str | None) -> None:
    assert last_boxed(text) == answer


@pytest.mark.parametrize(
    "writings",
    [
        ("1/2", "0.5", "\\frac12", "\\dfrac{1}{2}", "\\tfrac 1 2", "\\frac{2}{4}", ".50", "$\\frac{1}{2}$"),
        ("-\\frac{1}{2}", "\\frac{-1}{2}", "-0.5", "\N{MINUS SIGN}1/2"),
        ("5", "x=5", "x = 5", "5.", "5.0", "5\\text{ cm}", "\\text{5}", "f(x)=5", "x_1=5"),
        *(("1234", "1,234", "1{,}234", "1\\,234", "1,\\!234", "1 234", "1~234", "1\\ 234", "\\$1,234", "x = 1 234"),),
        *(("1234567", "1,234,567", "1 234 567", "1{,}234,\\!567"), ("-5120", "-5,120", "-5 120")),
        *(("1, 234", "1,\\ 234", "1,~234", "1 , 234", "1 ,234", "1,\\,234", "1,\\quad 234", "\\text{1, 234}"),),
        *(("1234,5", "1,234, 5", "1234, 5", "1\\,234, 5"), ("1,234,5", "1, 234, 5"), ("1,2", "1, 2", "1 , 2")),
        *(("(1,234)", "(1, 234)"), ("(1234,5)", "(1{,}234, 5)", "( 1 234, 5 )"), ("1, 234x", "1 , 234 x")),
        ("90", "90^\\circ", "90^{\\circ}", "90\\degree", "90\\%"),
        ("\\text{Evelyn}", "Evelyn", "\\mbox{Evelyn}"),
        ("\\left(1, 2\\right)", "(1,2)", "\\bigl( 1,\\; 2 \\bigr)"),
        ("\\sqrt2", "\\sqrt{2}"),
        ("a \\\\ b", "a\\\\b"),
        ("x\\le 2", "x \\leq 2", "x \N{LESS-THAN OR EQUAL TO} 2"),
        ("2\\pi", "2\N{GREEK SMALL LETTER PI}", "2 \\pi"),
    ],
)
def test_different_writings_of_one_answer(writings: tuple[str, ...]) -> None:
    assert {normal_form(one) for one in writings} == {normal_form(writings[0])}
    assert all(same_answer(writings[0], one) for one in writings)


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        *(("5", "5 \\text{ or } 6"), ("5", "5\\text{ or 6}"), ("5", "6"), ("5", "x=5=6"), ("5", "-5"), ("5", "5,6")),
        *(("3\\mathbf{i}", "3"), ("2\\mathrm{e}", "2"), ("1/2", "\\frac{1}{3}"), ("1/2", "0.50000001"), ("ab", "ba")),
        *(("1234", "1, 234"), ("3120", "3, 120"), ("3120", "3,\\;120"), ("-5120", "-5, 120"), ("1234", "1, 234, 5")),
        *(("1234", "(1, 234)"), ("1, 234, 5", "1,234, 5"), ("12", "1 2"), ("11/2", "1 1/2"), ("123456", "1 23456")),
        *(("123", "0,123"), ("1/3, 2", "0.3333333333, 2"), ("12345", "12 3 45"), ("5", "5, 5"), ("112/2", "1 12/2")),
        *(("\\begin{matrix}1\\\\ 2\\end{matrix}", "\\begin{matrix}1 2\\end{matrix}"), ("[1,2)", "(1,2)"), ("2x", "2X")),
    ],
)
def test_different_answers(reference: str, answer: str) -> None:
    assert not same_answer(reference, answer)
    assert settled(normal_form(reference), normal_form(answer)) is not True


def test_a_missing_answer_equals_nothing() -> None:
    for one in (None, "", "  ", "$$", "9" * (MAX_ANSWER + 1)):
        assert not same_answer(one, one)
        assert not same_answer("5", one)
        assert not same_answer(one, "5")
    assert settled("", "") is False


def test_what_writing_alone_settles() -> None:
    assert settled("1/2", "1/2") is True
    assert settled("1/3", "333333333/1000000000") is False  # a library that rounds would let it pass
    for list_of_two in ("1, 234", "3, 120"):
        number = list_of_two.replace(", ", "")
        assert settled(normal_form(list_of_two), normal_form(number)) is False
        assert settled(normal_form(number), normal_form(list_of_two)) is False
    assert settled("1/3,2", "333333333/1000000000,2") is False
    assert settled("1,2", "2,1") is None  # where order does not count is for the algebra to say
    assert settled("1,2,2", "1,2") is None
    assert settled("(1,2)", "\\{1,2\\}") is False
    assert settled("[1,2)", "(1,2)") is False
    assert settled("(0,1)\\cup(2,3)", "(0,1]\\cup(2,3)") is None
    assert settled("(x+1)(x+2)", "x^2+3x+2") is None
    assert settled("\\pi", "3.14159") is None


@pytest.mark.parametrize("answer", ["1, 234", "1,234, 5", "(1, 234)", "1, 234x", "1 1/2", "x=1, 234", "1 , 234,567"])
def test_the_normal_form_of_a_normal_form_is_itself(answer: str) -> None:
    assert normal_form(normal_form(answer)) == normal_form(answer)


def test_a_majority_vote_counts_lists_and_numbers_apart() -> None:
    answers = [normal_form(one) for one in ("1, 234", "1,~234", "1234", "1,\\ 234", "1{,}234")]
    passed = [settled(normal_form("1,234"), one) is True for one in answers]
    assert passed == [False, False, True, False, True]
    assert majority(answers, passed) == 0  # three say the list
    assert majority(answers[1:], passed[1:]) == 0.5


def test_rational_numbers() -> None:
    assert rational("-\\frac{-6}{8}") == Fraction(3, 4)
    assert rational("1,234") == 1234
    assert [rational(one) for one in ("0,123", "1, 234", "1 234", "1,23")] == [None] * 4
    assert rational("\\frac{1}{0}") is None
    assert rational("10^{10}") is None
