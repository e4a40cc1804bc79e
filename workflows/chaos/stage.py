"""Where scenarios take place: clean runs are made once a job, faults in folders of their own, and the job resumed."""

import shutil
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workflows.chaos import subjects
from workflows.chaos.processes import Ended, run
from workflows.chaos.row import Fault, Row, judged
from workflows.chaos.subject import Clean, Subject, files_of

PROCESSES_MB = 30
RESUMES = 3  # a fault that stops a job for good would otherwise be resumed for ever
MAKE: dict[str, Callable[[Path], Subject]] = {
    "encode": subjects.encode,
    "processes": lambda folder: subjects.encode(folder, megabytes=PROCESSES_MB, flags=PROCESSES, at_once=2),
    "sweep": subjects.sweep,
    "dag": subjects.dag,
    "trainer": subjects.trainer,
}
PROCESSES = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")


@dataclass
class Stage:
    """A folder for the suite, and what it knows by now.

    Attributes:
        folder: where all of it lies.
        interval: seconds between two preemptions of the trainer.
        long: seconds that the job lasts by which the cost of a resume is measured.
        keep: leave each scenario's folder, for a look.
    """

    folder: Path
    interval: float = 30.0
    long: float = 60.0
    keep: bool = False
    _subjects: dict[str, Subject] = field(default_factory=dict)
    _clean: dict[str, Clean] = field(default_factory=dict)
    _count: int = 0

    def subject(self, name: str) -> Subject:
        """The job of that name in `MAKE`."""
        if name not in self._subjects:
            self._subjects[name] = MAKE[name](self.folder)
        return self._subjects[name]

    def clean(self, subject: Subject, runs: int = 2) -> Clean:
        """A job's clean run: of several, which must be equal, the quickest.

        Args:
            subject: the job.
            runs: how many; one will do where the same job of another size has had more.

        Raises:
            RuntimeError: a run fails, or the two differ: then no comparison means anything.
        """
        if subject.name not in self._clean:
            first, *others = (self._run_clean(subject) for _ in range(runs))
            for other in others:
                names = {*first.outputs, *other.outputs}
                differing = sorted(name for name in names if first.outputs.get(name) != other.outputs.get(name))
                if differing:
                    raise RuntimeError(f"two clean runs of {subject.name} differ: {differing[:3]}")
            self._clean[subject.name] = min((first, *others), key=lambda run: run.seconds)
        return self._clean[subject.name]

    def _run_clean(self, subject: Subject) -> Clean:
        out = self.new_folder()
        ended = self.finished(subject, out)
        found = Clean(ended.seconds, subject.kept(out), subject.outputs(out), subject.records(out), files_of(out))
        self.forget(out)
        return found

    def finished(self, subject: Subject, out: Path, faults: Mapping[str, Any] | None = None, *, code: int = 0) -> Ended:
        """Runs a job once.

        Raises:
            RuntimeError: it ends with another code.
        """
        ended = run(subject.words(out), faults)
        if ended.code != code:
            raise RuntimeError(f"{subject.name} ends with {ended.exit} where {code} is due: {ended.told}")
        return ended

    def prepared(self, name: str, subject: Subject, faults: Mapping[str, Any] | None = None, *, code: int = 0) -> Path:
        """The folder that a run left which ended with a code; made once, to be copied.

        Raises:
            RuntimeError: it ended with another.
        """
        folder = self.folder / name
        if not folder.exists():
            out = self.new_folder()
            self.finished(subject, out, faults, code=code)
            out.rename(folder)
        return folder

    def new_folder(self) -> Path:
        """The path of a folder that is not there yet."""
        self._count += 1
        return self.folder / f"out{self._count:03d}"

    def forget(self, out: Path) -> None:
        """Removes a scenario's folder, unless all are kept."""
        if not self.keep:
            shutil.rmtree(out, ignore_errors=True)

    def at_risk(self, subject: Subject, out: Path) -> float:
        """The most work, as a share of the whole, that a process which died in this folder had begun and not kept."""
        parts = self.clean(subject).parts
        return max(0, min(subject.at_once, parts - subject.kept(out))) / parts

    def resumed(self, subject: Subject, out: Path, fault: Fault) -> Row:
        """Runs the same command until it ends well, and judges what is there then."""
        ends: list[Ended] = []
        while len(ends) < RESUMES and (not ends or ends[-1].code):
            ends.append(run(subject.words(out)))
        row = judged(subject, self.clean(subject), out, fault, ends)
        self.forget(out)
        return row


def not_killed(ended: Ended) -> str:
    """What is wrong with the end of a command that was to be killed; "" for nothing."""
    return "" if ended.code == -signal.SIGKILL else f"was not killed: {ended.exit}: {ended.told}"


def telling(ended: Ended, *words: str, code: int = 2) -> str:
    """What is wrong with a command's end: another code, or a last line without these words; "" for nothing."""
    if ended.code != code:
        return f"ended with {ended.exit} instead of {code}: {ended.told}"
    missing = [word for word in words if word not in ended.told]
    return f"its error does not say {missing[0]!r}: {ended.told}" if missing else ""
