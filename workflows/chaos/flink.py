"""A Flink cluster on this machine whose task manager is killed while the encode job runs on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from beam_jobs.flink.artefacts import flink_classpath, java, job_server_classpath
from beam_jobs.flink.cluster import Cluster, standing
from shammie.errors import UserError
from workflows.chaos.processes import Process
from workflows.chaos.row import Fault, Row
from workflows.chaos.stage import PROCESSES_MB, Stage, telling
from workflows.chaos.subjects import encode

AFTER = 10  # units


def missing() -> str:
    """Why there can be no cluster here; "" where there can. Fetches what is not there yet."""
    try:
        java()
        flink_classpath()
        job_server_classpath()
    except UserError as error:
        return str(error)
    return ""


@contextmanager
def cluster(stage: Stage) -> Iterator[Cluster]:
    """A cluster of two task managers, stopped at the end."""
    with standing(str(stage.new_folder())) as found:
        yield found


def task_manager_killed(stage: Stage, cluster: Cluster) -> Row:
    """The encode job on a cluster of which one task manager is killed in the middle, and another one is started.

    Flink then runs what was in work again: the job ends well by itself, or its error says that the command resumes.
    """
    here = stage.subject("processes")
    clean, out = stage.clean(here), stage.new_folder()  # the same bytes whatever the runner
    subject = replace(here, words=encode(stage.folder, megabytes=PROCESSES_MB, flags=cluster.flags).words)
    with Process(subject.words(out)) as process:
        process.wait_until(lambda: subject.kept(out) >= AFTER)
        kept, before = subject.kept(out), cluster.task_managers_in()
        cluster.task_managers[0].kill()
        process.wait_until(lambda: cluster.task_managers_in() < before)
        cluster.add_task_manager()
        ended = process.end()
    wrong = "" if ended.code == 0 else telling(ended, "same command")
    wrong = wrong or ("it had ended before the kill" if kept >= clean.parts else "")
    fault = Fault("SIGKILL Flink task manager", f"{AFTER} units done", [ended], wrong, subject.at_once / clean.parts)
    return stage.resumed(subject, out, fault)
