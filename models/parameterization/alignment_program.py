"""The largest stable learning rates under any alignment, as a mixed-integer linear program (arXiv:2407.05872).

A step changes a layer's input by dx and its weights by dW, so that its output changes by n^-a times
dW x (which grows by n^alpha), W dx (n^omega) and dW dx (n^u). With r_l the exponent of the change of layer l's output,
n^-r_l, and s_l that of an update, every layer must have r_l >= 0:

    embedding  r_1 = s_1
    hidden     r_l = min(s_l - alpha_l,  s_l + r_{l-1} - u_l,  a_l + b_l + r_{l-1} - omega_l)
    readout    the same, of logits

where n^-s_l is the size of the update as the output sees it: s = a + c for Adam, a + b + c for Adafactor, whose updates
are scaled by the weights, and g + 2 a + c for SGD below the readout (2 a + c there), since gradients shrink by n^-g,
g = min(a_L + b_L, 2 a_L + c_L) of the readout's first values or of its updates. The sum of all c is minimised.
Adafactor's line is derived by us; scaled to the weights' first values, since at r >= 0 they stay that large.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize, sparse

from models.parameterization.exponents import a_and_b, family_of
from shammie.errors import UserError

Number = Fraction | int | float | str
AandB = Mapping[str, tuple[Fraction, Fraction]]

_BOUND = 100.0  # of every exponent; the program's own are a few units
_BIG = 1000.0  # more than two sides of a minimum can differ by
_FINEST = 10_000  # the common denominator of all numbers given may not exceed it: answers are rounded to it exactly


@dataclass(frozen=True)
class Optimum:
    """What the program finds, from the first layer (the embedding) to the last (the readout).

    Attributes:
        c: exponents of learning rates.
        r: exponents of changes: 0 where a layer's output changes by a constant, more where by less and less.
        g: exponent of the gradient below the readout, as updates leave it (used by SGD alone).
        unique: whether no other c has the same sum.
    """

    c: tuple[Fraction, ...]
    r: tuple[Fraction, ...]
    g: Fraction
    unique: bool

    def roles(self) -> dict[str, Fraction]:
        """The c of "embedding", "hidden" and "readout".

        Raises:
            UserError: if hidden layers differ, as they do where their alignments do.
        """
        if len(set(self.c[1:-1])) > 1:
            raise UserError(
                f"hidden layers have different c: {', '.join(map(str, self.c[1:-1]))}", "read Optimum.c, layer by layer"
            )
        return {"embedding": self.c[0], "hidden": self.c[1], "readout": self.c[-1]}


class _Problem(NamedTuple):
    """The given numbers, exact: a and b of each layer; alpha, omega and u of each but the first."""

    family: str
    a: list[Fraction]
    b: list[Fraction]
    alpha: list[Fraction]
    omega: list[Fraction]
    u: list[Fraction]

    def denominator(self) -> int:
        return lcm(*(number.denominator for numbers in self[1:] for number in numbers))


def alignments(alignment: str) -> tuple[Fraction, Fraction, Fraction]:
    """(alpha, omega, u) of "full" alignment, (1, 1/2, 1), or "none", (1/2, 1/2, 1/2)."""
    half = Fraction(1, 2)
    top = {"full": Fraction(1), "none": half}
    if alignment not in top:
        raise UserError(f"unknown alignment {alignment!r}", "give full or none")
    return top[alignment], half, top[alignment]


def optimal_exponents(
    parameterization: str | AandB,
    optimizer: str,
    alpha: Number | Sequence[Number],
    omega: Number | Sequence[Number],
    u: Number | Sequence[Number],
    *,
    layers: int = 4,
    feature_learning: bool = False,
    readout_first: bool = False,
) -> Optimum:
    """The largest stable learning rates, exactly.

    Args:
        parameterization: one of PARAMETERIZATIONS, or (a, b) of each role.
        optimizer: one of OPTIMIZERS, or one that scales as they do.
        alpha: alignment of updates with first inputs: of all layers, or of each from the second to the readout;
            1/2 (none) to 1 (full). Strings such as "0.73" or "2/3" are read exactly; so are floats, as they print.
        omega: alignment of first weights with changed inputs.
        u: alignment of updates with changed inputs.
        layers: in all, at least 3: the embedding, layers - 2 hidden ones and the readout.
        feature_learning: whether the last hidden layer must change by a constant, r_{L-1} = 0.
        readout_first: whether the readout's rate is made as large as may be before the sum of all is; differs for SGD
            without alignment under "mup" and "mean_field".

    Raises:
        UserError: for unknown names, fewer than 3 layers, too many or too few alignments, numbers too fine for an exact
            answer, or a program without a solution, as where the first values alone are too large.
    """
    if layers < 3:
        raise UserError(f"layers is {layers}", "give at least 3: an embedding, a hidden layer and a readout")
    table = a_and_b(parameterization) if isinstance(parameterization, str) else parameterization
    roles = ["embedding", *["hidden"] * (layers - 2), "readout"]
    problem = _Problem(
        family_of(optimizer),
        [Fraction(table[role][0]) for role in roles],
        [Fraction(table[role][1]) for role in roles],
        *(_each(name, given, layers - 1) for name, given in (("alpha", alpha), ("omega", omega), ("u", u))),
    )
    _check_first_values(problem)
    if problem.denominator() > _FINEST:
        raise UserError(
            f"the numbers have no common denominator up to {_FINEST}", "give multiples of one fraction, such as 0.01"
        )
    program = _program(problem, feature_learning)
    total = np.zeros(program.size)
    total[:layers] = 1.0
    limits: list[tuple[np.ndarray, float]] = []
    if readout_first:
        readout = np.eye(program.size)[layers - 1]
        limits.append((readout, float(readout @ program.solve(readout, ()))))
    found = program.solve(total, limits)
    finest = 2 * problem.denominator()
    c = tuple(Fraction(round(float(x) * finest), finest) for x in found[:layers])
    g, r = _consequences(problem, c)
    far = max(abs(float(exact) - x) for exact, x in zip(c, found[:layers], strict=True))
    if min(r) < 0 or (feature_learning and r[-2] != 0) or far > 1e-5:
        raise RuntimeError(f"the program's answer {found[:layers]} is not exact; c = {c} gives r = {r}")
    at_best = [*limits, (total, float(sum(c)))]
    # each c on its own, pushed both ways among the answers of the same sum
    ends = [program.solve(sign * np.eye(program.size)[layer], at_best) for layer in range(layers) for sign in (1, -1)]
    unique = bool(np.max(np.abs(np.array(ends)[:, :layers] - [float(x) for x in c])) < 1e-4)
    return Optimum(c, r, g, unique)


def _consequences(problem: _Problem, c: Sequence[Fraction]) -> tuple[Fraction, tuple[Fraction, ...]]:
    """The g and the r of each layer that follow from the c of each, by the minima above, exactly."""
    g = min(problem.a[-1] + problem.b[-1], 2 * problem.a[-1] + c[-1])
    r: list[Fraction] = []
    for layer, own in enumerate(c):
        below = r[-1] if r else Fraction(0)
        r.append(min(t.constant + t.c * own + t.g * g + t.below * below for t in _terms(problem, layer)))
    return g, tuple(r)


class _Term(NamedTuple):
    """One side of a minimum: constant + c_l + g + r_{l-1}, each of the three there or not."""

    constant: Fraction
    c: bool
    g: bool
    below: bool


def _terms(p: _Problem, layer: int) -> list[_Term]:
    """The terms whose minimum is r_layer."""
    readout = layer == len(p.a) - 1
    sgd = p.family == "sgd"
    constant = {"adam": p.a[layer], "adafactor": p.a[layer] + p.b[layer], "sgd": 2 * p.a[layer]}[p.family]
    g = sgd and not readout
    if layer == 0:
        return [_Term(constant, True, g, False)]
    alpha, omega, u = p.alpha[layer - 1], p.omega[layer - 1], p.u[layer - 1]
    return [
        _Term(constant - alpha, True, g, False),
        _Term(constant - u, True, g, True),
        _Term(p.a[layer] + p.b[layer] - omega, False, False, True),
    ]


class _Program(NamedTuple):
    """Rows low <= A x <= high, with which x are 0 or 1; x = (c of each layer, r of each, g, choices)."""

    size: int
    rows: np.ndarray
    low: np.ndarray
    high: np.ndarray
    integral: np.ndarray
    least: np.ndarray
    most: np.ndarray

    def solve(self, objective: np.ndarray, limits: Sequence[tuple[np.ndarray, float]]) -> np.ndarray:
        """The x of the least objective, where each limit's row is at most its number."""
        rows = np.vstack([self.rows, *(row for row, _ in limits)])
        low = np.concatenate([self.low, [-np.inf] * len(limits)])
        high = np.concatenate([self.high, [most + 1e-7 for _, most in limits]])
        constraint = optimize.LinearConstraint(sparse.csr_array(rows), low, high)  # pyright: ignore[reportArgumentType]
        bounds: Any = optimize.Bounds(self.least, self.most)  # pyright: ignore[reportArgumentType]
        found = optimize.milp(objective, constraints=constraint, integrality=self.integral, bounds=bounds)
        if found.x is None or np.max(np.abs(found.x[self.integral == 0])) > _BOUND - 1:
            raise UserError(
                f"no learning rates satisfy the program ({found.message})", "give other alignments or another a and b"
            )
        return found.x


