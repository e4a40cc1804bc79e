import argparse

import pytest

from shammie.errors import UserError
from workflows.bench import optimizers
from workflows.bench.optimizers import NETWORK, REFERENCE_RATIOS
from workflows.cli import main


def test_turns_go_round_after_one_that_compiles() -> None:
    calls: list[str] = []

    def way(name: str) -> float:
        calls.append(name)
        return float(len(calls))

    found = optimizers.by_turns({("a", "x"): lambda: way("x"), ("a", "y"): lambda: way("y")}, 2)
    assert calls == ["x", "y"] * 3
    assert found == {("a", "x"): [3.0, 5.0], ("a", "y"): [4.0, 6.0]}


def test_ratios_are_of_a_turn_and_targets_are_the_references() -> None:
    measured = {
        (NETWORK, "adam"): [1.0, 2.0, 1.0],
        (NETWORK, "star"): [5.0, 12.0, 30.0],
        ("mlp", "adam"): [0.1, 0.1, 0.1],
        ("mlp", "star"): [0.2, 0.3, 0.4],
    }
    found = optimizers.table(measured, {("mlp", "star"): 0.25})
    assert found.rows == [
        [NETWORK, "adam", 1.0, 1.0, "1.00 to 1.00", None, None],
        [NETWORK, "star", 12.0, 6.0, "5.00 to 30.00", 10.6, None],
        ["mlp", "adam", 0.1, 1.0, "1.00 to 1.00", None, None],
        ["mlp", "star", 0.3, 3.0, "2.00 to 4.00", None, 0.25],
    ]
    assert [(one.measured, one.target, one.reached) for one in found.targets] == [(6.0, 10.56, True)]


def test_an_unknown_task_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "optimizers", "--tasks", "mpl"]) == 2
    assert "unknown task 'mpl'; did you mean mlp?" in capsys.readouterr().err


@pytest.mark.slow
def test_it_measures_every_optimizer() -> None:
    parser = argparse.ArgumentParser()
    optimizers.add_arguments(parser)
    found = optimizers.run(
        parser.parse_args(["--turns", "1", "--steps", "1", "--tasks", "quadratic", "--suite_steps", "10"])
    )
    names = [(row[0], row[1]) for row in found.rows]
    assert names[:5] == [(NETWORK, name) for name in ("adam", *REFERENCE_RATIOS)]
    assert names[5:] == [("quadratic", name) for name in ("adam", *REFERENCE_RATIOS)]
    assert len(found.targets) == len(REFERENCE_RATIOS)
    assert all(row[2] > 0 for row in found.rows)
    with pytest.raises(UserError):
        optimizers.suite_ways("nothing", 10, {})
