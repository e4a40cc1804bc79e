"""The pool of Python workers: who may reach it, whom it ends, and that it has processes ready."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc

from beam_jobs.flink import workers
from beam_jobs.flink.workers import WorkerPool, serve
from shammie.errors import UserError

ASK = beam_fn_api_pb2.StartWorkerRequest(worker_id="1-1")
ASK.control_endpoint.url = "127.0.0.1:9"
# a worker that does as ours but for its libraries and its work: it writes what it was told into a file of its own
WORKS = """
import os, sys, time
print("a worker's words" * 10_000, flush=True)
line = sys.stdin.readline()
if line:
    told = f"{os.environ['TOLD']}/{os.getpid()}"
    with open(f"{told}.half", "w") as file:
        file.write(line)
    os.replace(f"{told}.half", told)
    while not os.path.exists(f"{os.environ['TOLD']}/{os.getpid()}.end"):
        time.sleep(0.02)
"""


def wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def at_work(told: Path) -> set[int]:
    """Who has been told what to do."""
    return {int(path.name) for path in told.iterdir() if path.name.isdigit()}


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which workers write."""
    (tmp_path / "works.py").write_text(WORKS)
    (tmp_path / "told").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("TOLD", str(tmp_path / "told"))
    monkeypatch.setattr(workers, "WORKER", "works")
    monkeypatch.setattr(workers, "LOOKS_S", 0.05)
    return tmp_path / "told"


@pytest.fixture
def pool(told: Path) -> Iterator[WorkerPool]:
    made = WorkerPool()
    yield made
    made.close()


@pytest.fixture
def port() -> int:
    """One at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_it_listens_to_its_own_host_alone(pool: WorkerPool, port: int) -> None:
    server = serve("127.0.0.1", port, pool)
    try:
        grpc.channel_ready_future(grpc.insecure_channel(f"127.0.0.1:{port}")).result(10)
        stub = beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(grpc.insecure_channel(f"127.0.0.1:{port}"))
        assert not stub.StopWorker(beam_fn_api_pb2.StopWorkerRequest(worker_id="1-1"), timeout=10).error
        with socket.socket() as other, pytest.raises(OSError, match="refused"):
            other.connect(("127.0.0.2", port))
    finally:
        server.stop(0)


def test_two_workers_of_one_name_live_on_when_one_is_to_stop(pool: WorkerPool, told: Path) -> None:
    assert not pool.StartWorker(ASK, None).error
    assert not pool.StartWorker(ASK, None).error
    wait(
        lambda: len([path for path in told.iterdir() if not path.suffix]) == 2
    )  # though each has printed more than a pipe holds
    assert {path.read_text() for path in told.iterdir()} == {'["127.0.0.1:9", "1-1"]\n'}
    pool.StopWorker(beam_fn_api_pb2.StopWorkerRequest(worker_id="1-1"), None)
    assert pool.processes() == (0, 2)
    (told / f"{min(at_work(told))}.end").touch()  # its task manager hangs up
    wait(lambda: pool.processes() == (0, 1))


def test_processes_wait_and_those_that_end_are_replaced(told: Path) -> None:
    pool = WorkerPool(ready=2)
    try:
        wait(lambda: pool.processes() == (2, 0))
        waiting = {process.pid for process in pool._waiting}
        for _ in range(2):
            pool.StartWorker(ASK, None)
        wait(lambda: at_work(told) == waiting)
        time.sleep(0.3)
        assert pool.processes() == (0, 2)  # none is started while they work
        for pid in waiting:
            (told / f"{pid}.end").touch()
        wait(lambda: pool.processes() == (2, 0))
        assert not waiting & {process.pid for process in pool._waiting}
        pool.StartWorker(ASK, None)
        pool.StartWorker(ASK, None)
        pool.StartWorker(ASK, None)  # more than are ready
        wait(lambda: pool.processes() == (0, 3))
    finally:
        pool.close()
    assert pool.processes() == (0, 0)


def test_workers_that_end_at_their_imports_are_told_and_not_tried_for_ever(
    told: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (told.parent / "works.py").write_text("import sys; sys.exit(3)")
    monkeypatch.setattr(workers, "RESTS_S", 0.2)
    monkeypatch.setattr(workers, "SETTLED_S", 0.5)
    pool = WorkerPool(ready=2)
    try:
        wait(lambda: pool._failures >= workers.MOST_FAILURES)
        assert "end before they have work" in pool.StartWorker(ASK, None).error
        (told.parent / "works.py").write_text(WORKS)  # somebody mends it
        wait(lambda: not pool.StartWorker(ASK, None).error)
    finally:
        pool.close()
    assert "the pool closes" in pool.StartWorker(ASK, None).error


def test_two_pools_do_not_share_an_address(pool: WorkerPool, port: int) -> None:
    server = serve("127.0.0.1", port, pool)
    try:
        with pytest.raises(UserError, match=f"no pool can listen at 127.0.0.1:{port}"):
            serve("127.0.0.1", port, pool)
    finally:
        server.stop(0)


def test_a_worker_whose_pool_is_gone_ends() -> None:
    """It has imported its libraries by then."""
    done = subprocess.run([sys.executable, "-m", workers.WORKER], stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0


def test_a_process_that_cannot_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert "/nowhere/python" in WorkerPool().StartWorker(ASK, None).error
