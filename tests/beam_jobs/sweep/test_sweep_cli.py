"""python -m beam_jobs.sweep."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from beam_jobs.sweep.__main__ import main

KIND = "sweep_kinds:SQUARES"


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    path = tmp_path / "grid.json"
    path.write_text(json.dumps([{"x": 3}, {"x": 1}, {"x": 3}]))
    return path


def sweep(grid: Path, store: Path, *more: str, kind: str = KIND) -> int:
    return main(["--kind", kind, "--grid", str(grid), "--output", str(store), *more])


def test_a_grid_from_a_file(grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = tmp_path / "store"
    assert sweep(grid, store, "--plan") == 0
    assert capsys.readouterr().out == "0 of 2 cells done, time left unknown: none is timed\n"
    assert not store.exists()
    assert sweep(grid, store, "--table", str(tmp_path / "table.parquet"), "--direct_num_workers=1") == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"cells": 2, "cells_run": 2, "dead_letters": 0, "sweep_seconds": told["sweep_seconds"]}
    assert pq.read_table(tmp_path / "table.parquet")["y"].to_pylist() == [9, 1]
    assert sweep(grid, store, "--plan") == 0
    assert capsys.readouterr().out == "2 of 2 cells done\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[{]", "grid.json is no JSON: "),
        ('{"x": 1}', "grid.json holds a dict, not a list"),
        ("[1]", "cell 0 is 1, not an object of settings"),
        ('[{"x": NaN}]', "cell 0: x=nan is not plain JSON"),
    ],
)
def test_a_bad_grid(grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, problem: str) -> None:
    grid.write_text(text)
    assert sweep(grid, tmp_path / "store") == 2
    told = capsys.readouterr().err
    assert problem in told
    assert told.count("\n") == 1
    assert not (tmp_path / "store").exists()


def test_bad_arguments(grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more, problem in (
        (["word"], "unexpected argument 'word'"),
        (["--threads=-1"], "--threads -1 is below 0"),
        (["--tabel=x"], "unknown flag '--tabel'"),
    ):
        assert sweep(grid, tmp_path / "store", *more) == 2
        assert problem in capsys.readouterr().err
    assert sweep(grid, tmp_path / "store", kind="sweep_kinds:CUBES") == 2
    assert "unknown kind 'sweep_kinds:CUBES'; " in capsys.readouterr().err
    assert main(["--kind", KIND, "--grid", str(tmp_path / "none.json"), "--output", "x"]) == 2
    assert "none.json: it does not exist: check the path" in capsys.readouterr().err
