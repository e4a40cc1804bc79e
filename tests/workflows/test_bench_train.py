import argparse
import math

import pytest

from workflows.bench import train

SIZES = {"width": 64, "layers": 1, "vocab_size": 64, "length": 16, "batch_size": 2}


def test_ratios_are_of_turns_one_after_the_other() -> None:
    # the machine slows down by and by: the medians of each side alone would hide it
    pairs = [(1.1, 1.0), (2.2, 2.0), (4.0, 4.0), (8.8, 8.0), (16.8, 16.0)]
    peaks = {"trainer": 1_060_000_000, "hand": 1_000_000_000, "saving": 1_500_000_000}
    table = train.table(SIZES, pairs, peaks, chunk_steps=4)
    assert [target.measured for target in table.targets] == [pytest.approx(1.1), pytest.approx(1.06)]
    assert [target.reached for target in table.targets] == [False, False]
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [row["ms/step"] for row in rows] == [1000.0, 1000.0, None]
    assert [row["peak MB"] for row in rows] == [1000.0, 1060.0, 1500.0]
    assert rows[2]["memory ratio"] == 1.5
    assert "from 1.000 to 1.100" in table.notes[0]
    assert "NOT REACHED" in table.render()


@pytest.mark.slow
def test_a_tiny_run_measures_both(capfd: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    words = [word for name, value in SIZES.items() for word in (f"--{name}", str(value))]
    table = train.run(parser.parse_args([*words, "--turns", "3", "--chunk_steps", "2"]))
    assert all(math.isfinite(target.measured) and target.measured > 0 for target in table.targets)
    assert "medians of 3 turns of 2 steps" in table.notes[0]
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert rows[2]["peak MB"] >= rows[1]["peak MB"] > 50
