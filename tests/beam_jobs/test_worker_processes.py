"""Worker processes that die: the job ends with one line, whether they had begun or not."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from apache_beam.runners.portability import local_job_service

from beam_jobs import worker_processes
from beam_jobs.worker_processes import run_with_processes
from shammie.errors import UserError


def start(command: str):
    return vars(local_job_service)["subprocess"].Popen(command, shell=True)


def test_one_that_dies_before_it_connects_does_not_stall_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_processes, "PATIENCE_S", 0.3)
    workers = []

    def waits_for_ever() -> None:
        workers.extend((start("sleep 60"), start("sleep 60")))
        os.kill(workers[0].pid, signal.SIGKILL)
        threading.Event().wait()

    began = time.monotonic()
    with pytest.raises(UserError, match="a worker process was killed or ran out of memory; run the same command again"):
        run_with_processes(waits_for_ever)
    assert time.monotonic() - began < 10
    assert workers[1].wait(10) == -signal.SIGKILL, "the others end with the job"


def test_results_and_errors_pass_through() -> None:
    assert run_with_processes(lambda: start("true").wait()) == 0
    with pytest.raises(ZeroDivisionError):
        run_with_processes(lambda: 1 / 0)

    def fails() -> None:
        start("false").wait()  # a worker that an error ends: the error is what to tell
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run_with_processes(fails)
    assert vars(local_job_service)["subprocess"].__name__ == "subprocess", "Beam's own module is put back"


PROGRAM = """
import signal, sys
import apache_beam as beam
from beam_jobs.runner import run_pipeline
from shammie.errors import run_for_people

def build(pipeline):
    numbers = pipeline | beam.Create([signal.SIGKILL.value]) | beam.Reshuffle()
    numbers | beam.Map(signal.raise_signal)

flags = ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]
sys.exit(run_for_people(lambda: run_pipeline(build, flags), program="job"))
"""


@pytest.mark.slow
def test_one_that_dies_at_work_ends_the_job() -> None:
    # a process of its own: Beam's threads complain of the dead long after
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "job: a worker process was killed or ran out of memory; run the same command again, finished work is kept;"
        " with fewer --direct_num_workers it takes less memory"
    )
