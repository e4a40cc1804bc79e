"""A sweep from its grid to its table."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from beam_jobs.sweep import job
from beam_jobs.sweep.job import outlook, read_cells, run_sweep
from beam_jobs.sweep.store import Store
from shammie import files, lock
from shammie.errors import UserError

KIND = "sweep_kinds:SQUARES"
Ran = Callable[[], list[list[float]]]


def grid(*xs: float, **more: Any) -> list[dict[str, Any]]:
    return [{"x": x, **more} for x in xs]


def sweep(store: Path | str, configs: list[dict[str, Any]], **more: Any) -> job.Outcome:
    return run_sweep(str(store), KIND, configs, what="test", **more)


def ys(store: Path | str, configs: list[dict[str, Any]]) -> list[float]:
    return read_cells(str(store), KIND, configs)["y"].to_pylist()


def bytes_of(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.rglob("*.parquet")}


def test_a_grid_becomes_a_table_in_its_own_order(tmp_path: Path, ran: Ran) -> None:
    configs = [*grid(9, 2, width=2), *grid(0, 1, 2, 3, 4), *grid(9, width=2)]
    outcome = sweep(tmp_path, configs)
    assert (outcome.done, outcome.ran, outcome.failed) == (7, 7, 0)
    assert ran() == [[0, 1, 2], [3, 4], [9, 2]]
    table = read_cells(str(tmp_path), KIND, configs)
    assert table.column_names == ["cell", "config", "y", "mates", "way"]
    assert table["y"].to_pylist() == [81, 4, 0, 1, 4, 9, 16], "the second 9 counts once"
    assert [json.loads(text) for text in table["config"].to_pylist()] == configs[:-1]
    assert table["mates"].to_pylist()[:3] == [[9, 2], [9, 2], [0, 1, 2]]
    assert table["way"].to_pylist() == ["group"] * 2 + ["group"] * 5
    assert len(set(table["cell"].to_pylist())) == 7
    backwards = read_cells(str(tmp_path), KIND, configs[::-1])
    assert backwards["y"].to_pylist() == [81, 16, 9, 4, 1, 0, 4]


def test_what_is_done_is_never_run_again_and_a_new_row_runs_alone(tmp_path: Path, ran: Ran) -> None:
    sweep(tmp_path, grid(*range(8)))
    assert len(ran()) == 2
    before = bytes_of(tmp_path)
    assert sweep(tmp_path, grid(*range(8))).ran == 0
    assert ran() == []
    assert sweep(tmp_path, grid(5, 20, *range(3))).ran == 1
    assert ran() == [[20]]
    assert ys(tmp_path, grid(20, 2)) == [400, 4]
    assert before.items() <= bytes_of(tmp_path).items(), "what was there is as it was"


def test_what_is_not_finite_is_a_result(tmp_path: Path) -> None:
    configs = grid(6, 7, 8)
    assert sweep(tmp_path, configs).failed == 0
    y = ys(tmp_path, configs)
    assert y[0] == 36
    assert math.isnan(y[1])
    assert y[2] == math.inf


def test_a_bad_cell_takes_no_other_along_and_is_tried_again(
    tmp_path: Path, ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = [*grid(0, 1), {"x": 2, "fail": "two is\nbad"}, *grid(3, 4)]
    with pytest.raises(UserError, match=r"1 of 5 cells failed, the first: ValueError: two is bad \(config .*'x': 2"):
        sweep(tmp_path, configs)
    assert ran() == [[0], [0, 1, 2], [1], [2], [3, 4]]
    assert ys(tmp_path, configs) == [0, 1, 9, 16]
    letters = [json.loads(line) for line in (tmp_path / "squares-v1" / "dead_letters.jsonl").read_text().splitlines()]
    assert [(one["config"], one["reason"]) for one in letters] == [(configs[2], "ValueError: two is bad")]
    assert str(outlook(str(tmp_path), KIND, configs)).startswith("4 of 5 cells done, 1 failed and to be tried again, ")

    outcome = sweep(tmp_path, configs, max_bad_share=0.2)
    assert (outcome.done, outcome.ran, [one.config for one in outcome.dead]) == (4, 1, [configs[2]])
    assert ran() == [[2]]
    with pytest.raises(UserError, match=r"max_bad_share \(now 0.19\)"):
        sweep(tmp_path, configs, max_bad_share=0.19)
    ran()
    monkeypatch.setenv("SWEEP_MENDED", "1")
    outcome = sweep(tmp_path, [*configs, *grid(5)])
    assert (outcome.done, outcome.ran, outcome.dead) == (6, 2, ())
    assert ran() == [[2], [5]], "one that failed is not mixed with others"
    assert ys(tmp_path, configs) == [0, 1, 4, 9, 16]
    assert (tmp_path / "squares-v1" / "dead_letters.jsonl").read_text() == ""


def test_a_group_that_failed_as_a_whole_is_a_group_again(
    tmp_path: Path, ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = grid(0, 1, 2, fail="no")
    with pytest.raises(UserError, match="3 of 3 cells failed"):
        sweep(tmp_path, configs)
    assert ran() == [[0], [0, 1, 2], [1], [2]]
    monkeypatch.setenv("SWEEP_MENDED", "1")
    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            sweep(tmp_path, configs)
    assert ran() == [[0, 1, 2]]
    now = outlook(str(tmp_path), KIND, configs)
    assert (now.missing, now.failed) == (3, 0), "while it runs again its old failure counts for nothing"
    sweep(tmp_path, configs)
    assert ran() == [[0, 1, 2]]


def test_rows_that_do_not_fit_the_schema_are_failures(tmp_path: Path) -> None:
    outcome = run_sweep(str(tmp_path), "sweep_kinds:SHORT", grid(0, 1), what="test", max_bad_share=1.0)
    assert {one.reason for one in outcome.dead} == {
        "ValueError: kind short returned columns ['y'] instead of ['mates', 'way', 'y']"
    }
    table = read_cells(str(tmp_path), "sweep_kinds:SHORT", grid(0, 1))
    assert (table.num_rows, table.column_names) == (0, ["cell", "config", "y", "mates", "way"])


@pytest.mark.parametrize("harm", ["record", "half a record", "shard", "half a shard"])
def test_a_group_that_was_cut_runs_again_as_it_was_planned_to_the_same_bytes(
    tmp_path: Path, ran: Ran, harm: str
) -> None:
    configs = grid(*range(10))
    sweep(tmp_path, configs)
    ran()
    before = bytes_of(tmp_path)
    (name,) = {read_cells(str(tmp_path), KIND, configs)["cell"].to_pylist()[5]}
    shard = tmp_path / "squares-v1" / "cells" / f"{Store(str(tmp_path), _kind()).scan().done[name]}.parquet"
    record = shard.with_suffix(".json")
    if harm == "record":
        record.unlink()
    elif harm == "half a record":
        record.write_bytes(record.read_bytes()[:50])
    elif harm == "shard":
        shard.unlink()
    else:
        shard.write_bytes(shard.read_bytes()[:50])
    with pytest.raises(UserError, match=r"4 of 10 cells have not run in .*, the first: {\"x\":4}"):
        read_cells(str(tmp_path), KIND, configs)
    assert read_cells(str(tmp_path), KIND, configs, partial=True)["y"].to_pylist() == [0, 1, 4, 9, math.inf, 81]
    sweep(tmp_path, [*grid(30), *configs[::-1]])
    assert ran() == [[4, 5, 6, 7], [30]]
    assert before.items() <= bytes_of(tmp_path).items()


def test_damaged_rows_are_not_taken(tmp_path: Path) -> None:
    sweep(tmp_path, grid(0))
    (shard,) = tmp_path.rglob("*.parquet")
    shard.write_bytes(bytes([shard.read_bytes()[0] ^ 1]) + shard.read_bytes()[1:])
    with pytest.raises(UserError, match=r"parquet is damaged; remove it and run the same sweep again"):
        read_cells(str(tmp_path), KIND, grid(0))
    shard.unlink()
    sweep(tmp_path, grid(0))
    assert ys(tmp_path, grid(0)) == [0]


def test_a_grid_that_the_disk_cannot_hold_is_refused_before_anything_runs(tmp_path: Path, ran: Ran) -> None:
    store = tmp_path / "store"
    with pytest.raises(
        UserError, match=r"the 3 cells that are to run need about 60,000,000\.0 GB of disk, and .* free; make the grid"
    ):
        run_sweep(str(store), "sweep_kinds:HUGE", grid(0, 1, 2), what="test")
    assert not store.exists()
    assert ran() == []


def test_a_store_that_is_full_stops_the_sweep_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "the shard")

    monkeypatch.setattr(Store, "write", full)
    for threads in (1, 2):
        with pytest.raises(UserError, match="the shard: the disk is full"):
            sweep(tmp_path, grid(*range(20)), threads=threads)


@pytest.mark.parametrize("threads", [1, 2])
def test_an_interrupt_is_an_interrupt_and_the_sweep_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sweep(tmp_path, grid(*range(6)), threads=threads)
    assert outlook(str(tmp_path), KIND, grid(*range(6))).missing == 6
    assert sweep(tmp_path, grid(*range(6))).ran == 6


def test_progress_counts_cells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep(tmp_path, grid(*range(3)))
    sweep(tmp_path, grid(*range(5)))
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(", ")[0] for line in lines if line.startswith("test: ")] == [
        "test: 3 cells of 3 cells (100%)",
        "test: 5 cells of 5 cells (100%)",
    ]


def test_a_store_is_held_against_another_sweep_of_the_kind(tmp_path: Path) -> None:
    folder = tmp_path / "squares-v1"
    folder.mkdir()
    with lock.holding(str(folder), if_dead=""), pytest.raises(UserError, match=r"squares-v1 is held by process \d+ on"):
        sweep(tmp_path, grid(0))
    assert sweep(tmp_path, grid(0)).done == 1


def test_a_store_on_another_file_system(ran: Ran) -> None:
    store = f"memory://sweep{time.time_ns()}/store"
    assert outlook(store, KIND, grid(0, 1)).missing == 2
    assert sweep(store, grid(0, 1)).ran == 2
    assert sweep(store, grid(0, 1, 2)).ran == 1
    assert ys(store, grid(2, 1)) == [4, 1]
    assert ran() == [[0, 1], [2]]


@pytest.mark.slow
def test_workers_of_their_own_write_the_same_bytes(tmp_path: Path) -> None:
    configs = [*grid(*range(9)), {"x": 10, "fail": "no"}]
    sweep(tmp_path / "here", configs, max_bad_share=0.1, threads=1)
    flags = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
    there = sweep(tmp_path / "there", configs, beam_flags=flags, max_bad_share=0.1)
    assert [one.reason for one in there.dead] == ["ValueError: no"]
    assert len(bytes_of(tmp_path / "here")) == 3
    assert bytes_of(tmp_path / "here") == bytes_of(tmp_path / "there")


def test_threads_change_no_byte(tmp_path: Path) -> None:
    configs = [*grid(*range(9)), {"x": 10, "fail": "no"}]
    for threads in (1, 3):
        sweep(tmp_path / str(threads), configs, max_bad_share=0.1, threads=threads)
    assert len(bytes_of(tmp_path / "1")) == 3
    assert bytes_of(tmp_path / "1") == bytes_of(tmp_path / "3")


def test_a_wrong_flag_shows_before_any_work(tmp_path: Path, ran: Ran) -> None:
    with pytest.raises(UserError, match="unknown flag '--direct_num_worker'"):
        sweep(tmp_path, grid(0), beam_flags=("--direct_num_worker=2",))
    assert ran() == []
    assert list(tmp_path.glob("squares*")) == []


def test_an_empty_grid(tmp_path: Path) -> None:
    assert sweep(tmp_path, []).done == 0
    assert read_cells(str(tmp_path), KIND, []).num_rows == 0
    assert outlook(str(tmp_path), KIND, []).seconds_left == 0


def _kind():
    from beam_jobs.sweep.kinds import load_kind

    return load_kind(KIND)


def test_a_later_scan_reads_only_what_has_come_since(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep(tmp_path, [*grid(*range(9)), {"x": 10, "fail": "no"}], max_bad_share=0.1)
    store = Store(str(tmp_path), _kind())
    first = store.scan()
    (failed,) = (name for name, record in first.records.items() if record["dead"])
    sweep(tmp_path, grid(20))
    read: list[str] = []
    read_bytes = files.read_bytes
    with monkeypatch.context() as patch:
        patch.setattr(files, "read_bytes", lambda path: read.append(Path(path).name) or read_bytes(path))
        later = store.scan(first)
    (new,) = set(later.records) - set(first.records)
    assert sorted(read) == sorted(["00001.jsonl", f"{new}.json", f"{failed}.json"])
    assert later == store.scan()
    for path in (tmp_path / "squares-v1" / "cells").iterdir():  # what is gone is gone
        path.unlink()
    assert store.scan(later) == store.scan()
    assert store.scan(later).done == {}
