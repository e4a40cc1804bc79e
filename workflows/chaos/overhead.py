"""What a kill and a resume cost: a job that lasts a minute, unbroken and killed once at half of its work."""

import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from workflows.chaos import subjects
from workflows.chaos.processes import Ended, killed_by_itself
from workflows.chaos.stage import Stage
from workflows.chaos.subject import Subject

GOAL = 0.05
PROBE = 30  # times the small job's text: tells how fast more of it is
JOBS = {  # to the file whose count-th is half of the work
    "encode": (r"units/\d+\.json$", subjects.UNITS // 2),
    "trainer": (r"checkpoints/\d+$", 10),
}


def _long(stage: Stage, job: str) -> Subject:
    """The job at a size that lasts about `stage.long` seconds, by what the small one took."""
    small = stage.subject(job)
    if job == "encode":
        start = stage.clean(small).seconds
        out, probe = stage.new_folder(), _encode(stage, PROBE)
        seconds = max(stage.finished(probe, out).seconds - start, 0.1)
        stage.forget(out)
        times = 1 + (PROBE - 1) * (stage.long - start) / seconds
        return replace(_encode(stage, max(1, round(times))), name="encode, long")
    out = stage.new_folder()
    stage.finished(small, out)
    rate = subjects.rows_of(out)[-1]["steps_per_s"]
    stage.forget(out)
    every = max(10, int(rate * stage.long / 20) // 10 * 10)
    found = subjects.trainer(stage.folder, steps=20 * every, checkpoint_every=every)
    return replace(found, name="trainer, long")


def _encode(stage: Stage, times: int) -> Subject:
    """The encode job of the small one's text, so many times over."""
    megabytes = 8.0 * times
    path = stage.folder / f"text{megabytes:g}.txt"
    if not path.exists():
        data = (stage.folder / "text8.txt").read_bytes()
        with open(path, "wb") as file:
            for _ in range(times):
                file.write(data)
    return subjects.encode(stage.folder, megabytes=megabytes)


def measured(stage: Stage, job: str) -> dict[str, Any]:
    """Seconds, of the clock and of the processor, of a clean run, a run killed at half, its resume, and a start.

    Clean runs are before and after the broken one, and their mean counts. A start is a run of the finished job, which
    has nothing to do: what the programme itself takes.

    Raises:
        RuntimeError: a run does not end as it should.
    """
    subject = _long(stage, job)
    at, count = JOBS[job]
    out, broken, after = (stage.new_folder() for _ in range(3))

    def timed(what: str, folder: Path, faults: dict[str, Any] | None = None, code: int = 0) -> Ended:
        ended = stage.finished(subject, folder, faults, code=code)
        print(f"{subject.name}, {what}: {ended.seconds:.1f} s, {ended.cpu:.1f} s of processor time", file=sys.stderr)
        return ended

    clean = [timed("clean", out)]
    killed = timed("killed at half", broken, killed_by_itself(signal.SIGKILL, at, count=count), -signal.SIGKILL)
    kept = subject.kept(broken)
    resumed = timed("resumed", broken)
    start = timed("nothing left to do", broken)
    clean.append(timed("clean again", after))
    equal = subject.outputs(broken) == subject.outputs(out) == subject.outputs(after)
    parts = subject.kept(out)
    for folder in (out, broken, after):
        stage.forget(folder)

    def of(which: str) -> dict[str, float]:
        def seconds(ended: Ended) -> float:
            return getattr(ended, which)

        whole = sum(map(seconds, clean)) / len(clean)
        more = seconds(killed) + seconds(resumed) - whole
        return {
            f"clean_{which}": round(whole, 2),
            f"killed_{which}": round(seconds(killed), 2),
            f"resumed_{which}": round(seconds(resumed), 2),
            f"start_{which}": round(seconds(start), 2),
            f"overhead_{which}": round(more / whole, 4),
            f"overhead_without_start_{which}": round((more - seconds(start)) / whole, 4),
        }

    spread = abs(clean[0].seconds - clean[1].seconds) / max(clean[0].seconds, clean[1].seconds)
    shares = {"kept_share": round(kept / parts, 3), "clean_spread": round(spread, 3)}
    return {"job": subject.name, "equal": equal, **shares, **of("seconds"), **of("cpu")}


def told(found: dict[str, Any]) -> str:
    """What was measured, in a line."""
    return (
        f"resume of {found['job']}: {found['overhead_seconds']:+.1%} of a clean run of {found['clean_seconds']:.0f} s,"
        f" of which starting again is {found['start_seconds']:.1f} s; without that"
        f" {found['overhead_without_start_seconds']:+.1%} (processor time {found['overhead_cpu']:+.1%});"
        f" goal: at most {GOAL:.0%}"
    )
