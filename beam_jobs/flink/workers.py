"""The pool of Python workers, to which task managers turn for theirs (Beam's environment type EXTERNAL).

It serves the protocol of Beam's own pool (2.77), which does not do here. Each task manager numbers its workers from 1,
so that two that share a host ask one pool for workers of the same name; Beam's then ends one's worker when the other is
done with its own, and the job waits three minutes for somebody who is dead. It also listens at every address, though
whoever reaches it can start code, leaves unread what workers print, so that they halt after 64 KB, and starts each from
nothing. Here workers wait with their libraries imported, and none is ended by its name: it ends when its task manager
hangs up.
"""

import argparse
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc

WORKER = "beam_jobs.flink.worker"
LOOKS_S = 1.0


class WorkerPool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """Hands out Python processes.

    Args:
        ready: how many processes it has at least, at work or waiting. One that ends is replaced; as long as these
            are enough none is started beside a job's work.
    """

    def __init__(self, ready: int = 0) -> None:
        self._ready, self._lock, self._closed = ready, threading.Lock(), threading.Event()
        self._waiting: list[subprocess.Popen[bytes]] = []
        self._at_work: list[subprocess.Popen[bytes]] = []
        if ready:
            threading.Thread(target=self._keep_ready, daemon=True).start()

    def StartWorker(self, request: Any, context: Any) -> Any:
        """Sends a process to work."""
        address, name = request.control_endpoint.url, request.worker_id
        try:
            with self._lock:
                self._forget_ended()
                process = self._waiting.pop(0) if self._waiting else _started()
                assert process.stdin
                process.stdin.write(json.dumps([address, name]).encode() + b"\n")
                process.stdin.close()
                self._at_work.append(process)
        except OSError as error:
            return beam_fn_api_pb2.StartWorkerResponse(error=f"{type(error).__name__}: {error}")
        return beam_fn_api_pb2.StartWorkerResponse()

    def StopWorker(self, request: Any, context: Any) -> Any:
        """Leaves it to the worker."""
        return beam_fn_api_pb2.StopWorkerResponse()

    def processes(self) -> tuple[int, int]:
        """How many wait, and how many work."""
        with self._lock:
            self._forget_ended()
            return len(self._waiting), len(self._at_work)

    def close(self) -> None:
        """Ends all processes."""
        self._closed.set()
        with self._lock:
            for process in (*self._waiting, *self._at_work):
                process.kill()
                process.wait()

    def _forget_ended(self) -> None:
        for processes in (self._waiting, self._at_work):
            processes[:] = [process for process in processes if process.poll() is None]

    def _keep_ready(self) -> None:
        while not self._closed.is_set():
            with self._lock:
                self._forget_ended()
                missing = self._ready - len(self._waiting) - len(self._at_work)
                self._waiting += [_started() for _ in range(missing)]
            self._closed.wait(LOOKS_S)


def _started() -> subprocess.Popen[bytes]:
    """A process that imports its libraries and waits for work; what it prints goes where the pool's goes."""
    return subprocess.Popen([sys.executable, "-m", WORKER], stdin=subprocess.PIPE)


def serve(host: str, port: int, pool: WorkerPool) -> grpc.Server:
    """Serves a pool at one address."""
    server = grpc.server(ThreadPoolExecutor(16))
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    server.add_insecure_port(f"{host}:{port}")
    server.start()
    return server


def main(argv: Sequence[str] | None = None) -> None:
    """Serves until it is stopped: --service_port PORT [--host HOST] [--ready COUNT]."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--service_port", type=int, required=True, help="where to listen")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="the address to listen at (default: this machine alone). Whoever reaches it can start code here",
    )
    parser.add_argument("--ready", type=int, default=0, help="processes to have, with imports done (default: 0)")
    given = parser.parse_args(argv)
    pool = WorkerPool(given.ready)
    server = serve(given.host, given.service_port, pool)
    try:
        threading.Event().wait()
    finally:
        server.stop(0)
        pool.close()


if __name__ == "__main__":
    main(sys.argv[1:])
