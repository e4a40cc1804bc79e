"""Killed processes: the driver at chosen points, a worker of its own, a Flink task manager; preempted trainers."""

import os
import signal
from dataclasses import replace

from workflows.chaos import flink
from workflows.chaos.processes import Process, children_of, killed_by_itself, run, words_of
from workflows.chaos.row import SKIPPED, Fault, Row
from workflows.chaos.stage import Stage, not_killed, telling
from workflows.chaos.subjects import checkpoints_in, rows_of
from workflows.train import checksums

LIVES = 2.0  # of the preempted trainer, by what it computes: importing and compiling make them more
DRIVER = {  # job to points: the name of a file that appears, how often before, and whether it has appeared
    "encode": (
        ("plan written", r"_work\.train/plan\.json$", 1, "after"),
        ("5 of 40 units", r"units/\d+\.json$", 5, "after"),
        ("20th unit's report torn off", r"units/\d+\.json$", 20, "before"),
        ("2 of 6 shards", r"shards/\d+\.json$", 2, "after"),
        ("manifest about to appear", r"manifest\.train\.json$", 1, "before"),
        ("COMPLETED about to appear", r"COMPLETED$", 1, "before"),
    ),
    "sweep": (
        ("3 of 8 groups", r"cells/\w+\.json$", 3, "after"),
        ("5th group's rows without record", r"cells/\w+\.json$", 5, "before"),
    ),
    "dag": (
        ("first step about to count", r"/text-\w+$", 1, "before"),
        ("middle of a step's Beam job", r"units/\d+\.json$", 12, "after"),
        ("step.json written, not in place", r"/dataset-\w+/step\.json$", 1, "after"),
        ("second step in place", r"/dataset-\w+$", 1, "after"),
    ),
    "trainer": (
        ("first checkpoint about to appear", r"checkpoints/\d+$", 1, "before"),
        ("third checkpoint in place", r"checkpoints/\d+$", 3, "after"),
    ),
}


def driver(stage: Stage, job: str, point: int) -> Row:
    """SIGKILL of the driver."""
    subject, out = stage.subject(job), stage.new_folder()
    words, at, count, when = DRIVER[job][point]
    ended = run(subject.words(out), killed_by_itself(signal.SIGKILL, at, count=count, when=when))
    redone = stage.at_risk(subject, out)
    return stage.resumed(subject, out, Fault("SIGKILL driver", words, [ended], not_killed(ended), redone))


def worker(stage: Stage, after: int) -> Row:
    """SIGKILL of one worker process of the in-process runner."""
    subject, out = stage.subject("processes"), stage.new_folder()
    stage.clean(subject)
    with Process(subject.words(out)) as process:

        def workers() -> list[int]:
            return [pid for pid in children_of(process.pid) if "sdk_worker_main" in words_of(pid)]

        process.wait_until(lambda: bool(workers()) and subject.kept(out) >= after)
        found = workers()
        if found:
            os.kill(found[-1], signal.SIGKILL)
        ended = process.end()
    wrong = telling(ended, "a worker process was killed", "run the same command again")
    left = [pid for pid in found if "sdk_worker_main" in words_of(pid)]
    wrong = wrong or (f"{len(left)} workers live on" if left else "")
    point = f"{after} units done" if after else "as it starts"
    return stage.resumed(subject, out, Fault("SIGKILL SDK worker", point, [ended], wrong, stage.at_risk(subject, out)))


def task_manager(stage: Stage) -> Row:
    """SIGKILL of a Flink task manager; a skip where there is no Flink."""
    missing = flink.missing()
    if missing:
        return Row("SIGKILL Flink task manager", "encode", "mid-job", verdict=SKIPPED, why=missing)
    with flink.cluster(stage) as cluster:
        return flink.task_manager_killed(stage, cluster)


def preempted(stage: Stage) -> Row:
    """SIGTERM to the trainer at each interval from its start, until it is done."""
    from workflows.chaos.subjects import trainer

    short = stage.subject("trainer")
    out = stage.new_folder()
    stage.finished(short, out)
    rate = rows_of(out)[-1]["steps_per_s"]
    stage.forget(out)
    # longer than two lives; checkpoints are rare, so that only those which a signal asks for help
    steps = max(200, int(rate * stage.interval * LIVES) // 5 * 5)
    every = steps // 2 // 5 * 5
    subject, out = trainer(stage.folder, steps=steps, checkpoint_every=every), stage.new_folder()
    subject = replace(subject, name="trainer, long")
    stage.clean(subject, runs=1)
    ends, wrong = [], ""
    while not ends or (ends[-1].code != 0 and not wrong and len(ends) < 100):
        with Process(subject.words(out)) as process:
            ends.append(process.end(stop_after=stage.interval))
        if ends[-1].code not in (0, -signal.SIGTERM):  # before it listens, the signal simply ends it
            wrong = telling(ends[-1], "stopped by SIGTERM; the same command resumes", code=128 + signal.SIGTERM)
    stops = len(ends) - 1
    seconds = sum(one.seconds for one in ends)
    point = f"every {stage.interval:g} s: {stops} times, {seconds:.0f} s in all"
    if ends[-1].code and not wrong:
        wrong = f"it did not end in {len(ends)} tries"
    if not any(one.code == 128 + signal.SIGTERM for one in ends):
        wrong = wrong or "no SIGTERM was answered"
    if stops < 2:
        wrong = wrong or f"only {stops} preemptions: nothing was tried"
    # the trainer keeps its newest checkpoints, and one that a signal asked for is as good as any
    extra = [f"checkpoints/{step}" for step in checkpoints_in(out) if step % every and step != steps]
    asked = tuple(f"{name}/" for name in extra if not checksums.damage(str(out / name)))
    return stage.resumed(subject, out, Fault("SIGTERM trainer", point, ends, wrong, leaves=asked))
