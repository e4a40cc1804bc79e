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
    words = ["--width", "3", "--steps", "30", "--pixels", "24", "--turns", "1", "--image", "12", "--threads", "1"]
    table = fractal.run(parser.parse_args([*words, "--conditions", "tanh", "tanh_minibatch"]))
    assert [row[:2] for row in table.rows] == [["tanh", 3], ["tanh_minibatch", 3]]
    assert all(row[2] > 0 and 1 <= row[3] <= 30 for row in table.rows)
    assert all(row[-1] <= 3 for row in table.rows)
    assert [target.better for target in table.targets] == ["more", "less"]
    assert "class differs" in table.render()


def test_the_command_knows_it() -> None:
    assert "fractal" in cli._benches()
