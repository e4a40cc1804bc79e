"""The exponents in closed form: the table of arXiv:2407.05872 as `shared/facts/parameterization.md` has it."""

from fractions import Fraction

import pytest

import shammie
from models.parameterization import ALIGNMENTS, OPTIMIZERS, PARAMETERIZATIONS, ROLES, Exponents, exponents
from models.parameterization.exponents import FAMILIES, family_of, power, shifted
from shammie.errors import UserError

A_B = {
    "standard": "0 0, 0 1/2, 0 1/2",
    "ntk": "0 0, 1/2 0, 1/2 0",
    "mup": "-1/2 1/2, 0 1/2, 1/2 1/2",
    "mean_field": "0 0, 1/2 0, 1 0",
}
# c of embedding, hidden, readout; columns: SGD full, SGD none, Adam full, Adam none, Adafactor full, Adafactor none
C = {
    "standard": ["-1/2 1/2 1", "-1/2 0 1/2", "0 1 1", "0 1/2 1/2", "0 1/2 1/2", "0 0 0"],
    "ntk": ["-1/2 -1/2 0", "-1/2 -1 -1/2", "0 1/2 1/2", "0 0 0", "0 1/2 1/2", "0 0 0"],
    "mup": ["0 0 0", "0 -1/2 0", "1/2 1 1/2", "1/2 1/2 0", "0 1/2 0", "0 0 -1/2"],
    "mean_field": ["-1 -1 -1", "-1 -3/2 -1", "0 1/2 0", "0 0 -1/2", "0 1/2 0", "0 0 -1/2"],
}
COLUMNS = [(optimizer, alignment) for optimizer in ("sgd", "adam", "adafactor") for alignment in ("full", "none")]
GRADIENT = {"standard": "1/2 1/2 0", "ntk": "1/2 1 1/2", "mup": "1/2 1 1/2", "mean_field": "1 3/2 1"}


def _fractions(text: str) -> list[Fraction]:
    return [Fraction(word) for word in text.replace(",", " ").split()]


@pytest.mark.parametrize(("optimizer", "alignment"), COLUMNS)
@pytest.mark.parametrize("name", PARAMETERIZATIONS)
def test_the_table(name: str, optimizer: str, alignment: str) -> None:
    found = exponents(name, optimizer, alignment)
    assert tuple(found) == ROLES
    assert all(type(x) is Fraction for layer in found.values() for x in (layer.a, layer.b, layer.c, layer.gradient))
    assert [layer.c for layer in found.values()] == _fractions(C[name][COLUMNS.index((optimizer, alignment))])
    assert [x for layer in found.values() for x in (layer.a, layer.b)] == _fractions(A_B[name])
    assert [layer.gradient for layer in found.values()] == _fractions(GRADIENT[name])


def test_the_readout_first_differs_for_sgd_without_alignment_only() -> None:
    other = {"mup": "1/2 0 -1/2", "mean_field": "-1/2 -1 -3/2"}
    for name in PARAMETERIZATIONS:
        for optimizer, alignment in COLUMNS:
            plain = exponents(name, optimizer, alignment)
            first = exponents(name, optimizer, alignment, readout_first=True)
            if (optimizer, alignment) == ("sgd", "none") and name in other:
                assert [layer.c for layer in first.values()] == _fractions(other[name])
            else:
                assert first == plain


@pytest.mark.parametrize(("left", "right"), [("standard", "ntk"), ("mup", "mean_field")])
@pytest.mark.parametrize(("optimizer", "alignment"), COLUMNS)
def test_two_pairs_are_one_network_in_two_forms(left: str, right: str, optimizer: str, alignment: str) -> None:
    """The symmetry of section 1: a + t, b - t, and c - 2 t (SGD), c - t (Adam), c (Adafactor)."""
    for readout_first in (False, True):
        one = exponents(left, optimizer, alignment, readout_first=readout_first)
        two = exponents(right, optimizer, alignment, readout_first=readout_first)
        moved = {role: shifted(one[role], optimizer, two[role].a - one[role].a) for role in ROLES}
        assert moved == two
    assert any(one[role].a != two[role].a for role in ROLES)


def test_a_shift_by_hand() -> None:
    layer = Exponents(Fraction(0), Fraction(1, 2), Fraction(1), Fraction(1, 2))
    t = Fraction(1, 2)
    for optimizer, c in (("sgd", 0), ("adam", t), ("adafactor", 1)):
        assert shifted(layer, optimizer, t) == Exponents(t, Fraction(0), Fraction(c), Fraction(1))


def test_powers_of_four_give_exact_roots() -> None:
    for k in range(1, 12):
        for halves in range(-3, 4):
            assert power(4**k, Fraction(halves, 2)) == 2.0 ** (k * halves)
            assert power(Fraction(1, 4**k), Fraction(halves, 2)) == 2.0 ** (-k * halves)
    assert power(Fraction(9, 4), Fraction(1, 2)) == 1.5
    assert power(2, Fraction(1, 2)) == 2**0.5
    assert power(8, Fraction(1, 3)) == pytest.approx(2.0)
    with pytest.raises(UserError, match="a width ratio is 0"):
        power(0, Fraction(1))


def test_optimizers_scale_as_one_of_three() -> None:
    assert set(FAMILIES.values()) == set(OPTIMIZERS)
    assert [family_of(name) for name in ("adamw", "adam_atan2", "lion", "sgd")] == ["adam", "adam", "adam", "sgd"]
    assert exponents("mup", "adamw") == exponents("mup", "adam")


def test_unknown_names() -> None:
    with pytest.raises(
        UserError, match=r"unknown optimizer 'lamb'.*there are: sgd, adam.*give the one that yours scales as"
    ):
        exponents("mup", "lamb")
    with pytest.raises(UserError, match=r"unknown optimizer 'adamm'; did you mean adam"):
        exponents("mup", "adamm")
    with pytest.raises(UserError, match=r"unknown parameterization 'sp'; there are: standard, ntk, mup, mean_field"):
        exponents("sp", "adam")
    with pytest.raises(UserError, match=r"unknown alignment 'half'; there are: full, none"):
        exponents("mup", "adam", "half")
    assert ALIGNMENTS == ("full", "none")


def test_the_public_name() -> None:
    assert shammie.exponents("standard", "adam", "full")["hidden"].c == 1
    from models.parameterization import exponents as by_package

    assert shammie.exponents is by_package
