import argparse
import json
import math
from pathlib import Path

import numpy as np
import pytest

from workflows.bench import pipeline


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    pipeline.add_arguments(parser)
    return parser.parse_args(words)


def test_a_tiny_run_measures_every_target(capfd: pytest.CaptureFixture[str]) -> None:
    table = pipeline.run(options("--megabytes", "1", "2", "--repeats", "1", "--forms", "text"))
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [(row["form"], row["MB"]) for row in rows] == [("text", 1), ("text", 2)]
    assert all(math.isfinite(value) and value > 0 for row in rows for name, value in row.items() if name != "form")
    assert [(target.what, target.better, target.target) for target in table.targets] == [
        ("job / bare codec bytes per s, text, 2 MB", "more", 0.6),
        ("peak memory in MB, text, 2 MB", "less", 1000),
        ("peak memory at 2 MB / at 1 MB, text", "less", 1.1),
    ]
    assert all(math.isfinite(target.measured) and target.measured > 0 for target in table.targets)
    assert table.targets[0].measured == rows[1]["share"]
    assert rows[1]["share"] == pytest.approx(rows[1]["job MB/s"] / rows[1]["bare codec MB/s"], rel=0.1, abs=0.01)
    assert all(line.startswith("equal_info: text encoded: ") for line in capfd.readouterr().err.splitlines())
    assert "NOT REACHED" in table.render() or all(target.reached for target in table.targets)


def test_one_size_has_no_growth() -> None:
    found = {("text", 1): {"share": 0.5, "rss_bytes": 3e8}}
    targets = pipeline._targets(options("--megabytes", "1", "--forms", "text"), found)
    assert [target.measured for target in targets] == [0.5, 300]


@pytest.mark.parametrize("form", pipeline.FORMS)
def test_texts_are_of_their_form_and_size(tmp_path: Path, form: str) -> None:
    for name in "ab":
        pipeline.write_text(str(tmp_path / name), form=form, size=100_000)
    data = (tmp_path / "a").read_bytes()
    assert data == (tmp_path / "b").read_bytes()
    assert 100_000 <= len(data) < 150_000
    sizes = [len(json.loads(line)["text"] if form == "jsonl" else line) for line in data.splitlines()]
    assert np.mean(sizes) > pipeline.DOCUMENT_BYTES if form != "lines" else np.mean(sizes) < 100
