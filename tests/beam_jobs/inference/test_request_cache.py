import hashlib
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from beam_jobs.inference import request_cache
from beam_jobs.inference.request_cache import RequestCache, key_of
from shammie.errors import UserError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "cache")


def change(folder: str, statement: str, *values: object) -> None:
    connection = sqlite3.connect(Path(folder) / "answers.0.sqlite")
    assert connection.execute(statement, values).rowcount == 1
    connection.commit()
    connection.close()


def python(code: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_key_is_of_all_that_is_asked_and_of_nothing_else():
    assert key_of({"a": 1, "b": [2]}) == key_of({"b": [2], "a": 1})
    assert key_of({"a": 1}) == hashlib.sha256(b'{"request":{"a":1},"version":1}').hexdigest()  # as on disks already
    assert len({key_of(one) for one in ({"a": 1}, {"a": 2}, {"b": 1}, {"a": 1, "b": None}, {"a": "1"})}) == 5


def test_answers_outlive_the_cache(folder):
    answer = {"text": "naïve \ud800 \0", "tokens": 3, "log_probability": None}
    with RequestCache(folder) as cache:
        assert cache.get("a") is None
        cache.put("a", answer)
        cache.put("b", {"text": "one"})
        cache.put("b", {"text": "two"})
        assert cache.get("a") == answer
    with RequestCache(folder) as cache:
        assert (cache.get("a"), cache.get("b"), cache.get("c"), cache.count()) == (answer, {"text": "two"}, None, 2)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("answer", b'{"text":"five"}'),  # JSON, but another
        ("answer", b"\xff\xfe"),
        ("answer", "text"),
        ("checksum", b"\xff"),
        ("checksum", "\ud7ff"),
    ],
)
def test_a_damaged_entry_is_asked_again(folder, caplog, column, value):
    with RequestCache(folder) as cache:
        cache.put("a", {"text": "four"})
        cache.put("b", {"text": "four"})
    change(folder, f"UPDATE answers SET {column} = CAST(? AS TEXT) WHERE key = 'a'", value)
    with RequestCache(folder) as cache, caplog.at_level(logging.WARNING):
        assert cache.get("a") is None
        assert "entry a is damaged" in caplog.text
        assert cache.get("b") == {"text": "four"}
        cache.put("a", {"text": "again"})
        assert cache.get("a") == {"text": "again"}


def test_an_entry_under_another_key_is_damaged(folder):
    with RequestCache(folder) as cache:
        cache.put("a", {"text": "four"})
    change(folder, "UPDATE answers SET key = 'b'")
    with RequestCache(folder) as cache:
        assert (cache.get("a"), cache.get("b"), cache.count()) == (None, None, 1)


def test_beside_a_damaged_file_another_is_begun(folder, caplog):
    with RequestCache(folder) as cache:
        cache.put("a", {"text": "four"})
    path = Path(folder) / "answers.0.sqlite"
    path.write_bytes(b"no database at all " * 300)
    with caplog.at_level(logging.WARNING), RequestCache(folder) as cache:
        assert "answers.0.sqlite is damaged" in caplog.text
        assert cache.get("a") is None
        cache.put("a", {"text": "again"})
    with RequestCache(folder) as cache:
        assert cache.get("a") == {"text": "again"}
        assert cache.path.endswith("answers.1.sqlite")


def test_damage_that_shows_late(folder, caplog):
    with RequestCache(folder) as cache:
        for number in range(2000):
            cache.put(f"{number:032d}", {"text": "x" * 100})
    path = Path(folder) / "answers.0.sqlite"
    data = bytearray(path.read_bytes())
    half = len(data) // 2
    data[half:] = b"\xa5" * (len(data) - half)
    path.write_bytes(data)
    with RequestCache(folder) as cache, caplog.at_level(logging.WARNING):
        assert cache.path.endswith("answers.0.sqlite")  # its beginning is whole
        assert cache.get(f"{0:032d}") == {"text": "x" * 100}
        assert cache.get(f"{1999:032d}") is None
        cache.put("b", {"text": "two"})
        assert cache.get("b") == {"text": "two"}
        assert "is damaged" in caplog.text


def test_a_folder_that_cannot_be(tmp_path):
    with pytest.raises(UserError, match="not on a local disk"):
        RequestCache("gs://bucket/cache")
    (tmp_path / "answers.0.sqlite").mkdir()
    with pytest.raises(UserError, match=r"answers\.0\.sqlite.*another folder"):
        RequestCache(str(tmp_path))
    other = tmp_path / "other"
    other.mkdir()
    connection = sqlite3.connect(other / "answers.0.sqlite")
    connection.execute("CREATE TABLE answers (number INTEGER)")
    connection.close()
    with pytest.raises(UserError, match="no such column"):
        RequestCache(str(other))


def test_threads_share_a_cache(folder):
    failed = []

    def work(name: int) -> None:
        for number in range(100):
            cache.put(f"{name}/{number}", {"text": f"{name} {number}"})
            if cache.get(f"{name}/{number}") != {"text": f"{name} {number}"}:
                failed.append((name, number))

    with RequestCache(folder) as cache:
        threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed
        assert cache.count() == 800


def test_processes_share_a_folder(folder):
    code = (
        "import sys; from beam_jobs.inference.request_cache import RequestCache\n"
        "input_ = sys.argv[2]\n"
        "with RequestCache(sys.argv[1]) as cache:\n"
        "    for number in range(200): cache.put(f'{input_}/{number}', {'text': input_}); cache.get(f'0/{number}')\n"
    )
    running = [python(code, folder, str(name)) for name in range(4)]
    assert [(one.communicate()[1][-500:], one.returncode) for one in running] == [("", 0)] * 4
    with RequestCache(folder) as cache:
        assert cache.count() == 800
        assert cache.get("3/199") == {"text": "3"}


def test_a_kill_loses_nothing_that_was_put(folder):
    code = (
        "import itertools, sys; from beam_jobs.inference.request_cache import RequestCache\n"
        "cache = RequestCache(sys.argv[1])\n"
        "for number in itertools.count(): cache.put(str(number), {'n': number}); print(number, flush=True)\n"
    )
    running = python(code, folder)
    assert running.stdout is not None
    for line in running.stdout:
        if int(line) >= 50:
            break
    os.kill(running.pid, signal.SIGKILL)
    last = int(["50", *running.stdout.read().split()][-1])
    assert running.wait() == -signal.SIGKILL
    with RequestCache(folder) as cache:
        assert all(cache.get(str(number)) == {"n": number} for number in range(last + 1))
        assert last + 1 <= cache.count() <= last + 2


def test_a_cache_waits_for_one_that_is_being_made(folder, monkeypatch):
    real, tried = request_cache._open, []

    def busy_at_first(path: str, statements: Sequence[str]) -> sqlite3.Connection:
        tried.append(path)
        if len(tried) < 3:
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise error
        return real(path, statements)

    monkeypatch.setattr(request_cache, "_open", busy_at_first)
    with RequestCache(folder) as cache:
        cache.put("a", {"text": "four"})
        assert cache.path == tried[2] == tried[0]
    monkeypatch.setattr(request_cache, "_WAIT_S", -1.0)
    tried.clear()
    with pytest.raises(UserError, match="locked"):
        RequestCache(folder)
