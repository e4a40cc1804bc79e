"""Steps that are run once: content-addressed, resumable, one driver at a time.

A system declares `Step`s; `run` makes what is missing, `plan` says what that would be. The layout
of an output directory and what is guaranteed about it are in `workflows.dag_store`.
"""

import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from shammie import files
from shammie.errors import UserError, unknown
from shammie.lock import holding, host
from workflows import dag_store, provenance
from workflows.dag_plan import Row, doubt, plan
from workflows.dag_step import JSON, Running, Source, Step, in_order, source_of_files
from workflows.dag_store import load_records

__all__ = ["JSON", "Done", "Row", "Running", "Source", "Step", "load_records", "plan", "run", "source_of_files"]

Event = Literal["cached", "running", "done", "failed"]
Tell = Callable[[Step, Event, float], None]


@dataclass(frozen=True)
class Done:
    """A finished step: its directory, whether this run ran it, and the seconds that took (0 if it was cached)."""

    step: Step
    directory: str
    ran: bool
    seconds: float


def run(
    targets: Iterable[Step],
    out: str,
    *,
    owner: str = "steps",
    only: str | None = None,
    strict: bool = False,
    take_over: bool = False,
    tell: Tell = lambda step, event, seconds: None,
    before: Callable[[], None] = lambda: None,
) -> list[Done]:
    """Makes the targets, and whatever they need that is not there yet, one step at a time.

    Args:
        targets: the steps wanted.
        out: the output directory, local or remote.
        owner: whose run this is; an OUT of another owner is refused.
        only: the name of a step: only that one is wanted, of all that the targets stand on.
        strict: also run again what was made by other source code or from other bytes.
        take_over: replace a driver on another host, known to be dead.
        tell: called as each step is found cached, starts, is done (with seconds) or fails.
        before: called once OUT is held, before the first step.

    Returns:
        The targets and the steps that had to run for them, inputs first.

    Raises:
        UserError: OUT is not ours or is held by another driver, `only` names no step, or an output is invalid.
    """
    targets = list(targets)
    if only is not None:
        every = in_order(targets)
        targets = [step for step in every if step.name == only]
        if not targets:
            raise unknown("step", only, sorted({step.name for step in every}))
    dag_store.claim(out, owner)
    with holding(out, option="--out", if_dead="add --take-over", take_over=take_over):
        files.remove_leftovers(out)
        before()
        return _Driver(out, strict, tell).make_all(targets)


class _Driver:
    """The state of one run: what is finished, by identity."""

    def __init__(self, out: str, strict: bool, tell: Tell) -> None:
        self.out, self.strict, self.tell = out, strict, tell
        self.records: dict[str, dict[str, Any]] = {}
        self.done: dict[str, Done] = {}

    def make_all(self, targets: list[Step]) -> list[Done]:
        for target in targets:
            self.make(target)
        return list(self.done.values())

    def make(self, step: Step) -> None:
        if step.identity in self.done:
            return
        inputs = {word: given for word, given in step.inputs.items() if isinstance(given, Step)}
        record = dag_store.record_of(self.out, step)
        if record and self.strict:
            for given in inputs.values():
                self.make(given)
            if doubt(step, record, self.records):
                record = None
        if record:
            self._finish(step, record, ran=False, seconds=0.0)
            return
        for given in inputs.values():
            self.make(given)
        started = time.monotonic()
        self.tell(step, "running", 0.0)
        try:
            record = self._run(step, inputs)
        except BaseException:
            self.tell(step, "failed", time.monotonic() - started)
            raise
        self._finish(step, record, ran=True, seconds=record["seconds"])

    def _finish(self, step: Step, record: dict[str, Any], *, ran: bool, seconds: float) -> None:
        self.records[step.identity] = record
        self.done[step.identity] = Done(step, dag_store.final_directory(self.out, step), ran, seconds)
        self.tell(step, "done" if ran else "cached", seconds)

    def _run(self, step: Step, inputs: Mapping[str, Step]) -> dict[str, Any]:
        directory = dag_store.begin(self.out, step)
        directories = {word: self.done[given.identity].directory for word, given in inputs.items()}
        running = Running(step, directory, directories, self.out)
        source = provenance.source_hash(step.run, step.code)
        git, started, clock, before = provenance.git_state(), time.time(), time.monotonic(), _core_seconds()
        returned = step.run(running) or {}
        counters = running.counters | dict(returned)
        seconds, core_seconds = time.monotonic() - clock, _core_seconds() - before
        if step.validate:
            try:
                step.validate(directory)
            except ValueError as error:
                aside = dag_store.reject(directory)
                raise UserError(
                    f"step {step.name} made an invalid output: {error}", f"it is kept in {aside}"
                ) from error
        made = {identity: dag_store.digest_of_outputs(record) for identity, record in self.records.items()}
        record = {
            "name": step.name,
            "version": step.version,
            "identity": step.identity,
            "config": dict(step.config),
            "inputs": {word: dag_store.describe_input(given, made) for word, given in step.inputs.items()},
            "source": source,
            "argv": provenance.command(),
            "git": git,
            "packages": provenance.package_versions(),
            "host": host(),
            "started": _utc(started),
            "finished": _utc(time.time()),
            "seconds": round(seconds, 3),
            "core_seconds": round(core_seconds, 3),
            "counters": _plain(counters),
            "outputs": dag_store.outputs_of(directory),
        }
        dag_store.commit(self.out, step, directory, record)
        return record


def _core_seconds() -> float:
    """User and system time of this process and of those that it started and that have ended."""
    return sum(os.times()[:4])


def _plain(value: Any) -> JSON:
    """A counter as JSON has it: an array library's scalars become Python's, and what JSON lacks becomes text.

    A long step must not fail at its very end because of what it counted.
    """
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
