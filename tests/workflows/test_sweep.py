"""A sweep as a step: what it writes, what it shares, what `plan` says of it."""

import json
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from shammie.errors import UserError
from workflows import dag
from workflows.cli_run import _remark
from workflows.dag import Running, Step, load_records, plan, run
from workflows.sweep import read_table, sweep_step

sys.path.append(str(Path(__file__).parents[1] / "beam_jobs" / "sweep"))  # where sweep_kinds lies
KIND = "sweep_kinds:SQUARES"


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[list[float]]]:
    """The groups that ran since it was last asked, each as the x of its cells, sorted."""
    log = tmp_path / "ran.jsonl"
    monkeypatch.setenv("SWEEP_LOG", str(log))
    return import_module("sweep_kinds").recorder(log)


def step(*xs: int, bad: int = -1, **more: Any) -> Step:
    configs = [{"x": x, **({"fail": "bad"} if x == bad else {})} for x in xs]
    return sweep_step("grid", KIND, configs, **more)


def test_a_sweep_is_a_step_and_one_more_row_runs_only_that_row(tmp_path: Path, ran) -> None:
    out = str(tmp_path / "out")
    (done,) = run([step(3, 1, 2)], out)
    assert read_table(done.directory)["y"].to_pylist() == [9, 1, 4]
    assert (Path(done.directory) / "dead_letters.jsonl").read_text() == ""
    counters = load_records(out)[0]["counters"]
    assert (counters["cells"], counters["cells_run"], counters["dead_letters"]) == (3, 3, 0)
    assert ran() == [[3, 1, 2]]
    assert not run([step(3, 1, 2)], out)[0].ran
    (row,) = plan([step(3, 1, 2, 5)], out)
    assert row.state == "stale"
    assert "cells 3 → 4" in row.why
    assert row.outlook.startswith("3 of 4 cells done, about ")
    assert "; 3 of 4 cells done, about " in _remark(row)
    (done,) = run([step(3, 1, 2, 5)], out)
    assert ran() == [[5]]
    assert read_table(done.directory)["y"].to_pylist() == [9, 1, 4, 25]
    assert [row.outlook for row in plan([step(3, 1, 2, 5)], out)] == [""], "a finished step has none"


def test_what_failed_is_told_and_absent(tmp_path: Path, ran, monkeypatch: pytest.MonkeyPatch) -> None:
    out = str(tmp_path / "out")
    with pytest.raises(UserError, match="1 of 3 cells failed"):
        run([step(0, 1, 2, bad=1)], out)
    assert [row.outlook[:20] for row in plan([step(0, 1, 2, bad=1)], out)] == ["2 of 3 cells done, 1"]
    (done,) = run([step(0, 1, 2, bad=1, max_bad_share=0.5)], out)
    assert read_table(done.directory)["y"].to_pylist() == [0, 4]
    (letter,) = (Path(done.directory) / "dead_letters.jsonl").read_text().splitlines()
    assert json.loads(letter)["config"] == {"x": 1, "fail": "bad"}
    assert json.loads(letter)["reason"] == "ValueError: bad"


def test_an_identity_is_the_cells_in_their_order(tmp_path: Path) -> None:
    identity = step(0, 1).identity
    assert step(0, 1, 0, beam_flags=("--direct_num_workers=1",), max_bad_share=0.5, lasts="long").identity == identity
    assert len({identity, step(1, 0).identity, step(0, 2).identity, step(0).identity}) == 4
    other = sweep_step("grid", "sweep_kinds:HUGE", [{"x": 0}, {"x": 1}])
    assert other.identity != identity
    assert step(0, 1).config["cells"] == 2
    with pytest.raises(UserError, match="cell 0: x=nan is not plain JSON"):
        sweep_step("grid", KIND, [{"x": float("nan")}])


def test_two_steps_share_cells_and_the_shared_folder_is_no_step(tmp_path: Path, ran) -> None:
    out = str(tmp_path / "out")
    first = sweep_step("first", KIND, [{"x": 0}, {"x": 1}])
    second = sweep_step("second", KIND, [{"x": 1}, {"x": 2}], inputs={"first": first})
    assert [row.outlook for row in plan([second], out)] == ["0 of 2 cells done, time left unknown: none is timed"] * 2
    assert not os.path.exists(out), "plan only reads"
    run([second], out)
    assert ran() == [[0, 1], [2]]
    assert sorted(os.listdir(out)) == [".cells", ".partial", ".shammie", first.directory_name, second.directory_name]
    assert os.listdir(Path(out) / ".cells" / "cells") == ["squares-v1"]
    assert len(load_records(out)) == 2
    assert [row.state for row in plan([second], out)] == ["cached", "cached"]
    assert [one.ran for one in run([second], out)] == [False]


def test_a_shared_folder_outlives_its_step(tmp_path: Path) -> None:
    places: list[str] = []

    def work(running: Running) -> None:
        places.append(running.shared("cells"))
        Path(places[-1], "kept.txt").write_text("kept")

    run([dag.Step("one", work)], str(tmp_path))
    run([dag.Step("one", work, version=2)], str(tmp_path))
    assert places == [str(tmp_path / ".cells" / "cells")] * 2
    assert Path(places[0], "kept.txt").read_text() == "kept"
    running = Running(dag.Step("one", work), str(tmp_path), {}, str(tmp_path))
    for name in ("..", "a/b", "", "Cells"):
        with pytest.raises(ValueError, match="shared folder"):
            running.shared(name)
    with pytest.raises(ValueError, match="it needs a run's OUT"):
        Running(dag.Step("one", work), str(tmp_path), {}).shared("cells")
