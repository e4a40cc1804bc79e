"""Equations: what is read of a worked solution, exactly and without evaluating it."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.rest_em.equations import _value, equations
from models.rest_em.families import problems


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3*5=15. 12+15=27. Answer: 27", [("3*5=15", True), ("12+15=27", True)]),
        ("3*5=16. 12 + 15 = 27.", [("3*5=16", False), ("12+15=27", True)]),
        ("He has 3*5 = <<3*5=15>>15 eggs and 1+1=3", [("3*5=15", True)]),  # only what is marked is read
        ("It costs $1,200 / 3 = $400", [("1,200/3=400", True)]),
        ("10/4=2.5", [("10/4=2.5", True)]),
        ("10/3=3.33, 10/3=3.34, 10/3=3", [("10/3=3.33", True), ("10/3=3.34", True), ("10/3=3", False)]),
        ("10/3=3.35, 10/4=2.4", [("10/3=3.35", False), ("10/4=2.4", False)]),
        ("3 x 5 = 15, 2\u00d73=6, 6\u00f72=3", [("3*5=15", True), ("2*3=6", True), ("6/2=3", True)]),
        ("(2+3)*4=20", [("(2+3)*4=20", True)]),
        ("5-8=-3", [("5-8=-3", True)]),
        ("7-2-1=4, 8/4/2=1, 2+3*4=14", [("7-2-1=4", True), ("8/4/2=1", True), ("2+3*4=14", True)]),
        ("2+3=5=10-5=6-2", [("2+3=5", True), ("5=10-5", True), ("10-5=6-2", False)]),
        ("5=5, x=3, Answer = 4", []),  # nothing is computed in these
        ("1/0=3", []),
        ("2**3=8", []),
        ("2^3+1=9, x+1=9, 3 apples + 2 + 1 = 6", []),  # more stands before than was read
        ("20% of 50 + 3 = 13 and 1/2=50%", []),
        (".5*2=1", []),
        ("2+=3, (2+3=5, 2+3)=5", []),
        ("__import__('os').system('x')+1=2", []),
        ("9" * 31 + "+1=2", []),
        ("", []),
    ],
)
def test_what_is_read(text: str, expected: list[tuple[str, bool]]) -> None:
    assert equations(text) == expected


@given(st.recursive(st.integers(0, 99).map(str), lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner)
                    .map("({0[0]}{0[1]}{0[2]})".format), max_leaves=8))  # fmt: skip
def test_values_are_those_of_python(text: str) -> None:
    tokens = [one for one in text.replace("(", " ( ").replace(")", " ) ").replace("+", " + ").replace("-", " - ")
              .replace("*", " * ").replace("/", " / ").split()]  # fmt: skip
    code = " ".join(f"Fraction({one})" if one.isdigit() else one for one in tokens)
    try:
        expected = eval(code, {"Fraction": Fraction})  # of text that this test made
    except ZeroDivisionError:
        expected = None
    assert _value(tokens) == expected


@given(st.text(alphabet="0123456789+-*/()=<>., x$%\n", max_size=200))
def test_any_text_is_read(text: str) -> None:
    for equation, _ in equations(text):
        assert "=" in equation


@pytest.mark.parametrize("piece", ["1+", "(", "1 ", "1=", "<<", "1,111", "- ", "1+1=2 "])
def test_long_texts_are_read_once(piece: str) -> None:
    found = equations(piece * 20_000)  # read again from every place, it would take until the test is stopped
    assert found == ([("1+1=2", True)] * 20_000 if piece == "1+1=2 " else [])


def test_solutions_of_the_arithmetic_family_hold_true_equations_only() -> None:
    for one in problems("arithmetic", "train", 500):
        found = equations(one.solution)
        assert len(found) == one.level
        assert all(true for _, true in found)
