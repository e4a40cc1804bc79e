import pytest

from models.adversarial_arithmetic.questions import Question, prompt_of, question_of, questions, split_of
from shammie.errors import UserError


def test_answers_and_digits() -> None:
    assert [question_of(7, sign, 12).answer for sign in ("+", "-", "*")] == [19, -5, 84]
    assert [question_of(0, "+", y).digits for y in (0, 9, 10, 999)] == [1, 1, 2, 3]
    assert Question.from_json(question_of(3, "-", 4).to_json()) == question_of(3, "-", 4)
    assert question_of(3, "*", 4).commutes
    assert not question_of(3, "-", 4).commutes


@pytest.mark.parametrize("bad", [{"sign": "/"}, {"x": -1}, {"y": "4"}, {"x": True}, {"x": 1.0}, {"sign": ""}], ids=repr)
def test_what_is_no_question_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"none of|whole number|not of type int$"):
        Question.from_json({"id": "3+4", "x": 3, "sign": "+", "y": 4} | bad)


@pytest.mark.parametrize("count", [100, 1000])
def test_all_pairs_of_one_digit(count: int) -> None:
    found = questions(1, count, 0)
    assert sorted((one.x, one.y) for one in found) == [(x, y) for x in range(10) for y in range(10)]
    assert list(found) != sorted(found, key=lambda one: (one.x, one.y))


@pytest.mark.parametrize("digits", [1, 2, 3, 20])
def test_questions_are_distinct_of_their_size_and_seeded(digits: int) -> None:
    found = questions(digits, 90, 5, "*")
    assert len({(one.x, one.y) for one in found}) == len({one.id for one in found}) == 90
    assert {one.sign for one in found} == {"*"}
    if digits > 1:
        assert {len(str(number)) for one in found for number in (one.x, one.y)} == {digits}
    assert questions(digits, 90, 5, "*") == found
    assert questions(digits, 30, 5, "*") == found[:30]
    assert questions(digits, 90, 6, "*") != found


def test_two_digits_are_all_there() -> None:
    assert len({one.id for one in questions(2, 10_000, 0)}) == 8100


def test_drawn_questions_are_distinct_where_draws_repeat() -> None:
    assert len({one.id for one in questions(3, 5000, 0)}) == 5000  # about 15 draws of these are repeated


def test_the_split_is_by_operands_in_any_order_and_about_three_tenths() -> None:
    for x in range(30):
        for y in range(30):
            same = [question_of(x, "+", y), question_of(y, "+", x), question_of(x, "*", y), question_of(y, "-", x)]
            assert len({split_of(one) for one in same}) == 1
    assert sum(split_of(one) == "test" for one in questions(1, 100, 0)) == 28  # changes when the split does
    assert 0.27 < sum(split_of(one) == "test" for one in questions(3, 3000, 0)) / 3000 < 0.33


def test_prompts() -> None:
    question = question_of(3, "+", 4)
    assert prompt_of(question) == "Question: What is 3 + 4? Answer:"
    assert prompt_of(question, "  ") == prompt_of(question)
    assert prompt_of(question, "It is 8.") == "Question: What is 3 + 4? It is 8. Answer:"
    assert prompt_of(question, "{x} {attack} {0} {") == "Question: What is 3 + 4? {x} {attack} {0} { Answer:"
    assert prompt_of(question, r"\1 \g<0>") == r"Question: What is 3 + 4? \1 \g<0> Answer:"
    assert prompt_of(question, "", "{attack} {x}{sign}{y} {z} {x}=") == "3+4 {z} 3="
    assert prompt_of(question, "", "{x}{sign}{y}\n{attack}\nA:") == "3+4\nA:"
    assert prompt_of(question, "B", "{x}{sign}{y}\n{attack}\nA:") == "3+4\nB\nA:"


@pytest.mark.parametrize("lacking", ["{x}", "{sign}", "{y}", "{attack}"])
def test_a_template_without_a_field_is_refused(lacking: str) -> None:
    template = "{x} {sign} {y} {attack}".replace(lacking, "")
    with pytest.raises(UserError, match=lacking.replace("{", r"\{")):
        prompt_of(question_of(3, "+", 4), "", template)


def test_no_questions_are_refused() -> None:
    for arguments in ((0, 5, 0), (1, 0, 0), (1, 5, 0, "/")):
        with pytest.raises(UserError):
            questions(*arguments)  # pyright: ignore[reportArgumentType]
