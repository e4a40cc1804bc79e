"""Width exponents as exact fractions, in closed form: a, b, c of arXiv:2407.05872, and the gradient's.

A layer computes n^-a W x, with W ~ N(0, n^-2b) at first and the learning rate eta n^-c; n is the width. The closed
form of c is derived by us from the conditions in `models.parameterization.alignment_program`, whose optimum it is.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType

from shammie.errors import UserError, unknown

PARAMETERIZATIONS = ("standard", "ntk", "mup", "mean_field")
OPTIMIZERS = ("sgd", "adam", "adafactor")
ALIGNMENTS = ("full", "none")
ROLES = ("embedding", "hidden", "readout")

HALF = Fraction(1, 2)
_0, _1 = Fraction(0), Fraction(1)

# (a, b) of the embedding, the hidden layers and the readout
A_AND_B: Mapping[str, Mapping[str, tuple[Fraction, Fraction]]] = MappingProxyType(
    {
        "standard": {"embedding": (_0, _0), "hidden": (_0, HALF), "readout": (_0, HALF)},
        "ntk": {"embedding": (_0, _0), "hidden": (HALF, _0), "readout": (HALF, _0)},
        "mup": {"embedding": (-HALF, HALF), "hidden": (_0, HALF), "readout": (HALF, HALF)},
        "mean_field": {"embedding": (_0, _0), "hidden": (HALF, _0), "readout": (_1, _0)},
    }
)

# Optimizers that scale with width as one of the three: of Adam's family are those whose step is as long as the learning
# rate whatever the gradient's scale.
FAMILIES: Mapping[str, str] = MappingProxyType(
    {
        "sgd": "sgd",
        "adam": "adam",
        "adamw": "adam",
        "adam_atan2": "adam",
        "adamax": "adam",
        "adamaxw": "adam",
        "amsgrad": "adam",
        "lion": "adam",
        "nadam": "adam",
        "nadamw": "adam",
        "rmsprop": "adam",
        "sign_sgd": "adam",
        "adafactor": "adafactor",
    }
)


@dataclass(frozen=True)
class Exponents:
    """How one layer scales with the width n.

    Attributes:
        a: the layer's multiplier is n^-a.
        b: the standard deviation of its first values is n^-b.
        c: its learning rate is n^-c.
        gradient: the root mean square of its first gradient is n^-gradient, and so should Adam's epsilon be.
    """

    a: Fraction
    b: Fraction
    c: Fraction
    gradient: Fraction


def family_of(optimizer: str) -> str:
    """The optimizer that this one scales as: "sgd", "adam" or "adafactor".

    Args:
        optimizer: a name, one of FAMILIES.

    Raises:
        UserError: for an optimizer without exponents.
    """
    if optimizer not in FAMILIES:
        raise unknown(
            "optimizer", optimizer, FAMILIES, "(no exponents are known for others: give the one that yours scales as)"
        )
    return FAMILIES[optimizer]


def a_and_b(parameterization: str) -> Mapping[str, tuple[Fraction, Fraction]]:
    """Each role's a and b.

    Raises:
        UserError: for an unknown parameterization.
    """
    if parameterization not in A_AND_B:
        raise unknown("parameterization", parameterization, PARAMETERIZATIONS)
    return A_AND_B[parameterization]


def exponents(
    parameterization: str, optimizer: str, alignment: str = "full", *, readout_first: bool = False
) -> dict[str, Exponents]:
    """The largest learning rates that stay stable at any width, with what belongs to them (arXiv:2407.05872, Table 1).

    Two facts decide: how much the sum over the width grows, n^A with A = 1 where updates and inputs are aligned and
    1/2 where they are not (0 for the embedding, which sums over no width), and how large an update is, n^-c for Adam,
    n^-(b + c) for Adafactor and n^-(gradient + c) for SGD. Updates must change activations and logits by no more than
    a constant.

    Args:
        parameterization: one of PARAMETERIZATIONS.
        optimizer: one of OPTIMIZERS, or one that scales as they do (FAMILIES).
        alignment: "full" (the paper's recommendation) or "none".
        readout_first: for SGD without alignment under "mup" and "mean_field" the largest rate of the readout and the
            largest rates of the layers below exclude each other: a readout that learns faster makes their gradients
            larger. False gives the optimum of the program, the largest rates in sum; True the readout its largest.
            Nothing else depends on it.

    Returns:
        For each of ROLES its Exponents.

    Raises:
        UserError: for an unknown name, an optimizer without exponents among them.
    """
    table = a_and_b(parameterization)
    family = family_of(optimizer)
    if alignment not in ALIGNMENTS:
        raise unknown("alignment", alignment, ALIGNMENTS)
    gain = {"embedding": _0, "hidden": _1, "readout": _1}
    if alignment == "none":
        gain = {role: sum_gain * HALF for role, sum_gain in gain.items()}
    gradient = gradient_exponents(table)
    a_top, b_top = table["readout"]
    c_top = gain["readout"] - 2 * a_top
    if not readout_first:
        c_top = max(c_top, b_top - a_top)  # beyond it the readout's updates outgrow its first values
    # dL/dx below the readout is n^-g: of its first values, or of its updates where those are larger
    g = min(a_top + b_top, 2 * a_top + c_top)
    rates = {
        "adam": lambda role, a, b: gain[role] - a,
        "adafactor": lambda role, a, b: gain[role] - a - b,
        "sgd": lambda role, a, b: c_top if role == "readout" else gain[role] - g - 2 * a,
    }[family]
    return {role: Exponents(a, b, rates(role, a, b), gradient[role]) for role, (a, b) in table.items()}


def gradient_exponents(table: Mapping[str, tuple[Fraction, Fraction]]) -> dict[str, Fraction]:
    """Exponents of the first gradient's root mean square, n^-exponent, for each of ROLES (derived by us).

    dL/dlogits is constant; each layer below the readout sees it through the readout's n^-a W.

    Args:
        table: each role's a and b.
    """
    a_top, b_top = table["readout"]
    below = a_top + b_top
    return {
        "embedding": table["embedding"][0] + below,
        "hidden": table["hidden"][0] + below,
        "readout": a_top,
    }


def shifted(layer: Exponents, optimizer: str, by: Fraction) -> Exponents:
    """The same network in another form: a + by, b - by, and the c and gradient that follow (arXiv:2407.05872).

    Weights grow by n^by while the multiplier shrinks by it, so gradients shrink too: what the network computes and
    how it learns stays the same (with Adam, up to epsilon).

    Args:
        layer: its exponents.
        optimizer: its optimizer, which decides how c moves: by -2 by (SGD), -by (Adam) or not (Adafactor).
        by: how far a moves.
    """
    moved = {"sgd": 2 * by, "adam": by, "adafactor": _0}[family_of(optimizer)]
    return Exponents(layer.a + by, layer.b - by, layer.c - moved, layer.gradient + by)


def power(n: Fraction | int, exponent: Fraction) -> float:
    """n^exponent, exact wherever a float can hold it: 64^(-1/2) is 0.125.

    Args:
        n: above 0.
        exponent: a multiple of 1/2 for an exact result.

    Raises:
        UserError: if n is not above 0.
    """
    n = Fraction(n)
    if n <= 0:
        raise UserError(f"a width ratio is {n}", "give one above 0")
    if exponent.denominator == 1:
        return float(n**exponent.numerator)
    root = _exact_root(n) if exponent.denominator == 2 else None
    return float(root**exponent.numerator) if root is not None else float(n) ** float(exponent)


def _exact_root(n: Fraction) -> Fraction | None:
    """The square root of n if it is a fraction."""
    up, down = _integer_root(n.numerator), _integer_root(n.denominator)
    return None if up is None or down is None else Fraction(up, down)


def _integer_root(n: int) -> int | None:
    root = math.isqrt(n)
    return root if root * root == n else None
