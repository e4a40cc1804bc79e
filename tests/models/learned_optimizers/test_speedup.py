"""VeLO's score, by curves whose answers are known."""

import numpy as np
import pytest

from models.learned_optimizers.speedup import Envelope, envelope, mean_curve, smoothed, speedup, steps_to_reach
from shammie.errors import UserError


def test_smoothing_starts_at_the_first_loss_and_keeps_the_decay_of_what_was() -> None:
    np.testing.assert_allclose(smoothed(np.array([4.0, 0.0, 0.0]), 0.95), [4.0, 3.8, 3.61], rtol=1e-15)
    np.testing.assert_array_equal(smoothed(np.array([[4.0, 0.0], [1.0, 1.0]]), 0.5), [[4.0, 2.0], [1.0, 1.0]])


def test_seeds_are_averaged_before_smoothing_and_a_lost_one_loses_the_mean() -> None:
    curves = np.array([[4.0, 2.0, 2.0], [2.0, 0.0, np.inf]])
    np.testing.assert_array_equal(mean_curve(curves, 0.5), [3.0, 2.0, np.nan])


def test_an_envelope_is_the_lowest_rate_at_each_point_and_never_rises() -> None:
    slow = [[8.0, 6.0, 5.0, 4.0, 3.0]]
    fast = [[8.0, 4.0, 4.5, np.nan, np.nan]]
    found = envelope([0, 10, 20, 30, 40], np.array([slow, fast]), decay=0.0, points=5)
    np.testing.assert_array_equal(found.steps_P, [0, 10, 20, 30, 40])
    np.testing.assert_array_equal(found.losses_P, [8.0, 4.0, 4.0, 4.0, 3.0])


def test_resampling_interpolates_between_points() -> None:
    found = envelope([0, 10], np.array([[[8.0, 4.0]]]), decay=0.0, points=5)
    np.testing.assert_array_equal(found.losses_P, [8.0, 7.0, 6.0, 5.0, 4.0])


def test_the_default_is_the_references_512_points_and_decay() -> None:
    steps, losses = np.arange(0, 100, 10), np.linspace(3.0, 1.0, 10)
    found = envelope(steps, losses[None, None])
    assert found.steps_P.shape == (512,)
    assert found.losses_P[-1] == pytest.approx(smoothed(losses, 0.95)[-1], rel=1e-15)


def test_where_all_rates_are_lost_says_from_which_step() -> None:
    with pytest.raises(UserError, match="no learning rate of the baseline stayed finite to step 20"):
        envelope([10, 20], np.array([[[1.0, np.nan]], [[2.0, np.inf]]]))
    with pytest.raises(UserError, match="shape"):
        envelope([10, 20, 30], np.ones((1, 1, 2)))


PLATEAU = Envelope(np.array([0.0, 10.0, 20.0, 30.0, 40.0]), np.array([5.0, 3.0, 3.0, 3.0, 1.0]))


@pytest.mark.parametrize(
    ("loss", "steps"),
    [
        (5.0, 0.0),
        (4.0, 5.0),
        (3.0, 10.0),  # the first step at it
        (2.0, 35.0),  # between the plateau's end and the last point
        (1.0, 40.0),
        (0.5, 40.0),  # never reached: the last step
        (9.0, 0.0),  # before the first
        (np.nan, 0.0),
        (np.inf, 0.0),
        (-np.inf, 0.0),
    ],
)
def test_steps_to_a_loss(loss: float, steps: float) -> None:
    assert steps_to_reach(PLATEAU, loss) == steps


def test_a_plateau_at_the_end_is_reached_at_its_first_step() -> None:
    ends_flat = Envelope(np.array([0.0, 10.0, 20.0]), np.array([5.0, 1.0, 1.0]))
    np.testing.assert_array_equal(steps_to_reach(ends_flat, np.array([1.0, 0.9])), [10.0, 20.0])


def test_the_speedup_is_the_baselines_steps_over_ones_own() -> None:
    assert speedup(PLATEAU, 2.0, 10) == 3.5
    assert speedup(PLATEAU, np.nan, 10) == 0.0
    with pytest.raises(UserError, match="took 0 steps"):
        speedup(PLATEAU, 2.0, 0)
