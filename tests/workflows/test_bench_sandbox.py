import argparse

import pytest

from workflows.bench import sandbox


def test_rates_are_programs_over_seconds_and_the_first_turn_is_not_counted() -> None:
    calls: list[str] = []
    times = iter([0.0, 100.0, 0.0, 100.0, 0.0, 2.0, 0.0, 4.0, 0.0, 1.0, 0.0, 8.0])
    ways = {"a": (lambda: not calls.append("a"), 10), "b": (lambda: not calls.append("b"), 4)}
    rates = sandbox.measure(ways, workers=2, turns=2, clock=lambda: next(times))
    assert rates == {"a": [5.0, 10.0], "b": [1.0, 0.5]}
    assert (calls.count("a"), calls.count("b")) == (22, 10)
    with pytest.raises(RuntimeError, match="c: a program that is right did not pass"):
        sandbox.measure({"c": (lambda: False, 1)}, workers=1, turns=1)


def test_the_target_is_for_the_first_way() -> None:
    table = sandbox.table({"ours": [100.0, 300.0, 190.0], "cold": [19.0]}, workers=2)
    assert [row[1] for row in table.rows] == [190.0, 19.0]
    assert [row[2:] for row in table.rows] == [[100.0, 300.0, 10.0], [19.0, 19.0, 1.0]]
    (target,) = table.targets
    assert (target.measured, target.target, target.reached) == (190.0, 200.0, False)


def test_a_tiny_run_measures_every_way() -> None:
    parser = argparse.ArgumentParser()
    sandbox.add_arguments(parser)
    table = sandbox.run(parser.parse_args(["--programs", "4", "--turns", "1", "--workers", "1"]))
    assert len(table.rows) == 4
    assert all(row[1] > 0 for row in table.rows)
