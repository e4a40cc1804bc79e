import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from shammie.errors import UserError
from shammie.lock import LOCK, holding, host


def test_held_for_its_length_and_by_one(tmp_path: Path) -> None:
    with holding(str(tmp_path), option="--to", if_dead="-"):
        about = json.loads((tmp_path / LOCK).read_text())
        assert (about["pid"], about["host"]) == (os.getpid(), host())
        code = "import sys; from shammie.lock import holding; holding(sys.argv[1], if_dead='-').__enter__()"
        other = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
        assert f"is held by process {os.getpid()} on {host()} since" in other.stderr
        with (
            pytest.raises(UserError, match="wait for it or stop it, or choose another --to"),
            holding(str(tmp_path), option="--to", if_dead="-"),
        ):
            pass
        assert (tmp_path / LOCK).exists()
    assert not (tmp_path / LOCK).exists()


def test_released_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="in between"), holding(str(tmp_path), if_dead="-"):
        raise ValueError("in between")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("holder", ["dead", "cut short", "no object", "a later process"])
def test_the_dead_are_replaced(tmp_path: Path, holder: str) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    (tmp_path / LOCK).write_text(
        {
            "dead": json.dumps({"pid": dead.pid, "host": host()}),
            "cut short": '{"pid": ',
            "no object": "7",
            "a later process": json.dumps({"pid": os.getpid(), "host": host(), "started": "another boot:1"}),
        }[holder]
    )
    with holding(str(tmp_path), if_dead="-"):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()


def test_another_host_needs_take_over(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text(json.dumps({"pid": 7, "host": "elsewhere", "since": "noon"}))
    with (
        pytest.raises(UserError, match="held by process 7 on elsewhere since noon; if that one is dead, call a doctor"),
        holding(str(tmp_path), if_dead="call a doctor"),
    ):
        pass
    with holding(str(tmp_path), if_dead="-", take_over=True):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()


def test_one_of_many_at_once(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text('{"pid": ')  # a dead one that all want to replace
    together, held, refused = threading.Barrier(8), [], []

    def try_it() -> None:
        together.wait()
        try:
            with holding(str(tmp_path), if_dead="-"):
                held.append(1)
                waiting.wait(10)
        except UserError:
            refused.append(1)
            if len(refused) == 7:
                waiting.set()

    waiting = threading.Event()
    threads = [threading.Thread(target=try_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(held), len(refused)) == (1, 7)
