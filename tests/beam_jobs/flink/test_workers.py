"""The pool of Python workers: who may reach it, and whom it ends."""

import socket

import grpc
import pytest
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc

from beam_jobs.flink.workers import WorkerPool, serve


def test_it_listens_to_its_own_host_alone() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = serve("127.0.0.1", port)
    try:
        grpc.channel_ready_future(grpc.insecure_channel(f"127.0.0.1:{port}")).result(10)
        stub = beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(grpc.insecure_channel(f"127.0.0.1:{port}"))
        assert not stub.StopWorker(beam_fn_api_pb2.StopWorkerRequest(worker_id="1-1"), timeout=10).error
        with socket.socket() as other, pytest.raises(OSError, match="refused"):
            other.connect(("127.0.0.2", port))
    finally:
        server.stop(0)


def test_two_workers_of_one_name_live_on_when_one_is_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    class Process:
        def __init__(self, *given: object, **named: object) -> None:
            started.append(self)
            self.ended = False

        def poll(self) -> int | None:
            return 0 if self.ended else None

        def terminate(self) -> None:
            self.ended = True

        kill = terminate

    started: list[Process] = []
    monkeypatch.setattr("apache_beam.runners.worker.worker_pool_main.subprocess.Popen", Process)
    pool = WorkerPool(use_process=True)
    ask = beam_fn_api_pb2.StartWorkerRequest(worker_id="1-1")
    pool.StartWorker(ask, None)
    pool.StartWorker(ask, None)
    assert len(pool._worker_processes) == len(started) == 2
    pool.StopWorker(beam_fn_api_pb2.StopWorkerRequest(worker_id="1-1"), None)
    assert not any(one.ended for one in started)
    started[0].ended = True
    pool.StartWorker(ask, None)
    assert len(pool._worker_processes) == 2  # the one that has ended is forgotten
