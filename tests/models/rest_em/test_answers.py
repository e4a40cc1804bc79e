from fractions import Fraction

import pytest

from models.rest_em.answers import NO_ANSWER, UNREADABLE, Found, final_number, is_marked, number_of


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("12.0", 12),
        ("12.", 12),
        ("-7", -7),
        ("\N{MINUS SIGN}7", -7),
        ("1,234", 1234),
        ("12,345,678.50", Fraction(1234567850, 100)),
        ("$3.50", Fraction(7, 2)),
        ("-$3.50", Fraction(-7, 2)),
        ("\\$3.50", Fraction(7, 2)),
        ("$42$", 42),
        ("3/4", Fraction(3, 4)),
        ("6/8", Fraction(3, 4)),
        ("-1 1/2", Fraction(-3, 2)),
        ("\\frac{3}{4}", Fraction(3, 4)),
        ("\\boxed{42}", 42),
        ("50%", 50),
        ("50\\%", 50),
        (".5", Fraction(1, 2)),
        ("1e3", 1000),
        ("2.5E-1", Fraction(1, 4)),
        ("**42**", 42),
        ("x = 5", 5),
        ("3*5 = 15", 15),
        ("23 apples.", 23),
        ("23kg", 23),
        ("Tom has 23 apples, as was asked.", 23),
        ("approx. 5", 5),
        ("007", 7),
        ("0.1", Fraction(1, 10)),
    ],
)
def test_one_number_is_read_exactly(text: str, value: Fraction) -> None:
    assert number_of(text) == value


@pytest.mark.parametrize(
    "text",
    [
        *("", "five", "nan", "inf", "-", "$", ".", "5 or 6 or 7", "5, 6", "1,23", "1,2,3", "1,2345", "1.2.3", "10:30"),
        *("3*5", "3-5", "--7", "5!", "5^2", "<5", "5x", "2e", "2pi", "\\sqrt{25}", "sqrt(25)", "minus 5", "3/0"),
        *("5 million", "2 dozen", "x \N{NOT EQUAL TO} 5", "5 squared", "x5", "x_5", "3/4/5", "0x1F", "1_000"),
        *("1e999999999", "1e-999999999", "1e1001", "9" * 501, "1 " + "a" * 2000, "x = 5 ="),
        # digits of other scripts, superscripts and vulgar fractions: int() and NFKC would read something into them
        *(
            "\N{ARABIC-INDIC DIGIT FIVE}",
            "5\N{SUPERSCRIPT TWO}",
            "\N{FULLWIDTH DIGIT FIVE}",
            "\N{VULGAR FRACTION ONE HALF}",
        ),
        *('__import__("os").system("touch x")', "9**9**9**9", "(lambda: 5)()", "Fraction(1, 2)"),
    ],
)
def test_anything_else_is_no_number(text: str) -> None:
    assert number_of(text) is None


def test_the_largest_numbers_that_are_read() -> None:
    assert number_of("9" * 500) == 10**500 - 1
    assert number_of("1e1000") == 10**1000
    assert Found(number_of("-6/8")).text == "-3/4"


def test_the_last_mark_counts() -> None:
    text = "3*5=15. Answer: 15\nNo, 3*6=18.\nAnswer: 18 apples\nThat took 2 lines."
    assert final_number(text, marked=True) == Found(Fraction(18))
    assert final_number("So it is\n#### 1,072", marked=True).text == "1072"
    assert final_number("ANSWER :\n\n  7\n9", marked=True).text == "7"
    assert final_number("**Answer:** 7", marked=True).text == "7"


def test_an_answer_that_hedges_is_none() -> None:
    assert final_number("Answer: 5 or 6 or 7", marked=True) == Found(None, UNREADABLE)
    assert final_number("Answer: 5" + " " * 1500 + "or 6", marked=True) == Found(None, UNREADABLE)
    assert final_number("The answer is 5.", marked=True) == Found(None, NO_ANSWER)
    assert final_number("5\nAnswer:  ", marked=True) == Found(None, NO_ANSWER)
    assert final_number("Answer: 5 Answer: 6", marked=True).text == "6"


def test_without_marks_the_last_number_counts() -> None:
    assert final_number("He has 3 + 4 = 7, not 8. So 7.", marked=False).text == "7"
    assert final_number("It costs $1,234.50.", marked=False).text == "2469/2"
    assert final_number("From 3 to \N{MINUS SIGN}5", marked=False).text == "-5"
    assert final_number("1.2.3 and H2O and 1,2345", marked=False) == Found(None, NO_ANSWER)
    assert final_number("", marked=False) == Found(None, NO_ANSWER)
    assert final_number("7 is it. Answer: none", marked=False) == Found(None, UNREADABLE)


def test_marks() -> None:
    assert is_marked("Answer: 3")
    assert is_marked("#### 3")
    assert not is_marked("The answer is 3.")


@pytest.mark.parametrize("piece", ["9", "1,", "answer ", "####", "-", "1/", "1.1", "$", "Answer: 1e", " \n"])
def test_a_megabyte_is_read_in_time_in_proportion(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))  # time in the square of this would be hours
    for marked in (True, False):
        assert final_number(text, marked=marked).value in (None, Fraction(11, 10), 1)
    assert final_number(text + "\nAnswer: 3", marked=True).text == "3"
