import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.adversarial_arithmetic.number_words import number_words

UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()


def written(number: int, join: str, hyphen: str) -> str:
    """The number in words, by recursion: the inverse of what is tested, made on its own."""
    if number < 20:
        return UNITS[number]
    if number < 100:
        return TENS[number // 10] + (hyphen + UNITS[number % 10] if number % 10 else "")
    for scale, name in (
        (10**12, "trillion"),
        (10**9, "billion"),
        (10**6, "million"),
        (1000, "thousand"),
        (100, "hundred"),
    ):
        if number >= scale:
            rest = number % scale
            head = f"{written(number // scale, join, hyphen)} {name}"
            return head + (join + written(rest, join, hyphen) if rest else "")
    raise AssertionError


def values(text: str) -> list[int | None]:
    return [one.value for one in number_words(text)]


@given(
    st.integers(0, 10**15 - 1) | st.integers(0, 3000),
    st.sampled_from([" ", " and ", ", ", " , and "]),
    st.sampled_from(["-", " ", " - "]),
    st.booleans(),
    st.sampled_from([str.lower, str.upper, str.title]),
)
def test_every_number_is_read_back(number: int, join: str, hyphen: str, minus: bool, case) -> None:
    text = case(("minus " if minus else "") + written(number, join, hyphen))
    assert values(f"It is {text}.") == [-number if minus else number]
    (found,) = number_words(text + ", I think")
    assert (found.start, found.end) == (0, len(text))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("eight", [8]),
        ("forty-two", [42]),
        ("fourty two", [42]),
        ("minus three", [-3]),
        ("Negative twenty", [-20]),
        ("one hundred and five", [105]),
        ("a hundred", [100]),
        ("a thousand and one", [1001]),
        ("twelve hundred", [1200]),
        ("nought", [0]),
        ("one", [1]),
        ("One.", [1]),
        ("The answer is one.", [1]),
        ("two and three make five", [2, 3, 5]),
        ("seven or eight", [7, 8]),
        ("three, four", [3, 4]),
        ("nineteen eighty", [19, 80]),
        ("three point five", [None]),
        ("two and a half", [None]),
        ("two thirds", [None]),
        ("no one knows", []),
        ("That one is hard", []),
        ("One moment", []),
        ("this is a tricky one for me", []),
        ("someone often weighs a tent, lonely", []),
        ("hundreds of reasons", []),
        ("attention", []),
        ("", []),
    ],
)
def test_words_and_what_only_looks_like_them(text: str, wanted: list[int | None]) -> None:
    assert values(text) == wanted
