"""The pixel engine against the notebook's way, against known pictures, and against itself in other company."""

import functools
import os
import platform
import subprocess
import sys

import numpy as np
import pytest

from models.trainability.conditions import CONDITIONS
from models.trainability.convergence import measure
from models.trainability.lane_math import tanh_of
from models.trainability.pixels import pixel_values
from models.trainability.plain import plain_losses, plain_pixel_values
from models.trainability.problem import problem_of
from shammie.errors import UserError


def window(side: int, low: float = -3, high: float = 6) -> tuple[np.ndarray, np.ndarray]:
    axis = np.logspace(low, high, side)
    x, y = np.meshgrid(axis, axis)
    return x.ravel(), y.ravel()


def beside_boundary(converged: np.ndarray) -> np.ndarray:
    """Whether one of the eight neighbours is of the other class, bool as converged, both [H, W]."""
    height, width = converged.shape
    padded = np.pad(converged, 1, mode="edge")
    shifts = [padded[row : row + height, column : column + width] for row in range(3) for column in range(3)]
    return np.any([shifted != converged for shifted in shifts], axis=0)


def same(one, other):
    """Whether all results are the same bits."""
    return all(a.tobytes() == b.tobytes() for a, b in zip(vars(one).values(), vars(other).values(), strict=True))


def test_tanh_is_within_three_units_in_the_last_place():
    values = np.concatenate([np.linspace(-22, 22, 40001), np.geomspace(1e-300, 1, 2999)])
    values = np.concatenate([values, -values])
    found = np.empty_like(values)
    tanh_of(values, found)
    assert (np.abs(found - np.tanh(values)) / np.spacing(np.abs(found))).max() <= 4  # numpy's own error with it
    assert (found == -np.roll(found, len(values) // 2)).all()
    assert np.abs(found).max() == 1
    assert (np.abs(found[np.abs(values) > 18.8]) == 1).all()


def test_tanh_of_what_is_no_number():
    values = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, 1e300, 5e-324, 1.0])
    found = np.empty_like(values)
    tanh_of(values, found)
    assert found.tolist()[:2] == [1, -1]
    assert np.isnan(found[2])
    assert np.signbit(found[3:5]).tolist() == [False, True]
    assert found[5] == 1
    assert found[6] == 5e-324


SIDE, STEPS = 22, 120


@functools.cache
def both_ways(condition):
    """The engine's pixels, the notebook's losses, and which pixels are not beside the boundary."""
    problem = problem_of(condition, width=5, steps=STEPS)  # no multiple of the register blocks: their edges are used
    x, y = window(SIDE)
    losses = plain_losses(problem, x, y)
    inside = ~beside_boundary(measure(losses)[1].reshape(SIDE, SIDE)).ravel()
    return pixel_values(problem, x, y), losses, inside


@pytest.mark.parametrize("condition", CONDITIONS)
def test_as_the_notebook_except_beside_the_boundary(condition):
    found, losses, inside = both_ways(condition)
    value, converged = measure(losses)
    assert 0.1 < converged.mean() < 0.9
    assert (found.converged == converged)[inside].all()
    assert (found.converged == converged).mean() > 0.98
    near = np.abs(found.value - value) <= 1e-9 * np.abs(value)
    assert near[inside].mean() > 0.85  # the others learn chaotically, on either side


@pytest.mark.parametrize("condition", CONDITIONS)
def test_what_ended_early_stays_as_it_was(condition):
    found, losses, inside = both_ways(condition)
    early = np.flatnonzero(found.steps_run < STEPS)
    assert early.size > 20
    kinds = {"not finite": 0, "clipped": 0, "at rest": 0}
    for pixel in early[inside[early]]:
        last, first = found.final_loss[pixel], losses[pixel, 0]
        rest = losses[pixel, found.steps_run[pixel] + 3 :]  # a step or two for the other rounding
        if not np.isfinite(last):
            kinds["not finite"] += 1
            assert not (rest < 1e200).any()
        elif last > first:
            kinds["clipped"] += 1
            assert not (rest <= 1e6 * first).any()
        else:
            kinds["at rest"] += 1
            assert np.allclose(rest, last, rtol=1e-9, atol=1e-20)
    assert kinds["not finite"] + kinds["clipped"] > 10
    if condition in ("tanh", "tanh_single", "tanh_offset"):
        assert kinds["clipped"] > 10
    if condition == "tanh_single":
        assert kinds["at rest"] > 10


@pytest.mark.parametrize(("condition", "place"), [("tanh", 4197), ("tanh_offset", 4092)])
def test_a_loss_above_the_clip_may_come_back(condition, place):
    """Its hidden values are saturated, but it falls: that the loss is high is no reason to give a pixel up."""
    problem = problem_of(condition, width=5, steps=STEPS)
    x, y = (axis[place : place + 1] for axis in window(96))
    losses = plain_losses(problem, x, y)
    assert losses.max() > 1e6 * losses[0, 0]
    assert measure(losses)[1].all()
    found = pixel_values(problem, x, y)
    assert found.converged.all()
    assert found.steps_run.tolist() == [STEPS]


