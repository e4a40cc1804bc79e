"""Two drivers at once, a clock that jumps, and what killed runs leave about."""

import os
import signal
from pathlib import Path

from shammie.lock import host
from workflows.chaos.processes import Process, killed_by_itself, run
from workflows.chaos.row import Fault, Row
from workflows.chaos.stage import Stage, not_killed, telling

MIDDLE = {  # job to a file of its middle: its name, and how often it has appeared then
    "encode": (r"units/\d+\.json$", 15),
    "sweep": (r"cells/\w+\.json$", 3),
    "dag": (r"units/\d+\.json$", 15),
    "trainer": (r"checkpoints/\d+$", 2),
}
JUMP_S, LOOKS = 86_400.0, 3
LEFT = "tmp-0123abcd"


def two_drivers(stage: Stage, job: str) -> Row:
    """A second driver on the folder of one that is at work: refused, and the first goes on as if it had not been."""
    subject, out = stage.subject(job), stage.new_folder()
    at, count = MIDDLE[job]
    with Process(subject.words(out), killed_by_itself(signal.SIGSTOP, at, count=count)) as first:
        first.wait_until(first.stopped)
        second = run(subject.words(out))
        wrong = telling(second, f"held by process {first.pid} on {host()} since")
        first.send(signal.SIGCONT)
        ended = first.end()
    wrong = wrong or ("" if ended.code == 0 else f"the first ended with {ended.exit}: {ended.told}")
    return stage.resumed(subject, out, Fault("two drivers", "the first at work", [second, ended], wrong))


def jumping_clock(stage: Stage, job: str) -> Row:
    """The wall clock jumps a day to and fro; the job is killed, and ends under a clock that jumps as well."""
    subject, out = stage.subject(job), stage.new_folder()
    at, count = MIDDLE[job]
    clock = {"clock": {"jump": JUMP_S, "every": LOOKS}}
    killed = run(subject.words(out), {**clock, **killed_by_itself(signal.SIGKILL, at, count=count)})
    redone = stage.at_risk(subject, out)
    ended = run(subject.words(out), clock)
    wrong = not_killed(killed) or ("" if ended.code == 0 else f"ended with {ended.exit}: {ended.told}")
    return stage.resumed(subject, out, Fault("clock ± 1 day", "throughout", [killed, ended], wrong, redone))


def _is_written_to(folder: Path) -> bool:
    """Whether our writers put files right into a folder of an unfinished run."""
    if not folder.is_dir() or folder.name in (".partial", "checkpoints") or "checkpoints" in folder.parts:
        return False
    return not (folder / "step.json").exists()


def debris(stage: Stage, job: str) -> Row:
    """Temporary files and folders of killed writers lie wherever one may have been.

    A sweep's store may be shared by others at work, and only the folder of its own kind is cleaned.
    """
    subject, out = stage.subject(job), stage.new_folder()
    at, count = MIDDLE[job]
    ended = run(subject.words(out), killed_by_itself(signal.SIGKILL, at, count=count))
    redone = stage.at_risk(subject, out)
    for folder in filter(_is_written_to, [*([] if job == "sweep" else [out]), *out.rglob("*")]):
        (folder / f"step.json.{LEFT}").write_bytes(b'{"half": ')
        (folder / f"00001.{LEFT}").write_bytes(os.urandom(100))
    if job == "trainer":
        half = out / "checkpoints" / "399.orbax-checkpoint-tmp"
        half.mkdir()
        (half / "array").write_bytes(b"half")
    fault = Fault("stale temporary files", "wherever one writes", [ended], not_killed(ended), redone)
    return stage.resumed(subject, out, fault)
