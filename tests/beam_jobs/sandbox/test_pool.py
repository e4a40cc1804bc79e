import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from beam_jobs.sandbox import Limits, Sandbox, Verdict, pool, run_python, run_stdin
from shammie.errors import UserError

ADD, TESTS, LONG_S = "def f(x): return x + 1", ["assert f(1) == 2"], 30.0
PASSED = Verdict(True, "")


def test_many_threads_share_the_workers() -> None:
    programs = [f"def f(x): return x + {n % 3}" for n in range(60)]
    with Sandbox(2) as sandbox, ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda program: sandbox.run_python(program, TESTS, LONG_S).passed, programs))
        assert found == [n % 3 == 1 for n in range(60)]
        assert len(sandbox._living) == 2


def test_module_functions_work_off_the_main_thread() -> None:
    found = []
    thread = threading.Thread(
        target=lambda: found.extend([run_python(ADD, TESTS, LONG_S), run_stdin("print(1)", [("", "1")], LONG_S)])
    )
    thread.start()
    thread.join()
    assert found == [PASSED, PASSED]
    assert pool.shared() is pool.shared()


def test_a_killed_fork_server_is_replaced(left_of_runs: Callable[[Sandbox], list[int]]) -> None:
    with Sandbox(1) as sandbox:
        assert sandbox.run_python(ADD, TESTS, LONG_S) == PASSED
        (zygote,) = sandbox._living
        os.kill(zygote._process.pid, signal.SIGKILL)
        zygote._process.wait()
        assert sandbox.run_python(ADD, TESTS, LONG_S) == PASSED
        (other,) = sandbox._living
        assert other is not zygote
        assert left_of_runs(sandbox) == []


def test_a_fork_server_that_dies_in_a_run_is_tried_once_more() -> None:
    with Sandbox(1) as sandbox:
        assert sandbox.run_python(ADD, TESTS, LONG_S) == PASSED
        killed = []

        def kill() -> None:
            for zygote in list(sandbox._living):
                killed.append(zygote._process.pid)
                zygote._process.kill()

        timers = [threading.Timer(0.2, kill), threading.Timer(1.5, kill)]
        for timer in timers:
            timer.start()
        assert sandbox.run_python("while True: pass", TESTS, 60.0) == Verdict(False, "crashed")
        for timer in timers:
            timer.join()
        assert len(set(killed)) == 2
        assert sandbox.run_python(ADD, TESTS, LONG_S) == PASSED


def test_a_fork_server_that_hangs_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "LATE_S", 1.0)
    monkeypatch.setattr(pool, "wall_limit", lambda timeout_s: timeout_s)
    monkeypatch.setattr(pool, "END_S", 0.1)
    with Sandbox(1) as sandbox:
        assert sandbox.run_python(ADD, TESTS, LONG_S) == PASSED
        (zygote,) = sandbox._living
        (serving,) = _children(zygote._process.pid) or [zygote._process.pid]
        os.kill(serving, signal.SIGSTOP)
        assert sandbox.run_python(ADD, TESTS, 0.5) in (
            PASSED,
            Verdict(False, "timeout"),
        )  # the second, on a busy machine
        assert sandbox._living != {zygote}
        assert sandbox.run_python(ADD, TESTS, LONG_S) == PASSED


def _children(pid: int) -> list[int]:
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def _open_files() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_nothing_leaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    children = set(_children(os.getpid()))
    before = _open_files()
    with Sandbox(1) as sandbox:
        assert sandbox.run_python(ADD, TESTS, LONG_S) == PASSED
        (zygote,) = sandbox._living
        serving = (_children(zygote._process.pid) or [zygote._process.pid])[0]
        running, inside = _open_files(), set(os.listdir(f"/proc/{serving}/fd"))
        for n in range(20):
            assert sandbox.run_python(ADD, TESTS, LONG_S).passed
            assert not sandbox.run_python("import os\nos._exit(0)", TESTS, LONG_S).passed
            assert sandbox.run_stdin(f"print({n})", [("", str(n))], LONG_S).passed
        assert _open_files() == running
        assert set(os.listdir(f"/proc/{serving}/fd")) == inside
        assert _children(serving) == []
    assert _open_files() == before
    assert set(_children(os.getpid())) == children
    assert os.listdir(tmp_path) == []
    assert not os.path.exists(f"/proc/{serving}")


