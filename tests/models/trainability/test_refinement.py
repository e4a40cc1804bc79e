"""Refinement of known sets: what is computed, what is shown elsewhere, what is saved and missed, and where zooms go."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from models.trainability import sets
from models.trainability.box_counting import edges_of, local_slopes, median_over_levels
from models.trainability.plain import plain_pixel_values
from models.trainability.planes import Plane
from models.trainability.problem import problem_of
from models.trainability.refinement import (
    PATHS,
    Frame,
    computed_in_full,
    missed_share,
    next_part,
    refined,
    upsampled,
    whole_frame,
)
from models.trainability.windows import PAPER_WINDOW, Tile
from models.trainability.zoom import Zoom
from shammie.errors import UserError

MANDELBROT = Plane("mandelbrot", steps=200)


class Computing:
    """Computes tiles of a plane, and remembers which."""

    def __init__(self, plane: Plane, pixels: int) -> None:
        self.plane, self.pixels = plane, pixels
        self.asked: list[Tile] = []

    def __call__(self, tiles: Sequence[Tile]) -> list[np.ndarray]:
        self.asked += tiles
        grids = [self.plane.window.tile_grid(tile, self.pixels) for tile in tiles]
        x, y = (np.concatenate(axis) for axis in zip(*grids, strict=True))
        return list(self.plane.values(x, y)[0].reshape(len(tiles), self.pixels, self.pixels))


def _down_to(side: int, compute: Computing, start: int, **more: int) -> Frame:
    frame = whole_frame(compute, (start // compute.pixels).bit_length() - 1)
    while len(frame.values) < side:
        frame = refined(frame, compute, **more)
    return frame


def test_a_whole_frame_is_the_image() -> None:
    compute = Computing(MANDELBROT, 8)
    frame = whole_frame(compute, 3)
    places = (np.arange(64) + 0.5) / 64 * 2.7
    image = sets.mandelbrot_values(*np.meshgrid(-2.1 + places, -1.35 + places), iterations=200)
    assert (np.sign(frame.values) == np.sign(image)).mean() > 0.999  # to rounding of the places
    assert len(compute.asked) == len(set(compute.asked)) == 64


def test_refinement_computes_the_boundary_and_finds_nearly_all_of_it() -> None:
    compute = Computing(MANDELBROT, 8)
    frame = _down_to(512, compute, 64)
    used = len(compute.asked)
    assert len(set(compute.asked)) == used  # nothing twice
    full = computed_in_full(frame, compute)
    assert full.computed.all()
    assert len(compute.asked) - used == (~frame.computed).sum()
    assert 64 * 64 / used > 4
    edges = edges_of(full.values).sum()
    assert edges > 3000
    assert 0 < missed_share(frame.values, full.values) < 0.03  # islands that no pixel of 64 x 64 met
    computed = np.kron(frame.computed, np.ones((8, 8), bool))
    np.testing.assert_array_equal(frame.values[computed], full.values[computed])


def test_where_nothing_is_computed_signs_are_the_parents() -> None:
    compute = Computing(MANDELBROT, 8)
    parent = whole_frame(compute, 3)
    child = refined(parent, compute, rounds=0)
    shown = ~np.kron(child.computed, np.ones((8, 8), bool))
    assert shown.mean() > 0.2
    nearest = np.kron(parent.values, np.ones((2, 2)))
    np.testing.assert_array_equal(np.sign(child.values)[shown], np.sign(nearest)[shown])


def test_values_between_pixels_keep_the_sign_of_their_pixel() -> None:
    values = np.array([[1.0, 2.0], [3.0, -4.0]])
    found = upsampled(values)
    assert found[0].tolist() == [1.0, 1.25, 1.75, 2.0]
    assert np.array_equal(np.sign(found), np.kron(np.sign(values), np.ones((2, 2))))
    steep = upsampled(np.array([[10.0, -1.0], [10.0, -1.0]]))  # 1.75 between them is on the wrong side
    assert steep[0].tolist() == [10.0, 7.25, -1.0, -1.0]
    flat = np.random.default_rng(0).uniform(1, 2, (6, 6))
    assert upsampled(flat).min() >= flat.min()
    assert upsampled(flat).mean() == pytest.approx(flat.mean(), rel=0.05)


def test_a_margin_computes_what_lies_beside_boundary() -> None:
    # the boundary lies in pixels 6 and 7, the children of a tile have two pixels of it each
    values = np.ones((16, 16))
    values[:, :7] = -1
    for margin, columns in ((0, [3]), (1, [2, 3, 4]), (3, [1, 2, 3, 4, 5])):
        asked: list[Tile] = []

        def compute(tiles: Sequence[Tile], asked: list[Tile] = asked) -> list[np.ndarray]:
            asked += tiles
            return [np.ones((4, 4))] * len(tiles)

        refined(Frame(2, 0, 0, values, np.ones((4, 4), bool)), compute, margin=margin, rounds=0)
        assert sorted({tile.column for tile in asked}) == columns, margin
        assert {tile.level for tile in asked} == {3}


def test_boundary_that_leaves_the_computed_tiles_is_followed() -> None:
    # the parent sees one end of a line that the children show to go on to the right
    values = np.ones((16, 16))
    values[8, 1] = -1
    frame = Frame(2, 0, 0, values, np.ones((4, 4), bool))

    def compute(tiles: Sequence[Tile]) -> list[np.ndarray]:
        found = []
        for tile in tiles:
            one = np.ones((4, 4))
            if tile.row == 4:
                one[1] = -1
            found.append(one)
        return found

    reached = [refined(frame, compute, margin=0, rounds=rounds).computed[4].sum() for rounds in (0, 1, 2, 9)]
    assert reached[0] >= 1
    assert reached == sorted(reached)
    assert reached[1] == reached[0] + 1
    assert reached[3] == 8  # to the end of the frame


def test_a_part_has_the_addresses_and_values_of_its_place() -> None:
    compute = Computing(MANDELBROT, 8)
    whole = refined(whole_frame(compute, 2), compute, margin=9, rounds=0)  # everything
    assert whole.computed.all()
    part = refined(whole_frame(compute, 2), compute, column=3, row=2, tiles=4, margin=9)
    assert (part.level, part.column, part.row) == (3, 3, 2)
    np.testing.assert_array_equal(part.values, whole.values[16:48, 24:56])
    with pytest.raises(UserError, match="a part of 4 tiles at 5, 0 reaches out of a frame of 8"):
        refined(whole_frame(compute, 2), compute, column=5, tiles=4)


@pytest.mark.parametrize("path", PATHS)
def test_a_zoom_stays_on_the_boundary_and_is_the_same_again(path: str) -> None:
    zoom = Zoom(frames=9, frame_pixels=64, start_pixels=32, tile_pixels=4, path=path)  # type: ignore[arg-type]
    frames = list(zoom.walk(MANDELBROT, Computing(MANDELBROT, 4)))
    assert [frame.level for frame in frames] == list(range(4, 13))
    for outer, inner in pairwise(frames):
        assert 0 <= inner.column - 2 * outer.column <= 16
        assert 0 <= inner.row - 2 * outer.row <= 16
        assert (inner.column - 2 * outer.column) % 4 == 0
        middle = inner.values[8:-8, 8:-8]
        assert edges_of(middle).any()
    again = list(zoom.walk(MANDELBROT, Computing(MANDELBROT, 4)))
    assert all(np.array_equal(a.values, b.values) for a, b in zip(frames, again, strict=True))


@pytest.mark.parametrize("plane", [Plane("quadratic"), Plane("tanh_single", width=8, steps=100)])
def test_the_crop_of_a_frame_is_the_next_one(plane: Plane) -> None:
    zoom = Zoom(frames=5, frame_pixels=256, start_pixels=64, tile_pixels=8, path="balance")
    frames = list(zoom.walk(plane, Computing(plane, 8)))
    for outer, inner in pairwise(frames):
        left, low = ((getattr(inner, one) - 2 * getattr(outer, one)) * 4 for one in ("column", "row"))
        crop = outer.values[low : low + 128, left : left + 128] > 0
        assert 0.1 < crop.mean() < 0.9
        assert (np.kron(crop, np.ones((2, 2))) == (inner.values > 0)).mean() >= 0.97


def test_float32_shows_the_frames_of_float64_down_to_its_own_spacing() -> None:
    """The frames differ where pixels are apart by 1e-7 of a learning rate and less, not where they are far apart."""
    plane = Plane("tanh_single", width=8, steps=200)
    problem = problem_of("tanh_single", width=8, steps=200, partitionable=plane.partitionable)
    zoom = Zoom(frames=28, frame_pixels=64, start_pixels=64, tile_pixels=4, path="balance")
    shares = {}
    for number, frame in enumerate(zoom.walk(plane, Computing(plane, 4))):
        if number not in (0, 9, 15, 27):
            continue
        axes = [plane.window.tile_axes(frame.tile(place, place), 4) for place in range(16)]
        x, y = (one.ravel() for one in np.meshgrid(*(np.concatenate(axis) for axis in zip(*axes, strict=True))))
        double, single = (plain_pixel_values(problem, x, y, dtype=kind).converged for kind in (np.float64, np.float32))
        assert 0.2 < double.mean() < 0.8, "the frame shows boundary"
        pitch = float(plane.window.pitch(frame.level, 4)) * np.log(10)  # of a learning rate, relative to it
        shares[pitch] = (double != single).mean()
    coarse = {pitch: share for pitch, share in shares.items() if pitch > 5e-6}
    assert len(coarse) == 3
    assert max(coarse.values()) < 0.005
    assert min(shares) < 3e-9
    assert shares[min(shares)] > 0.2


def test_most_takes_more_boundary_than_balance() -> None:
    totals = {}
    for path in ("most", "balance"):
        zoom = Zoom(frames=6, frame_pixels=64, start_pixels=32, tile_pixels=4, path=path)
        frames = list(zoom.walk(MANDELBROT, Computing(MANDELBROT, 4)))
        totals[path] = sum(edges_of(frame.values).sum() for frame in frames)
    assert totals["most"] > totals["balance"]


def test_a_random_path_depends_on_its_seed() -> None:
    frame = whole_frame(Computing(MANDELBROT, 8), 3)
    found = {next_part(frame, 8, 2, "random", seed=seed) for seed in range(12)}
    assert len(found) > 3
    assert all(column % 2 == row % 2 == 0 and max(column, row) <= 8 for column, row in found)


@pytest.mark.slow
def test_one_datum_at_the_papers_width_comes_out_near_the_papers_dimension() -> None:
    """The paper has 1.41. Deeper frames are rougher: the median is 1.43 over 20 frames and 1.54 over 35."""
    plane = Plane("tanh_single", width=16, steps=500)
    levels = [local_slopes(edges_of(frame.values)) for frame in Zoom(frames=13).walk(plane, Computing(plane, 8))]
    found = median_over_levels(levels)
    assert 1.2 < found.value < 1.6
    assert found.value == pytest.approx(1.301, abs=0.002)
    assert found.low < found.value < found.high


def test_a_frame_without_boundary_cannot_be_zoomed() -> None:
    frame = Frame(3, 1, 2, np.ones((32, 32)), np.ones((8, 8), bool))
    with pytest.raises(UserError, match="the frame at level 3, 1, 2 holds no boundary"):
        next_part(frame, 8, 2, "most")


def test_float64_ends_a_zoom_before_anything_is_computed() -> None:
    most = PAPER_WINDOW.deepest_level(8) - 6 + 1
    plane = Plane("tanh_single", width=8, steps=10)
    Zoom(frames=most).check(plane)
    assert most == 46  # 13.5 decades at 512 pixels
    compute = Computing(plane, 8)
    with pytest.raises(UserError, match=rf"a zoom of {most + 1} frames of 512 pixels is too deep.*{most} frames are"):
        next(Zoom(frames=most + 1).walk(plane, compute))
    assert compute.asked == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"frames": 0}, "Zoom.frames is 0"),
        ({"frames": 5.5}, "Zoom.frames is 5.5; give a whole number of 1 or more"),
        ({"path_seed": -1}, "Zoom.path_seed is -1"),
        ({"tile_pixels": 12}, "Zoom.tile_pixels is 12; give a power of two"),
        ({"start_pixels": 1024}, "Zoom has tiles of 8, a start of 1024 and frames of 512 pixels"),
        ({"path": "best"}, "unknown Zoom.path 'best'"),
    ],
)
def test_zooms_that_cannot_be_are_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Zoom(**wrong)  # type: ignore[arg-type]


def test_an_unknown_condition_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"unknown condition 'tanh_singel'; did you mean tanh_single"):
        Plane("tanh_singel")


@pytest.mark.parametrize("wrong", [{"width": 0}, {"width": 8.5}, {"steps": 0}, {"seed": -1}])
def test_a_plane_of_sizes_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    ((name, value),) = wrong.items()
    for condition in ("tanh", "mandelbrot"):
        with pytest.raises(UserError, match=f"{name}={value}; give a whole number of at least"):
            Plane(condition, **wrong)  # type: ignore[arg-type]