@pytest.mark.parametrize("condition", CONDITIONS)
def test_the_same_bits_in_any_company(condition):
    problem, (x, y) = problem_of(condition, width=5, steps=STEPS), window(SIDE)
    whole = both_ways(condition)[0]
    assert len(set(whole.steps_run.tolist())) > 3  # lanes do change hands
    order = np.random.default_rng(0).permutation(x.size)
    shuffled = pixel_values(problem, x[order], y[order], threads=3)
    some = pixel_values(problem, x[5:18], y[5:18])
    alone = pixel_values(problem, x[100:101], y[100:101])
    for part, places in ((shuffled, order), (some, slice(5, 18)), (alone, slice(100, 101))):
        expected = type(whole)(*(one[places] for one in vars(whole).values()))
        assert same(part, expected)


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="compiles for another x86-64 processor")
def test_the_same_bits_on_other_processors(tmp_path):
    """AVX2 in place of what this machine has: registers of another width, so other instructions."""
    digests = set()
    for settings in ({}, {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma,+sse4.2"}):
        environment = {**os.environ, **settings, "SHAMMIE_CACHE": str(tmp_path)}
        done = subprocess.run([sys.executable, "-c", DIGEST], env=environment, capture_output=True, check=True)
        digests.add(done.stdout)
    assert len(digests) == 1
    assert len(digests.pop()) == 65


DIGEST = """
import hashlib
import numpy as np
from models.trainability.conditions import CONDITIONS
from models.trainability.pixels import pixel_values
from models.trainability.problem import problem_of
x, y = (one.ravel() for one in np.meshgrid(*[np.logspace(-3, 6, 12)] * 2))
found = hashlib.sha256()
for name in CONDITIONS:
    for array in vars(pixel_values(problem_of(name, width=6, steps=80), x, y)).values():
        found.update(array.tobytes())
print(found.hexdigest())
"""


@pytest.mark.parametrize(
    ("condition", "width", "side", "steps", "share"),
    [
        ("tanh", 8, 64, 100, 0.5078),
        ("relu", 8, 64, 100, 0.2808),
        ("identity", 8, 64, 100, 0.2461),
        ("tanh_single", 16, 128, 500, 0.4921),
        ("identity", 16, 64, 500, 0.3193),
    ],
)
def test_shares_of_whole_pictures(condition, width, side, steps, share):
    problem = problem_of(condition, width=width, steps=steps, partitionable=False)
    found = pixel_values(problem, *window(side), threads=2)
    assert found.converged.mean() == pytest.approx(share, abs=0.003)
    assert (found.converged == (found.value < 0)).all()


def test_the_two_readings_of_the_offset_differ_from_the_second_step_on():
    x, y = np.full(1, 0.5), np.full(1, 0.1)

    def loss(condition, steps):
        return pixel_values(problem_of(condition, width=8, steps=steps), x, y).final_loss[0]

    assert loss("tanh_offset", 1) == loss("tanh_offset_each_step", 1) != loss("tanh", 1)
    assert loss("tanh_offset", 2) != loss("tanh_offset_each_step", 2)


def test_a_zoomed_picture_is_the_middle_of_the_one_before():
    problem, side = problem_of("tanh_single", width=8, steps=200), 96
    before = None
    for half in (4.5, 2.25, 1.125):
        axis = 10 ** (1.5 + half * ((np.arange(side) + 0.5) / side * 2 - 1))
        x, y = (one.ravel() for one in np.meshgrid(axis, axis))
        converged = pixel_values(problem, x, y).converged.reshape(side, side)
        assert 0.05 < converged.mean() < 0.95
        if before is not None:
            crop = before[side // 4 : -side // 4, side // 4 : -side // 4]
            assert (np.kron(crop, np.ones((2, 2), bool)) == converged).mean() >= 0.97
        before = converged


def test_float32_differs_only_where_tiny_changes_do_too():
    problem, side = problem_of("tanh_single", width=8, steps=200), 40
    x, y = window(side)
    double, single = (plain_pixel_values(problem, x, y, dtype=kind) for kind in (np.float64, np.float32))
    differ = np.flatnonzero(double.converged != single.converged)
    assert differ.size < 0.01 * x.size
    rng = np.random.default_rng(0)
    for pixel in differ:
        scales = 1 + 1e-5 * rng.uniform(-1, 1, (2, 256))
        around = pixel_values(problem, x[pixel] * scales[0], y[pixel] * scales[1])
        assert 0 < around.converged.mean() < 1
    near = np.isclose(double.value, single.value, rtol=1e-3)
    assert near.mean() > 0.9


def test_none_and_wrong_pixels():
    problem = problem_of("tanh", width=4, steps=3)
    assert pixel_values(problem, np.zeros(0), np.zeros(0)).value.shape == (0,)
    with pytest.raises(UserError, match=r"x has shape \(2,\), y \(3,\)"):
        pixel_values(problem, np.ones(2), np.ones(3))
    with pytest.raises(UserError, match="y holds inf"):
        pixel_values(problem, np.ones(2), np.array([1, np.inf]))
