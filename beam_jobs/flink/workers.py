"""The pool of Python workers: Beam's own, mended for task managers that share a host.

Each task manager numbers its workers from 1, so that two of them ask one pool for workers of the same name; Beam's pool
(2.77) then ends one task manager's worker when the other is done with its own, and the job waits three minutes for
somebody who is dead. Here no worker is ended by its name: it ends by itself when its task manager hangs up.
"""

import argparse
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer


class WorkerPool(BeamFnExternalWorkerPoolServicer):
    """Starts a Python process for each worker that is asked for."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._asked = 0

    def StartWorker(self, start_worker_request: Any, unused_context: Any) -> Any:
        """Starts it; those that have ended are forgotten."""
        answer = super().StartWorker(start_worker_request, unused_context)
        started = self._worker_processes.pop(start_worker_request.worker_id, None)
        if started is not None:
            self._asked += 1
            self._worker_processes[f"{start_worker_request.worker_id} {self._asked}"] = started
        for name, process in list(self._worker_processes.items()):
            if process.poll() is not None:
                self._worker_processes.pop(name, None)
        return answer

    def StopWorker(self, stop_worker_request: Any, unused_context: Any) -> Any:
        """Leaves it to the worker."""
        return beam_fn_api_pb2.StopWorkerResponse()


def serve(host: str, port: int) -> grpc.Server:
    """A pool that listens at one address; Beam's own listens at all of them, and whoever reaches it can start code."""
    server = grpc.server(ThreadPoolExecutor(16))
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(WorkerPool(use_process=True), server)
    server.add_insecure_port(f"{host}:{port}")
    server.start()
    return server


def main(argv: list[str] | None = None) -> None:
    """Serves until it is stopped: --service_port PORT [--host HOST]."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--service_port", type=int, required=True, help="where to listen")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="the address to listen at (default: this machine alone). Whoever reaches it can start code here",
    )
    given = parser.parse_args(argv)
    server = serve(given.host, given.service_port)
    try:
        threading.Event().wait()
    finally:
        server.stop(0)


if __name__ == "__main__":
    main(sys.argv[1:])
