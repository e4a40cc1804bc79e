"""The benchmark of the pixel engine, with few pixels."""

import argparse

import numpy as np

from workflows import cli
from workflows.bench import fractal


def test_random_pixels_fill_the_window() -> None:
    x, y = fractal.random_pixels(500)
    for axis in (np.log10(x), np.log10(y)):
        assert (-3 <= axis.min() < -2.8, 5.8 < axis.max() <= 6) == (True, True)
    assert np.abs(np.corrcoef(np.log(x), np.log(y))[0, 1]) < 0.2


def test_a_small_run_measures_every_condition() -> None:
    parser = argparse.ArgumentParser()
    fractal.add_arguments(parser)
    words = ["--width", "3", "--steps", "30", "--pixels", "24", "--turns", "1", "--image", "64", "--threads", "1"]
    table = fractal.run(parser.parse_args([*words, "--conditions", "tanh", "tanh_minibatch"]))
    assert [row[:2] for row in table.rows] == [["tanh", 3], ["tanh_minibatch", 3]]
    assert all(row[2] > 0 and 1 <= row[3] <= 30 for row in table.rows)
    assert all(row[-1] <= 3 for row in table.rows)
    assert [target.better for target in table.targets] == ["more", "less", "more", "more"]
    assert table.targets[1].measured > 0
    assert "class differs" in table.render()


def test_what_refinement_saves_is_counted_by_the_edges_that_it_finds() -> None:
    found = list(fractal.refinement(128, 2))
    assert [one.frame for one in found] == [0, 8]
    for one in found:
        assert 0.9 * one.edges < one.refined_edges <= one.edges
        assert one.seconds > one.refined_seconds > 0
    half = fractal.Refinement(0, seconds=8.0, refined_seconds=2.0, edges=100, refined_edges=50)
    assert half.cheaper == 2


def test_the_command_knows_it() -> None:
    assert "fractal" in cli._benches()
