"""The measure of convergence and the colours, on losses written by hand."""

import numpy as np
import pytest

from models.trainability.colours import colours_of, ranked
from models.trainability.convergence import measure


def test_converged_is_minus_the_sum_of_relative_losses():
    value, converged = measure(np.array([[2.0] + [1.0] * 29]))
    assert converged.tolist() == [True]
    assert value[0] == pytest.approx(-(1 + 29 * 0.5))


def test_diverged_is_the_sum_of_inverses_clipped():
    value, converged = measure(np.array([[0.5, 1.0, 5e6, np.inf] + [np.nan] * 20]))
    assert converged.tolist() == [False]
    # relative 1, 2, 1e7 and 2e6, which are clipped at 1e6
    assert value[0] == pytest.approx(1 + 0.5 + 22e-6, rel=1e-12)


def test_not_finite_is_1e6_before_the_division():
    value, _ = measure(np.array([[4.0] + [np.inf] * 20]))
    assert value[0] == pytest.approx(1 + 20 * 4e-6, rel=1e-12)


def test_only_the_last_twenty_decide_and_one_is_not_below_one():
    losses = np.ones((3, 40))
    losses[0, 1:20] = 1e5
    losses[0, 20:] = 0.999
    losses[1, 1:] = 0.0
    losses[1, -20] = 21.0
    assert measure(losses)[1].tolist() == [True, False, False]


def test_ranks_keep_signs_and_order():
    values = np.array([[-3.0, 5.0], [-1.0, 0.5]])
    assert ranked(values).tolist() == [[1.0, -1.0], [0.25, -0.25]]
    # of one tile on a whole picture's ranks: between two of one sign in between, never in the gap
    tile = ranked(np.array([-2.0, 0.1, 9.0]), reference=values)
    assert tile.tolist() == [0.625, -0.25, -1.0]


def test_colours_are_those_of_the_paper():
    picture = colours_of(np.array([[-3.0, 5.0], [-1.0, np.nan]]))
    assert (picture.shape, picture.dtype) == ((2, 2, 3), np.uint8)
    assert picture[0, 0].tolist() == [94, 79, 162]  # the blue end of Spectral: slowly converged
    assert picture[0, 1].tolist()[0] > 200  # red
    assert picture[1, 1].tolist() == [0, 0, 0]
    assert (colours_of(np.full((2, 3), -1.0)) == colours_of(np.full((2, 3), -7.0))).all()
