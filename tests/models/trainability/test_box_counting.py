"""Box counting on sets whose dimension is known: the controls of both estimators, with their numbers."""

import numpy as np
import pytest

from models.trainability import sets
from models.trainability.box_counting import (
    box_counts,
    dyadic_dimension,
    dyadic_sizes,
    edges_of,
    local_slopes,
    median_over_levels,
    notebook_dimension,
    notebook_sizes,
)


@pytest.mark.parametrize(
    ("name", "image", "expected", "within"),
    [
        ("line", sets.line(1024), 1.002, 0.003),
        ("circle", sets.circle(1024), 1.034, 0.0005),
        ("noise", sets.noise(1024), 2.007, 0.002),
        ("carpet", sets.sierpinski_carpet(6), 1.884, 0.0005),
        ("triangle", sets.sierpinski_triangle(10), 1.722, 0.0005),
    ],
)
def test_the_notebooks_estimator_has_its_known_values(
    name: str, image: np.ndarray, expected: float, within: float
) -> None:
    assert notebook_dimension(image) == pytest.approx(expected, abs=within)


def test_the_mandelbrot_window_of_the_notebook() -> None:
    left, low, side = sets.NOTEBOOK_MANDELBROT
    x, y = np.meshgrid(np.linspace(left, left + side, 1024), np.linspace(low, low + side, 1024))
    edges = edges_of(sets.mandelbrot_values(x, y))
    assert notebook_dimension(edges) == pytest.approx(1.256, abs=0.0005)


def test_powers_of_two_are_exact_on_sets_made_by_halving() -> None:
    triangle = sets.sierpinski_triangle(10)
    assert dyadic_sizes(1024).tolist() == [2, 4, 8, 16, 32, 64, 128, 256, 512]
    assert dyadic_dimension(triangle) == pytest.approx(np.log2(3), abs=1e-9)
    assert notebook_dimension(triangle) > 1.7  # which is why there are two
    assert dyadic_dimension(sets.line(1024)) == pytest.approx(1, abs=1e-9)


def test_a_smooth_boundary_has_dimension_one() -> None:
    place = (np.arange(1024) + 0.5) / 1024
    rates = 10 ** (2 * place - 1)
    edges = edges_of(sets.quadratic_values(*np.meshgrid(rates, rates)))
    assert edges.sum() > 500
    assert notebook_dimension(edges) == pytest.approx(1.0, abs=0.05)
    assert dyadic_dimension(edges) == pytest.approx(1.0, abs=0.05)


def test_edges_are_blocks_with_both_signs() -> None:
    values = np.array([[-1.0, -2.0, 3.0], [-1.0, -5.0, -1.0], [-1.0, -1.0, -1.0]])
    assert edges_of(values).tolist() == [[False, True], [False, False]]
    random = np.random.default_rng(0).normal(size=(20, 30))
    blocks = np.stack([random[1:, 1:], random[1:, :-1], random[:-1, 1:], random[:-1, :-1]])
    np.testing.assert_array_equal(edges_of(random), blocks.max(0) * blocks.min(0) < 0)


def test_counts_and_sizes_are_the_notebooks() -> None:
    assert notebook_sizes(511).tolist() == [10, 15, 23, 37, 57, 88, 137, 213, 330, 511]
    image = np.zeros((7, 7), bool)
    image[0, 0] = image[6, 6] = True
    image[:3, 3:6] = True
    assert box_counts(image, [3]).tolist() == [3]  # the last box is cut off to one pixel, and full
    assert box_counts(image, [3], full=False).tolist() == [1]


def test_an_empty_image_has_no_slopes_and_is_left_out_of_the_median() -> None:
    empty = np.zeros((64, 64), bool)
    assert len(local_slopes(empty)) == 0
    assert np.isnan(notebook_dimension(empty))
    assert np.isnan(dyadic_dimension(empty))
    found = median_over_levels([local_slopes(empty), [1.0, 2.0, 3.0], [float("-inf"), 2.0]])
    assert (found.value, found.low, found.high) == (2.0, 2.0, 2.0)
    assert np.isnan(median_over_levels([local_slopes(empty)]).value)


def test_the_interval_comes_from_levels_not_from_slopes() -> None:
    random = np.random.default_rng(1)
    levels = [np.full(10, middle) for middle in random.normal(1.5, 0.1, 12)]
    found = median_over_levels(levels)
    assert found.low < found.value < found.high
    assert 0.005 < found.high - found.low < 0.2
    assert median_over_levels(levels) == found
    # neighbours that are alike say less than as many that are not
    alike = [levels[number // 6] for number in range(36)]
    mixed = [alike[number] for number in np.random.default_rng(2).permutation(36)]
    wide, narrow = (one.high - one.low for one in map(median_over_levels, (alike, mixed)))
    assert wide > 1.3 * narrow
    # ten equal slopes a level say no more than one
    assert median_over_levels([level[:1] for level in levels]).high == pytest.approx(found.high, abs=0.03)
