"""`shammie bench fractal`: the pixel engine beside the notebook's way, on the same pixels, for each condition.

The peer is `vmap` over pixels of a `scan` over steps, compiled by JAX, with all cores. Both train the same random
pixels of the paper's window; both are measured without compilation, which is said apart. A third way, numpy's matrix
products over blocks of pixels, is measured for a few steps. Last, a whole picture of one condition is timed, and how
much less the same picture takes where only boundary is refined, and a narrower one.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any, NamedTuple, TypeVar

import numpy as np

from models.trainability.box_counting import edges_of
from models.trainability.conditions import CONDITIONS
from models.trainability.convergence import Pixels
from models.trainability.planes import Plane
from models.trainability.problem import Problem, problem_of
from models.trainability.refinement import Frame, computed_in_full
from models.trainability.windows import Tile
from models.trainability.zoom import Zoom
from workflows.bench.table import Table, Target

WINDOW = (-3.0, 6.0)  # of the paper, in powers of ten, both axes
SPEED_TARGET, IMAGE_SECONDS_TARGET, REFINED_TARGET = 5.0, 180.0, 4.0
REFINED_FRAMES = (0, 8)  # of a zoom into the picture
BLOCK_PIXELS, BLOCK_STEPS = 128, 10
TILE_PIXELS = 8

Value = TypeVar("Value")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the benchmark's flags."""
    add = parser.add_argument
    add("--conditions", nargs="+", choices=list(CONDITIONS), default=list(CONDITIONS), help="(default: all)")
    add("--width", type=int, default=16, help="n (default: 16)")
    add("--steps", type=int, default=500, help="of each training (default: 500)")
    add("--pixels", type=int, default=256, help="at random places of the window (default: 256)")
    add("--turns", type=int, default=3, help="ours and the peer's by turns; medians (default: 3)")
    add(
        "--image",
        type=int,
        default=512,
        help="side of the timed pictures, a power of two; 0 for none (default: 512)",
    )
    add("--threads", type=int, default=os.cpu_count() or 1, help="of the engine (default: all cores)")


def run(args: argparse.Namespace) -> Table:
    """Runs the benchmark.

    Args:
        args: what `add_arguments` declares.
    """
    from models.trainability.pixels import pixel_values
    from models.trainability.plain import plain_pixel_values

    rows: list[list[Any]] = []
    targets, notes = [], []
    x, y = random_pixels(args.pixels)
    few = problem_of("tanh", width=args.width, steps=1)
    first, _ = timed(lambda: pixel_values(few, x[:1], y[:1]))
    notes.append(f"the engine's first call: {first:.2g} s (numba: compiled once per machine, then read from its cache)")
    compiling = []
    for name in args.conditions:
        problem = problem_of(name, width=args.width, steps=args.steps)
        ways = [
            lambda p=problem: pixel_values(p, x, y, threads=args.threads),
            lambda p=problem: plain_pixel_values(p, x, y),
        ]
        with_compilation = timed(ways[1])[0]
        turns = [[timed(way) for way in ways] for _ in range(args.turns)]
        (seconds, ours), (peer_seconds, theirs) = (
            (median(s for s, _ in side), side[0][1]) for side in zip(*turns, strict=True)
        )
        compiling.append(max(0.0, with_compilation - peer_seconds))
        ratio = round(median(peer[0] / own[0] for own, peer in turns), 2)
        differ = int((ours.converged != theirs.converged).sum())
        rows.append([name, args.width, *speeds(ours, seconds), *speeds(theirs, peer_seconds)[::2], ratio, differ])
        if name == "tanh":
            targets.append(Target(f"tanh, n={args.width}: pixels/s, ours / vmap + scan", ratio, SPEED_TARGET))
            notes.append(
                f"tanh as numpy's matrix products, {BLOCK_PIXELS} pixels at a time, no early end:"
                f" {matrix_products_rate(problem):,.0f} steps/s"
            )
    notes.append(f"the peer's compilations, not counted: {min(compiling):.2g} to {max(compiling):.2g} s each")
    notes.append(
        f"{args.pixels} random pixels of 10^[{WINDOW[0]:g}, {WINDOW[1]:g}]^2, {args.steps} steps, float64;"
        f" {args.threads} threads; mean steps: until a training's rest is known"
    )
    notes.append(f"medians of {args.turns} turns, ours and the peer's one after the other; ratios are of such pairs")
    notes.append("class differs: pixels that converge in one and not in the other, as beside the boundary they may")
    if args.image:
        side = f"{args.image} x {args.image}"
        what = f"tanh_single, n=8, {side}, 500 steps: seconds"
        targets.append(Target(what, round(image_seconds(args.image, args.threads), 2), IMAGE_SECONDS_TARGET, "less"))
        for found in refinement(args.image, args.threads):
            what = f"tanh_single, n=16, {side}, frame {found.frame}: seconds an edge, in full / boundary only"
            targets.append(Target(what, round(found.cheaper, 2), REFINED_TARGET))
            notes.append(
                f"frame {found.frame} of a zoom: {found.refined_edges:,} of {found.edges:,} edges (blocks with both"
                f" signs) by {found.refined_seconds:.2g} s instead of {found.seconds:.2g} s"
            )
        notes.append("the more boundary a frame holds, the less refinement saves: see tiles_share in a run's result")
    return Table(
        title=f"trainings as pixels, width {args.width}, {args.steps} steps",
        columns=[
            "condition",
            "n",
            "pixels/s",
            "mean steps",
            "steps/s",
            "peer pixels/s",
            "peer steps/s",
            "ratio",
            "class differs",
        ],
        rows=rows,
        notes=notes,
        targets=targets,
    )


