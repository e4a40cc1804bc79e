"""A sweep that is killed goes on where it was, to the same bytes."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from beam_jobs.sweep.job import outlook, read_cells, run_sweep
from beam_jobs.sweep.store import parquet_bytes

KIND = "sweep_kinds:SQUARES"


def start(store: Path, grid: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "beam_jobs.sweep", "--kind", KIND, "--grid", grid, "--output", store]
    return subprocess.Popen(
        [*map(str, command), "--threads=2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finished(store: Path) -> set[str]:
    return {path.stem for path in store.rglob("cells/*.json")}


def test_a_kill_loses_no_finished_group_and_changes_no_byte(
    tmp_path: Path, ran: Callable[[], list[list[float]]]
) -> None:
    configs = [{"x": x, "width": 1 + x % 2, "seconds": 0.08} for x in range(40)]
    grid, killed, whole = tmp_path / "grid.json", tmp_path / "killed", tmp_path / "whole"
    grid.write_text(json.dumps(configs))
    process = start(killed, grid)
    deadline = time.monotonic() + 120
    while len(finished(killed)) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = finished(killed)
    assert 3 <= len(kept) < 10, "it was killed in the middle"
    assert (killed / "squares-v1" / ".lock").exists()
    before = ran()
    done = outlook(str(killed), KIND, configs)
    assert done.done == 4 * len(kept)
    assert done.missing == 40 - done.done
    assert done.seconds_left

    grid.write_text(json.dumps([{"x": 100, "width": 1}, *configs]))  # a row that would shift all groups
    process = start(killed, grid)
    told, _ = process.communicate()
    assert process.returncode == 0
    assert json.loads(told)["cells"] == 41
    assert json.loads(told)["cells_run"] == 41 - done.done
    again = ran()
    assert len(again) == 11 - len(kept), "no finished group ran again"
    assert [100] in again
    assert len({tuple(group) for group in [*before, *again]}) == 11, "what was in work when it died ran as planned"
    run_sweep(str(whole), KIND, configs, what="whole")
    bytes_of_killed = {path.name: path.read_bytes() for path in killed.rglob("*.parquet")}
    assert len(bytes_of_killed) == 11
    assert {path.name: path.read_bytes() for path in whole.rglob("*.parquet")}.items() < bytes_of_killed.items()
    tables = [parquet_bytes(read_cells(str(store), KIND, configs)) for store in (killed, whole)]
    assert tables[0] == tables[1]
