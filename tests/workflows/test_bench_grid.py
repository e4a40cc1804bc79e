import argparse

import pytest

from workflows.bench import grid


def test_sides_take_turns() -> None:
    calls: list[str] = []
    turns = grid.by_turns(lambda side: {"seconds": float(len(calls)), "side": calls.append(side)}, 2)
    assert calls == ["engine", "loop"] * 2
    assert [turn["loop"]["seconds"] for turn in turns] == [1.0, 3.0]


def test_ratios_are_of_a_turn_and_targets_go_by_width() -> None:
    def turn(engine: float, loop: float) -> dict[str, dict[str, object]]:
        return {
            "engine": {"seconds": engine, "loss": 2.0, "way": "group"},
            "loop": {"seconds": loop, "loss": 2.1, "way": "loop"},
        }

    measured = {16: [turn(1, 4), turn(2, 6), turn(1, 2)], 128: [turn(10, 9)]}
    found = grid.table(measured, "adam", 100)
    assert found.rows == [
        [16, 1, "group", 4, 3.0, "2.00 to 4.00", 2.0, 2.1],
        [128, 10, "group", 9, 0.9, "0.90 to 0.90", 2.0, 2.1],
    ]
    assert [(one.measured, one.target, one.reached) for one in found.targets] == [(3.0, 3.0, True), (0.9, 0.95, False)]
    assert "48 trainings" in found.title


@pytest.mark.parametrize("width", [8, 128])
def test_the_column_is_12_rates_and_4_seeds_at_rates_by_layer(width: int) -> None:
    cells = grid.column(width, "sgd", 10)
    assert len({(one.log2_learning_rate, one.seed) for one in cells}) == len(cells) == 48
    assert {(one.shape.width, one.shape.steps, one.parameterization.per_layer) for one in cells} == {(width, 10, True)}
    assert {one.parameterization.base_width for one in cells} == {min(width, 32)}


@pytest.mark.slow
def test_both_sides_train_the_same_column() -> None:
    parser = argparse.ArgumentParser()
    grid.add_arguments(parser)
    args = parser.parse_args(["--widths", "4", "--steps", "16", "--turns", "1"])
    (width,) = args.widths
    found = {side: grid.measured(side, width, args.optimizer, args.steps) for side in grid.SIDES}
    assert all(one["seconds"] > 0 for one in found.values())
    assert found["engine"]["way"] in ("group", "loop")
    assert found["engine"]["loss"] == pytest.approx(found["loop"]["loss"], abs=0.15)
