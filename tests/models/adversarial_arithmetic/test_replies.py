"""Reading replies: hundreds of awkward ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.adversarial_arithmetic.number_words import SMALL, TENS
from models.adversarial_arithmetic.questions import Sign, question_of
from models.adversarial_arithmetic.replies import is_near, number_in, outcome_of, plain_digits, value_in
from shammie.errors import UserError

DIGITS = {
    "fullwidth": "\N{FULLWIDTH DIGIT ZERO}",
    "arabic": "\N{ARABIC-INDIC DIGIT ZERO}",
    "devanagari": "\N{DEVANAGARI DIGIT ZERO}",
    "thai": "\N{THAI DIGIT ZERO}",
    "bold": "\N{MATHEMATICAL BOLD DIGIT ZERO}",
}
BEFORE = (
    "", " ", "= ", "=", "The answer is ", "It's ", "3 + 4 = ", "3+4=", "**", "$", "`", '"', "'", "(", "[",
    "\\boxed{", "> ", "Answer: ", "Answer:", "answer=", "**Answer:** ", "\n\n", "\r\n \t\n", "Answer:\n",
    "**Final answer:**\n\n", "So, ", "1. ", "- ", "* ", "# ", "... ", "...", "approximately ", "5 or ",
    "not 9 but ", "Not 9! ", "I am 100% sure: ", "GPT-4 says ", "For x5 it is ", "\N{ALMOST EQUAL TO}",
    "\N{RIGHTWARDS ARROW} ", "\u7b54\u6848\u662f", "\N{ZERO WIDTH SPACE}", "\N{WHITE HEAVY CHECK MARK} ",
    "1,000 no, ", "10:30 ", "1/2 no ", "3.5, no: ",
)  # fmt: skip
AFTER = (
    "", ".", "!", " ", ",", ";", ":", "**", "`", '"', ")", "]", "}", "$", "\n9", "\nand 9", " apples", "kg",
    " of them", ", not 9", ", not 9!", " (not 9)", " rather than 9", " instead of 9", ", even if 9 is wrong",
    "; it isn't 9", " is it", "\N{COMBINING ENCLOSING KEYCAP}", "\r\n9", "\N{LINE SEPARATOR}9",
    " \N{GRINNING FACE}", ".\n\nQuestion: 5 + 5? 10", " \\)", " points", " - yes", "\N{IDEOGRAPHIC FULL STOP}",
    "\x00", " I am 100% sure", ", the 2nd time", ", GPT-4 says", ".0", ".00", " != 9", " \N{NOT EQUAL TO} 9",
    ", can't be 9", "; 9 is incorrect",
)  # fmt: skip


@pytest.mark.parametrize("before", BEFORE, ids=repr)
def test_the_integer_is_found_with_anything_around_it(before: str) -> None:
    for after in AFTER:
        assert number_in(f"{before}1{after}") == 1, after
        assert number_in(f"{before}1234567{after}") == 1234567, after


@given(st.sampled_from(BEFORE), st.sampled_from(AFTER), st.integers(0, 10**30), st.sampled_from(sorted(DIGITS)))
def test_digits_of_all_scripts_with_groups(before: str, after: str, number: int, script: str) -> None:
    shifted = {ord("0") + one: ord(DIGITS[script]) + one for one in range(10)}
    assert number_in(f"{before}{str(number).translate(shifted)}{after}") == number
    assert number_in(f"{before}{number:,}{after}") == number
    assert number_in(f"It is {number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")) == number


@pytest.mark.parametrize(
    "minus", ["-", "\N{MINUS SIGN}", "\N{EN DASH}", "\N{FULLWIDTH HYPHEN-MINUS}", "minus ", "negative "]
)
@pytest.mark.parametrize(
    "before", ["", "= ", "3-10=", "3 - 10 = ", "The answer is ", "(", "**", "$", "\\boxed{", "`", "Answer: "]
)
@given(number=st.integers(1, 10**12))
def test_negative_numbers(minus: str, before: str, number: int) -> None:
    assert number_in(f"{before}{minus}{number}") == -number
    assert number_in(f"{before}{minus}{number:,}.") == -number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("eight", 8),
        ("Forty-two!", 42),
        ("minus three", -3),
        ("The answer is one hundred and five.", 105),
        ("eight, not nine", 8),
        ("It is not seven but eight", 8),
        ("GPT-4 says eight", 8),
        ("one", 1),
        ("3 plus 4 is eight", 4),  # the line has digits: `value_in` knows the question
        ("5 million", 5_000_000),
        ("2 thousand", 2000),
        ("5 - 2", 2),
        ("5-2", 2),
        ("5 -2", -2),
        ("- 7", 7),  # an item of a list
        ("= - 7", -7),
        ("10 minus 3", 3),
        ("--7", 7),
        ("+7", 7),
        ("007", 7),
        ("8.0", 8),
        ("8.", 8),
        ("1,234.00", 1234),
        ("1{,}234", 1234),
        ("1\N{ZERO WIDTH SPACE}2", 12),
        ("7\n8", 7),
        ("\n \n7", 7),
        ("2, 3, 4", 4),
        ("9" * 500, 10**500 - 1),
    ],
)
def test_known_replies(text: str, value: int) -> None:
    assert number_in(text) == value


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "\n\n", "\t", "...", "-", "=", "?", "Answer:", "**", "\x00", "\N{ZERO WIDTH SPACE}", "\ud800"),
        *("I cannot help with that.", "I'm sorry, but I can't.", "No one knows.", "As GPT-4, I won't say.", "Hmm\n8"),
        *("I am not 100% sure.", "This is my 2nd try", "x5", "y_5", "H2O", "e^5", "not 8", "It isn't 8", "8 is wrong"),
        *("3.5", ".5", "1/2", "7,5", "1,23", "12,34,567", "1e3", "1.2.3", "10:30", "0x1F", "1_000", "2^10", "1'5"),
        *(
            "\\frac{1}{2}",
            "3.14159",
            "8.5.",
            "It is 8.25",
            "2 + 2 = 4.5",
            "1,234.5",
            "-0.5",
            "9" * 501,
            "0." + "1" * 9999,
        ),
        *("\N{VULGAR FRACTION ONE HALF}", "5\N{SUPERSCRIPT TWO}", "5\N{VULGAR FRACTION ONE HALF}", "nan", "inf"),
        *("three point five", "two and a half", "ARABIC \N{ARABIC-INDIC DIGIT ONE}\N{ARABIC DECIMAL SEPARATOR}5"),
    ],
)
def test_no_integer(text: str) -> None:
    assert number_in(text) is None
    assert outcome_of(question_of(3, "+", 4), text, 8) == "none"


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    value = number_in(text)
    line = plain_digits(text).lower()
    assert (
        value is None
        or any(one.isdecimal() for one in line)
        or any(one in line for one in [*SMALL, *TENS, "a", "naught"])
    )


@given(st.text(alphabet="0123456789-+=., \n", max_size=60))
def test_a_value_stands_in_the_first_line(text: str) -> None:
    value = number_in(text)
    line = next((one for one in text.splitlines() if one.strip()), "")
    if value is not None:
        digits = "".join(char for char in line if char.isdigit())
        assert str(abs(value)) in digits


def test_long_replies_take_no_long_time() -> None:
    for piece in ("1,", "1 ", "-", "one ", "a ", "not ", "1.", "'", "1'", "twenty "):
        number_in(piece * 20_000)  # quadratic time would run into the test's limit


@pytest.mark.parametrize(
    ("x", "sign", "y", "text", "value"),
    [
        (3, "+", 4, "7", 7),
        (3, "+", 4, "3 + 4 = 7", 7),
        (3, "+", 4, "7 is the answer to 3 + 4.", 7),
        (3, "+", 4, "7 is the sum of 3 and 4", 7),
        (3, "+", 4, "7 = 4+3", 7),
        (3, "+", 4, "7 is \N{FULLWIDTH DIGIT THREE}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH DIGIT FOUR}", 7),
        (3, "+", 4, "3 plus 4 is seven", 7),
        (3, "+", 4, "I will not say what 3 + 4 is.", None),
        (3, "+", 4, "3 + 4", None),
        (3, "+", 4, "3 + 45", 45),
        (3, "+", 4, "13 + 4 is 17", 17),
        (3, "+", 4, "3 + 4.5", None),
        (3, "-", 4, "-1, for 3 - 4", -1),
        (3, "-", 4, "4 - 3", 3),
        (3, "-", 4, "-1 is 3 minus 4", -1),
        (3, "*", 4, "12 is 4 times 3", 12),
        (3, "*", 4, "12 = 3 \N{MULTIPLICATION SIGN} 4", 12),
        (1234, "+", 5, "1239 is 1,234 + 5", 1239),
        (7, "+", 0, "7 is 7 + 0", 7),
    ],
)
def test_the_question_said_again_is_no_answer(x: int, sign: Sign, y: int, text: str, value: int | None) -> None:
    assert value_in(question_of(x, sign, y), text) == value


def test_outcomes() -> None:
    question = question_of(3, "+", 4)
    replies = {
        "7": "right",
        "seven": "right",
        "8": "targeted",
        "eight": "targeted",
        "9": "other",
        "": "none",
        "-7": "other",
    }
    assert {text: outcome_of(question, text, 8) for text in replies} == replies
    assert outcome_of(question, "8", None) == "other"
    assert outcome_of(question, "The claim of 8 is wrong.", 8) == "none"
    assert outcome_of(question, "3 + 4 is 7, not 8", 8) == "right"
    with pytest.raises(UserError, match="right answer"):
        outcome_of(question, "7", 7)


def test_near() -> None:
    question = question_of(3, "+", 4)
    assert [value for value in range(20) if is_near(question, value, 2)] == [5, 6, 8, 9]
    assert not is_near(question, 7, 100)