def _program(problem: _Problem, feature_learning: bool) -> _Program:
    """The program as a matrix: each minimum is below all its terms, and a choice (0 or 1) says which one it equals."""
    layers = len(problem.a)
    c, r, g = range(layers), range(layers, 2 * layers), 2 * layers
    minima = [(r[layer], [(term, layer) for term in _terms(problem, layer)]) for layer in range(layers)]
    top = problem.a[-1]
    g_terms = [_Term(top + problem.b[-1], False, False, False), _Term(2 * top, True, False, False)]
    minima.append((g, [(term, layers - 1) for term in g_terms]))
    choices = sum(len(terms) for _, terms in minima)
    size = 2 * layers + 1 + choices
    rows, low, high = [], [], []
    choice = 2 * layers + 1
    for target, terms in minima:
        one = np.zeros(size)
        for term, layer in terms:
            row = np.zeros(size)
            row[target] = 1.0
            if term.c:
                row[c[layer]] -= 1.0
            if term.g:
                row[g] -= 1.0
            if term.below:
                row[r[layer - 1]] -= 1.0
            rows.append(row)  # target <= term
            low.append(-np.inf)
            high.append(float(term.constant))
            chosen = row.copy()
            chosen[choice] = -_BIG  # target >= term unless another is chosen
            rows.append(chosen)
            low.append(float(term.constant) - _BIG)
            high.append(np.inf)
            one[choice] = 1.0
            choice += 1
        rows.append(one)
        low.append(1.0)
        high.append(1.0)
    integral = np.zeros(size)
    integral[2 * layers + 1 :] = 1
    least, most = np.full(size, -_BOUND), np.full(size, _BOUND)
    least[layers : 2 * layers] = 0.0  # r >= 0
    if feature_learning:
        most[r[layers - 2]] = 0.0
    least[2 * layers + 1 :], most[2 * layers + 1 :] = 0.0, 1.0
    return _Program(size, np.array(rows), np.array(low), np.array(high), integral, least, most)


def _each(name: str, given: Number | Sequence[Number], count: int) -> list[Fraction]:
    """One alignment a layer, exact."""
    many = [given] * count if isinstance(given, Fraction | int | float | str) else list(given)
    if len(many) != count:
        raise UserError(
            f"{name} has {len(many)} numbers", f"give one, or {count}: of each layer from the second to the readout"
        )
    try:
        return [Fraction(str(number)) for number in many]
    except ValueError as error:
        raise UserError(f"{name} is {given!r}", "give numbers or fractions such as '2/3'") from error


def _check_first_values(problem: _Problem) -> None:
    """First values must neither vanish nor grow: a + b = 0 in the embedding, 1/2 in hidden layers, >= 1/2 on top."""
    sums = [a + b for a, b in zip(problem.a, problem.b, strict=True)]
    if sums[0] != 0 or any(one != Fraction(1, 2) for one in sums[1:-1]) or sums[-1] < Fraction(1, 2):
        raise UserError(
            f"a + b is {', '.join(map(str, sums))} from the embedding to the readout",
            "first values stay constant with 0 in the embedding, 1/2 in hidden layers and at least 1/2 in the readout",
        )
