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
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc

from shammie.errors import UserError, one_line, run_for_people

WORKER = "beam_jobs.flink.worker"
LOOKS_S, RESTS_S = 1.0, 30.0
SETTLED_S = 20.0  # whoever has lived so long is done with its imports
MOST_FAILURES = 4


class WorkerPool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """Hands out Python processes.

    Args:
        ready: how many processes it has at least, at work or waiting. One that ends is replaced; as long as these
            are enough none is started beside a job's work. A task manager keeps its worker for some seconds after a
            job (--environment_cache_millis): for a job that comes sooner there is one only if `ready` counts it.
    """

    def __init__(self, ready: int = 0) -> None:
        self._ready, self._lock, self._closed = ready, threading.Lock(), threading.Event()
        self._waiting: dict[subprocess.Popen[bytes], float] = {}  # to when each was started
        self._at_work: list[subprocess.Popen[bytes]] = []
        self._failures = 0  # processes that ended before there was work, one after the other
        if ready:
            threading.Thread(target=self._keep_ready, daemon=True).start()

    def StartWorker(self, request: Any, context: Any) -> Any:
        """Sends a process to work."""
        told = json.dumps([request.control_endpoint.url, request.worker_id]).encode() + b"\n"
        try:
            with self._lock:
                self._look()
                error = "the pool closes" if self._closed.is_set() else ""
                if self._failures >= MOST_FAILURES:
                    error = "Python workers end before they have work: their log is the pool's"
                if not error:
                    process = next(iter(self._waiting), None) or _started()
                    self._waiting.pop(process, None)
                    self._at_work.append(process)
                    assert process.stdin
                    process.stdin.write(told)
                    process.stdin.close()
        except OSError as problem:
            error = one_line(problem)
        return beam_fn_api_pb2.StartWorkerResponse(error=error)

    def StopWorker(self, request: Any, context: Any) -> Any:
        """Leaves it to the worker."""
        return beam_fn_api_pb2.StopWorkerResponse()

    def processes(self) -> tuple[int, int]:
        """How many wait, and how many work."""
        with self._lock:
            self._look()
            return len(self._waiting), len(self._at_work)

    def close(self) -> None:
        """Ends all processes."""
        self._closed.set()
        with self._lock:
            for process in (*self._waiting, *self._at_work):
                process.kill()
                process.wait()

    def _look(self) -> None:
        """Forgets processes that have ended, and counts those that did so before they had work."""
        ended = [process for process in self._waiting if process.poll() is not None]
        for process in ended:
            del self._waiting[process]
        self._at_work = [process for process in self._at_work if process.poll() is None]
        self._failures += len(ended)
        if any(time.monotonic() - began > SETTLED_S for began in self._waiting.values()):
            self._failures = 0

    def _keep_ready(self) -> None:
        while not self._closed.wait(LOOKS_S if self._failures < MOST_FAILURES else RESTS_S):
            with self._lock:
                if self._closed.is_set():
                    return
                self._look()
                try:
                    for _ in range(self._ready - len(self._waiting) - len(self._at_work)):
                        self._waiting[_started()] = time.monotonic()
                except OSError as error:
                    print(f"{WORKER}: {one_line(error)}", file=sys.stderr, flush=True)


def _started() -> subprocess.Popen[bytes]:
    """A process that imports its libraries and waits for work; what it prints goes where the pool's goes."""
    return subprocess.Popen([sys.executable, "-m", WORKER], stdin=subprocess.PIPE)


def _stop(*_: object) -> None:
    raise SystemExit(0)


def serve(host: str, port: int, pool: WorkerPool) -> grpc.Server:
    """Serves a pool at one address.

    Raises:
        UserError: somebody else listens there.
    """
    server = grpc.server(ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])  # else two would share the port
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    try:
        server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise UserError(
            f"no pool can listen at {host}:{port}", "end the one that does, or take another port"
        ) from error
    server.start()
    return server


def main(argv: Sequence[str] | None = None) -> int:
    """Serves until it is stopped: --service_port PORT [--host HOST] [--ready COUNT]."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--service_port", type=int, required=True, help="where to listen")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="the address to listen at (default: this machine alone). Whoever reaches it, such as another user of this"
        " machine, can start code as you",
    )
    parser.add_argument("--ready", type=int, default=0, help="processes to have, with imports done (default: 0)")
    given = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, _stop)

    def work() -> int:
        pool = WorkerPool(given.ready)
        try:
            server = serve(given.host, given.service_port, pool)
            try:
                threading.Event().wait()
            finally:
                server.stop(0)
        finally:
            pool.close()
        return 0

    return run_for_people(work, debug=False, program="beam_jobs.flink.workers")


if __name__ == "__main__":
    sys.exit(main())
