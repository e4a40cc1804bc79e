"""The in-process runner's workers that are processes of their own: a job whose worker dies ends, and says so.

Beam does not watch them: where one is killed before it has connected, the job waits for it for ever.
"""

import subprocess
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, TypeVar

from apache_beam.runners.portability import local_job_service

from shammie.errors import UserError

PATIENCE_S = 5.0  # for the pipeline to end by itself once a worker has died
_LOOK_S = 0.1
T = TypeVar("T")


def run_with_processes(run: Callable[[], T]) -> T:
    """Calls what runs a pipeline, on a thread, and watches the worker processes that Beam starts meanwhile.

    Args:
        run: builds and runs the pipeline, and waits for its end.

    Raises:
        UserError: a worker was killed.
        BaseException: what `run` raises, where no worker died of its own.
    """
    workers: list[subprocess.Popen[Any]] = []
    ended: list[Callable[[], T]] = []

    def start(command: str, **settings: Any) -> subprocess.Popen[Any]:
        # in place of the shell, so that the number is the worker's
        worker = subprocess.Popen(f"exec {command}", **settings)
        workers.append(worker)
        return worker

    def work() -> None:
        try:
            value = run()
            ended.append(lambda: value)
        except BaseException as error:
            ended.append(lambda error=error: _raise(error))

    before = local_job_service.__dict__["subprocess"]
    local_job_service.__dict__["subprocess"] = SimpleNamespace(Popen=start)
    thread = threading.Thread(target=work, name="pipeline", daemon=True)
    try:
        thread.start()
        seen = None
        while thread.is_alive():
            thread.join(_LOOK_S)
            if seen is None and any(worker.poll() for worker in workers):
                seen = time.monotonic()
            if seen is not None and time.monotonic() - seen > PATIENCE_S:
                break
    except BaseException:
        _kill(workers)
        raise
    finally:
        local_job_service.__dict__["subprocess"] = before
    killed = any((worker.poll() or 0) < 0 for worker in workers)  # a worker that an error ends has a code above 0
    if not thread.is_alive() and not (killed and _failed(ended)):
        return ended[0]()
    codes = [worker.poll() for worker in workers]
    _kill(workers)
    if not killed:
        raise UserError(
            f"a worker process ended with code {next(filter(None, codes))}", "--debug shows what it said before"
        )
    raise UserError(
        "a worker process was killed or ran out of memory",
        "run the same command again, finished work is kept; with fewer --direct_num_workers it takes less memory",
    )


def _kill(workers: list[subprocess.Popen[Any]]) -> None:
    for worker in workers:
        if worker.poll() is None:
            worker.kill()
            worker.wait()


def _failed(ended: list[Callable[[], Any]]) -> bool:
    try:
        ended[0]()
    except Exception:
        return True
    return False


def _raise(error: BaseException) -> Any:
    raise error
