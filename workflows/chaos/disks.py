"""A full disk, really: a small file system in memory that another file fills while the job is halted; reads that fail.

Mounting one takes a namespace of its own (`unshare`), into which `workflows.chaos` puts itself where it can.
"""

import errno
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workflows.chaos.processes import Process, killed_by_itself, run
from workflows.chaos.row import SKIPPED, Fault, Row
from workflows.chaos.stage import Stage, telling

SIZE_MB = 400
FULL = {  # job to points: after the count-th file of that name has appeared the disk is full
    "encode": (("10 of 40 units", r"units/\d+\.json$", 10), ("1 of 6 shards", r"shards/\d+\.json$", 1)),
    "sweep": (("2 of 8 groups", r"cells/\w+\.json$", 2),),
    "dag": (("first step done", r"/text-\w+$", 1), ("10 of a Beam job's 40 units", r"units/\d+\.json$", 10)),
    "trainer": (("second checkpoint in place", r"checkpoints/\d+$", 2),),
}
READS = {  # job to points: the file that cannot be read, and from which byte on
    "encode": (("half of its input", "text8.txt", 4_000_000), ("what a unit left for the shards", "000010.sorted", 9)),
    "dag": (("half of a step's input", "text.txt", 2_000_000),),
}


class NoMount(Exception):
    """This process may not mount."""


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of its own at a folder, made where missing.

    Raises:
        NoMount: this process may not mount.
    """
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "shammie-chaos", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoMount(done.stderr.strip())
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(ballast: Path) -> None:
    """Writes a file until there is no byte left on its disk."""
    with open(ballast, "wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(b"\1" * size)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


def full(stage: Stage, job: str, point: int) -> Row:
    """The disk fills up; the error says which and what to do; with room again, the job resumes."""
    subject, place = stage.subject(job), stage.new_folder()
    words, at, count = FULL[job][point]
    stage.clean(subject)
    try:
        with small_disk(place):
            out = place / "out"
            with Process(subject.words(out), killed_by_itself(signal.SIGSTOP, at, count=count)) as process:
                process.wait_until(process.stopped)
                fill(place / "ballast")
                process.send(signal.SIGCONT)
                ended = process.end()
            wrong = telling(ended, str(out), "the disk is full: free some room and run the same command again")
            (place / "ballast").unlink()
            fault = Fault("full disk", words, [ended], wrong, stage.at_risk(subject, out))
            return stage.resumed(subject, out, fault)
    except NoMount as error:
        why = f"no file system can be mounted here: {error}"
        return Row("full disk", subject.name, words, verdict=SKIPPED, why=why)


def unreadable(stage: Stage, job: str, point: int) -> Row:
    """A file cannot be read from some byte on; the next time it can."""
    subject, out = stage.subject(job), stage.new_folder()
    words, path, after = READS[job][point]
    stage.clean(subject)
    ended = run(subject.words(out), {"read": {"path": path, "after": after}})
    wrong = telling(ended, path, "run the same command again")
    fault = Fault("read error (EIO)", words, [ended], wrong, stage.at_risk(subject, out))
    return stage.resumed(subject, out, fault)


def namespace() -> list[str]:
    """The words before a command that give it a namespace in which it may mount; empty where there is none."""
    words = ["unshare", "--user", "--map-root-user", "--mount"]
    try:
        probe = subprocess.run([*words, "true"], capture_output=True, check=False, env=os.environ)
    except FileNotFoundError:
        return []
    return words if probe.returncode == 0 else []
