import numpy as np
import pytest

from models.composition.feature_distances import coverage, frechet_distance
from shammie.errors import UserError


def test_the_frechet_distance_of_gaussians_is_the_closed_form() -> None:
    random = np.random.default_rng(0)
    mixing = random.normal(size=(3, 3))
    one = random.normal(size=(100_000, 3)) @ mixing.T
    other = random.normal(size=(100_000, 3)) * 2.0 + 1.0
    root = np.sqrt(np.linalg.eigvalsh(mixing @ mixing.T))  # (C1 C2)^(1/2) = 2 C1^(1/2) where C2 = 4 I
    exact = 3.0 + np.trace(mixing @ mixing.T) + 12.0 - 2.0 * 2.0 * root.sum()
    assert frechet_distance(one, other) == pytest.approx(exact, rel=0.02)


def test_the_frechet_distance_is_symmetric_and_zero_for_equal_sets() -> None:
    random = np.random.default_rng(1)
    one, other = random.normal(size=(50, 4)), random.normal(size=(60, 4)) + 0.5
    assert frechet_distance(one, one) == pytest.approx(0.0, abs=1e-5)
    assert frechet_distance(one, other) == pytest.approx(frechet_distance(other, one))
    assert frechet_distance(one, one + 2.0) == pytest.approx(4 * 4.0)  # a shift is its squared length


def test_coverage_counts_the_modes_that_are_made() -> None:
    random = np.random.default_rng(2)
    modes = np.array([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0], [100.0, 100.0]])
    real = np.concatenate([mode + random.normal(size=(200, 2)) for mode in modes])
    all_modes = np.concatenate([mode + random.normal(size=(200, 2)) for mode in modes])
    assert coverage(real, all_modes) > 0.95
    assert coverage(real, all_modes[:200]) == pytest.approx(coverage(real[:200], all_modes[:200]) / 4, abs=1e-9)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(UserError, match="a set of 1 images"):
        frechet_distance(np.zeros((1, 2)), np.zeros((5, 2)))
    with pytest.raises(UserError, match="5 real images for their 5"):
        coverage(np.zeros((5, 2)), np.zeros((5, 2)))
    with pytest.raises(UserError, match="1 features that are not finite"):
        frechet_distance(np.array([[0.0], [np.nan]]), np.zeros((5, 1)))