def test_the_fork_server_ends_with_its_caller() -> None:
    code = (
        "import os\nfrom beam_jobs.sandbox import Sandbox\nsandbox = Sandbox(1)\n"
        f"assert sandbox.run_python({ADD!r}, {TESTS!r}, 30).passed\n"
        "print(*[z._process.pid for z in sandbox._living], flush=True)\nos.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert done.returncode == -9
    pid = int(done.stdout)
    for _ in range(500):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] if _lives(pid) else "Z"
        if state == "Z":  # a zombie, where the first process of this machine does not collect them
            return
        threading.Event().wait(0.02)
    raise AssertionError(f"process {pid} goes on")


def _lives(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


def test_a_forked_caller_has_a_sandbox_of_its_own() -> None:
    code = (
        "import os\nfrom beam_jobs.sandbox import pool, run_python\n"
        f"assert run_python({ADD!r}, {TESTS!r}, 30).passed\nmine = pool.shared()\n"
        "child = os.fork()\nif not child:\n"
        f"    ok = pool.shared() is not mine and run_python({ADD!r}, {TESTS!r}, 30).passed\n    pool.shared().close()\n"
        "    os._exit(0 if ok else 1)\n"
        f"assert os.waitpid(child, 0)[1] == 0\nassert run_python({ADD!r}, {TESTS!r}, 30).passed"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_limits_are_kept() -> None:
    small = Limits(memory_bytes=128 << 20, output_bytes=1000, directory_bytes=1 << 20)
    with Sandbox(1, small) as sandbox:
        use = "def f(x): return len(bytearray(x))"
        assert sandbox.run_python(use, ["assert f(50 << 20) == 50 << 20"], LONG_S) == PASSED
        assert sandbox.run_python(use, ["f(150 << 20)"], LONG_S) == Verdict(False, "memory")
        assert sandbox.run_stdin("print('x' * 990)", [("", "x" * 990)], LONG_S) == PASSED
        assert sandbox.run_stdin("print('x' * 1010)", [("", "x" * 1010)], LONG_S) == Verdict(False, "output")


def test_bad_arguments_are_told() -> None:
    with pytest.raises(UserError, match="a sandbox of 0 workers"):
        Sandbox(0)
    with pytest.raises(UserError, match="sandbox limit memory_bytes is 0"):
        Limits(memory_bytes=0)
    sandbox = Sandbox(1)
    for timeout_s in (0, -1, float("nan"), float("inf")):
        with pytest.raises(UserError, match=f"timeout is {timeout_s} s"):
            sandbox.run_python(ADD, TESTS, timeout_s)
    with pytest.raises(UserError, match="tests that cannot be sent: a I"):
        sandbox.run_python(ADD, ["x = 1", type("I", (str,), {})("y")], LONG_S)
    sandbox.close()
    with pytest.raises(UserError, match="the sandbox is closed"):
        sandbox.run_python(ADD, TESTS, LONG_S)


@pytest.mark.parametrize(
    ("table", "first"),
    [
        ("         0          0 4294967295\n", 0x70000000),
        ("0 100000 65536", 65520),
        ("0 1000 1\n1 100000 65536", 65521),
        ("0 1000 1", None),
        ("", None),
    ],
)
def test_users_that_nobody_has(table: str, first: int | None) -> None:
    assert pool.users_from(table) == first


def test_output_is_compared_up_to_blanks_at_ends() -> None:
    assert pool.comparable(b"a \t\r\nb\n\n \n") == pool.comparable(b"a\nb") == [b"a", b"b"]
    assert pool.comparable(b"\na") != pool.comparable(b"a")
    assert pool.comparable(b" a") != pool.comparable(b"a")
    assert pool.comparable(b"\n") == []