def random_pixels(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Hyperparameters spread evenly over the window's logarithms: x and y, float64 [count]."""
    places = np.random.default_rng(seed).uniform(*WINDOW, (2, count))
    return 10 ** places[0], 10 ** places[1]


def image_seconds(side: int, threads: int) -> float:
    """How long the whole window takes in the condition of one datum at width 8."""
    from models.trainability.pixels import pixel_values

    problem = problem_of("tanh_single", width=8, steps=500)
    axis = np.logspace(*WINDOW, side)
    x, y = (one.ravel() for one in np.meshgrid(axis, axis))
    return timed(lambda: pixel_values(problem, x, y, threads=threads))[0]


def timed(function: Callable[[], Value]) -> tuple[float, Value]:
    """The seconds of a call, and what it returned."""
    begun = time.perf_counter()
    found = function()
    return time.perf_counter() - begun, found


def speeds(found: Pixels, seconds: float) -> list[float]:
    """Pixels a second, mean steps of a pixel, steps of a pixel a second."""
    steps = found.steps_run.sum()
    return [found.value.size / seconds, float(found.steps_run.mean()), float(steps / seconds)]


class Refinement(NamedTuple):
    """A frame in full and by its boundary: the seconds and the edges of each."""

    frame: int
    seconds: float
    refined_seconds: float
    edges: int
    refined_edges: int

    @property
    def cheaper(self) -> float:
        """How many times less a found edge costs where only boundary is refined."""
        return (self.seconds / max(1, self.edges)) / (self.refined_seconds / max(1, self.refined_edges))


def refinement(side: int, threads: int) -> Iterator[Refinement]:
    """Frames of a zoom in the condition of one datum at width 16, each in full and refined from the one before.

    Frame 0 is the whole window; to its refined seconds belong those of the coarser levels it comes from.
    """
    from models.trainability.pixels import pixel_values

    zoom = Zoom(frames=1 + max(REFINED_FRAMES), frame_pixels=side, start_pixels=side // 4, tile_pixels=TILE_PIXELS)
    plane = Plane("tanh_single", width=16, steps=500)
    problem, window = problem_of("tanh_single", width=16, steps=500, partitionable=plane.partitionable), plane.window

    def compute(tiles: Sequence[Tile]) -> list[np.ndarray]:
        places = [window.tile_grid(tile, TILE_PIXELS) for tile in tiles]
        x, y = (np.concatenate(axis) for axis in zip(*places, strict=True))
        values = pixel_values(problem, x, y, threads=threads).value
        return list(values.reshape(len(tiles), TILE_PIXELS, TILE_PIXELS))

    frames = zoom.walk(plane, compute)
    for number in range(zoom.frames):
        seconds, frame = timed(lambda: next(frames))
        if number not in REFINED_FRAMES:
            continue
        whole = Frame(frame.level, frame.column, frame.row, frame.values, np.zeros_like(frame.computed))
        full_seconds, full = timed(lambda whole=whole: computed_in_full(whole, compute))
        edges, refined_edges = (int(edges_of(one.values).sum()) for one in (full, frame))
        yield Refinement(number, full_seconds, seconds, edges, refined_edges)


def matrix_products_rate(problem: Problem) -> float:
    """Steps of a pixel a second where all pixels of a block share each matrix product, in numpy, tanh, full batch."""
    draws, width = problem.draws, problem.width
    weights = np.tile(draws.weights, (1, BLOCK_PIXELS))
    readout = np.tile(draws.readout, (BLOCK_PIXELS, 1))
    rate, count, scale = 1e-3, len(draws.targets), np.sqrt(2 / width)
    begun = time.perf_counter()
    for _ in range(BLOCK_STEPS):
        hidden = np.tanh(draws.features @ weights * scale).reshape(count, BLOCK_PIXELS, width)
        residuals = np.einsum("npj,pj->np", hidden, readout) / width - draws.targets[:, None]
        errors = residuals * (2 / count / width)
        readout_gradient = np.einsum("np,npj->pj", errors, hidden)
        slopes = (errors[..., None] * readout) * (1 - hidden * hidden)
        weights = weights - rate * scale * (draws.features.T @ slopes.reshape(count, -1))
        readout = readout - rate * readout_gradient
    return BLOCK_STEPS * BLOCK_PIXELS / (time.perf_counter() - begun)
