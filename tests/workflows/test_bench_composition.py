import argparse

import numpy as np
import pytest

from workflows.bench import composition


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    composition.add_arguments(parser)
    return parser.parse_args(words)


def test_ratios_and_targets() -> None:
    found = composition.table({"hmc": [(1.0, 1.0), (1.1, 1.0), (2.0, 1.0)]}, [(0.06, 0.02), (0.02, 0.02)], "sizes", 20)
    assert found.rows == [
        ["s, hmc", 1.1, 1.0, 1.1, "1.00 to 2.00"],
        ["ms a training step, energy and score", 2.0, 1.0, 2.0, "1.00 to 3.00"],
    ]
    assert [(one.measured, one.target, one.reached) for one in found.targets] == [(1.1, 1.05, False), (2.0, 2.5, True)]
    assert len(composition.table({}, [], "sizes", 20).targets) == 0


def test_all_loops_draw_from_the_same_density() -> None:
    """Else one would be faster for doing less."""
    sizes = (4000, 20, 5)
    driver = np.asarray(composition.driver("mala", *sizes)().x_NX)
    for other in (composition.bare("mala", *sizes), composition.bare_blackjax(*sizes)):
        x_N2 = np.asarray(other())
        assert x_N2.shape == driver.shape
        np.testing.assert_allclose(x_N2.mean(axis=0), driver.mean(axis=0), atol=0.05)
        np.testing.assert_allclose(x_N2.var(axis=0), driver.var(axis=0), rtol=0.15)


@pytest.mark.slow
def test_the_whole_benchmark() -> None:
    small = ("--chains", "50", "--levels", "10", "--steps", "2", "--width", "8", "--batch_size", "8", "--turns", "1")
    found = composition.run(arguments(*small))
    assert len(found.rows) == len(found.targets) == 4
    assert all(value > 0 for row in found.rows for value in row[1:4])
