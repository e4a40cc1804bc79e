"""The faults themselves, each in a process of its own."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from workflows.chaos import processes
from workflows.chaos.damage import HOW, TORN
from workflows.chaos.processes import Process, children_of, killed_by_itself, run, words_of

PROGRAM = """
import os, sys, time
from shammie import files
for number in range(5):
    files.write_bytes(f"{sys.argv[1]}/{number}.json", b"x")
"""


def played(tmp_path: Path, fault: dict, program: str = PROGRAM) -> int:
    (tmp_path / "program.py").write_text(program)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from workflows.chaos import faults; "
    code += "faults.main(sys.argv[1:])"
    words = [sys.executable, "-c", code, json.dumps(fault), "program", str(tmp_path)]
    return subprocess.run(words, check=False).returncode


def test_a_signal_comes_before_or_after_the_nth_file(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    for folder, when in ((before, "before"), (after, "after")):
        folder.mkdir()
        fault = killed_by_itself(signal.SIGKILL, r"/\d\.json$", count=3, when=when)
        assert played(folder, fault) == -signal.SIGKILL
    assert sorted(path.name for path in before.glob("?.json")) == ["0.json", "1.json"]
    assert len(list(before.glob("2.json.tmp-*"))) == 1
    assert sorted(path.name for path in after.glob("?.json")) == ["0.json", "1.json", "2.json"]


def test_a_read_fails_from_a_byte_on(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_bytes(b"0123456789")
    program = """
import errno, sys
from shammie import files
with files.open_read(f"{sys.argv[1]}/text.txt") as file:
    assert file.read(4) == b"0123"
    try:
        file.read()
    except OSError as error:
        sys.exit(3 if error.errno == errno.EIO else 4)
"""
    assert played(tmp_path, {"read": {"path": "text.txt", "after": 6}}, program) == 3


def test_the_clock_jumps_to_and_fro(tmp_path: Path) -> None:
    program = """
import sys, time
first = time.time()
seen = {round((time.time() - first) / 86400) for _ in range(40)}
sys.exit(3 if seen == {-1, 0, 1} else 4)
"""
    assert played(tmp_path, {"clock": {"jump": 86400, "every": 3}}, program) == 3


def test_processes_are_watched() -> None:
    process = Process(["timeit", "-n", "1", "-r", "1", "import time; time.sleep(60)"])
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        me = children_of(os.getpid())
        assert {process.pid, child.pid} <= set(me)
        assert "time.sleep(60)" in words_of(child.pid)
    finally:
        child.kill()
        child.wait()
    process.send(signal.SIGSTOP)
    process.wait_until(process.stopped)
    process.send(signal.SIGKILL)
    assert process.end().exit == "SIGKILL"
    assert run(["timeit", "-n", "1", "-r", "1", "pass"]).code == 0


def test_a_halted_process_does_not_outlive_its_context() -> None:
    process = Process(["timeit", "while True: pass"])

    def scenario() -> None:
        with process:
            process.send(signal.SIGSTOP)
            process.wait_until(process.stopped)
            raise ValueError("it breaks")

    with pytest.raises(ValueError, match="it breaks"):
        scenario()
    assert words_of(process.pid) == ""


def test_a_process_may_say_more_than_a_pipe_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reads while a scenario waits for something else."""
    monkeypatch.setattr(processes, "WAIT_S", 60.0)
    says = "import sys; sys.stderr.write('é' * 1_000_000); sys.stderr.flush()"
    with Process(["timeit", "-n", "1", "-r", "1", says]) as process:
        process.wait_until(lambda: False)
        ended = process.end()
    assert (ended.code, ended.said) == (0, "é" * 1_000_000)


def test_every_damage_changes_a_file() -> None:
    record = b'{"outputs": {"a.txt": {"bytes": 1, "sha256": "0"}}}\n'
    for name, change in {**TORN, **HOW}.items():
        assert change(record) != record, name
