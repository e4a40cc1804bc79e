"""The program against the closed form, against brute force, and where neither knows the answer."""

import itertools
import random
from fractions import Fraction

import pytest

from models.parameterization import ALIGNMENTS, OPTIMIZERS, PARAMETERIZATIONS, exponents
from models.parameterization.alignment_program import alignments, optimal_exponents
from models.parameterization.exponents import A_AND_B
from shammie.errors import UserError

HALF = Fraction(1, 2)


@pytest.mark.parametrize("alignment", ALIGNMENTS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", PARAMETERIZATIONS)
def test_its_optimum_is_the_closed_form(name: str, optimizer: str, alignment: str) -> None:
    for layers in (3, 4, 6):
        found = optimal_exponents(name, optimizer, *alignments(alignment), layers=layers)
        assert found.roles() == {role: e.c for role, e in exponents(name, optimizer, alignment).items()}
        assert found.unique
        assert set(found.r[:-1]) == {0}
        kept = (optimizer, alignment) == ("sgd", "none") and name in ("mup", "mean_field")
        assert found.r[-1] == (HALF if kept else 0)


@pytest.mark.parametrize("name", ["mup", "mean_field"])
def test_the_readout_first(name: str) -> None:
    found = optimal_exponents(name, "sgd", *alignments("none"), readout_first=True)
    assert found.roles() == {role: e.c for role, e in exponents(name, "sgd", "none", readout_first=True).items()}
    assert found.roles() != optimal_exponents(name, "sgd", *alignments("none")).roles()
    assert set(found.r) == {0}
    assert found.unique


def _changes(name: str, optimizer: str, alignment: list[list[float]], c: tuple[float, ...]) -> list[float]:
    """The r of every layer, straight from section 3 of the facts."""
    alpha, omega, u = alignment
    roles = ["embedding", *["hidden"] * (len(c) - 2), "readout"]
    a, b = ([float(A_AND_B[name][role][i]) for role in roles] for i in (0, 1))
    step = [one + rate for one, rate in zip(a, c, strict=True)]
    if optimizer == "sgd":
        below = min(a[-1] + b[-1], 2 * a[-1] + c[-1])
        step = [below + one + x for one, x in zip(a[:-1], step[:-1], strict=True)] + [2 * a[-1] + c[-1]]
    r = [step[0]]
    for layer in range(1, len(c)):
        at = layer - 1
        kept = a[layer] + b[layer] + r[-1] - omega[at]
        r.append(min(step[layer] - alpha[at], step[layer] + r[-1] - u[at], kept))
    return r


@pytest.mark.parametrize("feature_learning", [False, True])
def test_brute_force_on_a_grid_finds_the_same(feature_learning: bool) -> None:
    """Any alignments of halves, all c of halves: independent of the solver."""
    chosen, grid = random.Random(5), [x / 2 for x in range(-4, 6)]
    solved = 0
    for _ in range(12):
        name, optimizer = chosen.choice(PARAMETERIZATIONS), chosen.choice(["sgd", "adam"])
        alignment = [[chosen.choice([0.5, 1.0]) for _ in range(2)] for _ in range(3)]
        stable = []
        for c in itertools.product(grid, repeat=3):
            r = _changes(name, optimizer, alignment, c)
            if min(r) >= 0 and (not feature_learning or r[-2] == 0):
                stable.append(c)
        if not stable:
            with pytest.raises(UserError, match="no learning rates satisfy the program"):
                optimal_exponents(name, optimizer, *alignment, layers=3, feature_learning=feature_learning)
            continue
        least = min(map(sum, stable))
        found = optimal_exponents(name, optimizer, *alignment, layers=3, feature_learning=feature_learning)
        assert sum(found.c) == least
        assert tuple(map(float, found.c)) in stable
        assert [float(x) for x in found.r] == _changes(name, optimizer, alignment, tuple(map(float, found.c)))
        if found.unique:
            assert [c for c in stable if sum(c) == least] == [tuple(map(float, found.c))]
        solved += 1
    assert solved >= 6


def test_measured_alignments_give_exact_fractions() -> None:
    """A post that measured alpha well below 1 (section 4): the second layer's exponent moves by what is missing."""
    found = optimal_exponents("mup", "adam", ["0.596", 1, 1], HALF, ["0.5", 1, 1])
    assert found.c == (HALF, Fraction("0.596"), 1, HALF)
    assert found.unique
    assert optimal_exponents("mup", "adam", [0.596, 1, 1], 0.5, [0.5, 1, 1]) == found
    with pytest.raises(UserError, match=r"hidden layers have different c: 149/250, 1"):
        found.roles()


def test_a_readout_that_is_aligned_with_all_changes_needs_mups_first_values() -> None:
    """omega = 1 in the readout, the assumption behind muP: Standard must then let features learn less, muP need not."""
    omega = [HALF, HALF, 1]
    standard, mup = (optimal_exponents(name, "adam", 1, omega, 1) for name in ("standard", "mup"))
    assert standard.r[-2] == HALF
    assert mup.r[-2] == 0
    with pytest.raises(UserError, match="no learning rates satisfy the program"):
        optimal_exponents("standard", "adam", 1, omega, 1, feature_learning=True)
    assert optimal_exponents("mup", "adam", 1, omega, 1, feature_learning=True) == mup


def test_bad_programs() -> None:
    with pytest.raises(UserError, match="layers is 2; give at least 3"):
        optimal_exponents("mup", "adam", 1, HALF, 1, layers=2)
    with pytest.raises(UserError, match="omega has 2 numbers; give one, or 3"):
        optimal_exponents("mup", "adam", 1, [1, 1], 1)
    with pytest.raises(UserError, match="u is 'half'; give numbers"):
        optimal_exponents("mup", "adam", 1, 1, "half")
    with pytest.raises(UserError, match="unknown optimizer 'lamb'"):
        optimal_exponents("mup", "lamb", 1, 1, 1)
    with pytest.raises(UserError, match="no common denominator up to 10000"):
        optimal_exponents("mup", "adam", "0.12345", 1, 1)
    with pytest.raises(UserError, match="a \\+ b is 0, 0, 0, 1/2 from the embedding"):
        optimal_exponents({**A_AND_B["standard"], "hidden": (Fraction(0), Fraction(0))}, "adam", 1, 1, 1)
