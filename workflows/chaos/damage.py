"""Files of a finished or killed run that are torn, cut, emptied or changed: they count as not written."""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

from workflows.chaos.processes import killed_by_itself, run
from workflows.chaos.row import Fault, Row
from workflows.chaos.stage import Stage
from workflows.chaos.subjects import checkpoints_in

Change = Callable[[bytes], bytes]


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


TORN: dict[str, Change] = {
    "empty": lambda data: b"",
    "its first byte": lambda data: data[:1],
    "a third of it": lambda data: data[: len(data) // 3],
    "all but its end": lambda data: data.rstrip()[:-1],
    "garbage": lambda data: bytes(range(256)) * 8,
    "half a UTF-8 letter": lambda data: '{"name": "é'.encode()[:-1],
    "100,000 brackets": lambda data: b"[" * 100_000,
    "outputs that are none": lambda data: data.replace(b'"bytes"', b'"bites"'),
}
HOW: dict[str, Change] = {
    "cut in half": lambda data: data[: len(data) // 2],
    "emptied": lambda data: b"",
    "a bit flipped": lambda data: _flipped(data, len(data) // 2),
}
CHECKPOINT = (  # how, and which file of the newest checkpoint; "" for the largest, "*" for that of all checkpoints
    ("cut in half", ""),
    ("emptied", ""),
    ("a bit flipped", ""),
    ("cut in half", "state/manifest.ocdbt"),
    ("emptied", "run/metadata"),
    ("a bit flipped", "checksums.json"),
    ("cut in half", "*"),
)


def step_json(stage: Stage, how: str, step: str = "dataset") -> Row:
    """A torn step.json: its step has not happened."""
    subject, out = stage.subject("dag"), stage.new_folder()
    shutil.copytree(stage.prepared("whole-dag", subject), out)
    (path,) = out.glob(f"{step}-*/step.json")
    path.write_bytes(TORN[how](path.read_bytes()))
    return stage.resumed(subject, out, Fault("torn step.json", how, []))


def checkpoint(stage: Stage, number: int) -> Row:
    """A damaged checkpoint: the trainer goes on from the one before, or starts over, and says so."""
    how, name = CHECKPOINT[number]
    subject, out = stage.subject("trainer"), stage.new_folder()
    at = killed_by_itself(signal.SIGKILL, r"checkpoints/\d+$", count=6)
    shutil.copytree(stage.prepared("killed-trainer", subject, at, code=-signal.SIGKILL), out)
    steps = checkpoints_in(out)
    damaged = steps if name == "*" else steps[-1:]
    for step in damaged:
        _change(out / "checkpoints" / str(step), name.strip("*"), HOW[how])
    begin = max(set(steps) - set(damaged), default=0)
    ended = run(subject.words(out))
    said = [f"checkpoint {step} of {out} is damaged: its " for step in damaged]
    wrong = "" if ended.code == 0 else f"ended with {ended.exit}: {ended.told}"
    wrong = wrong or next((f"does not say {words!r}" for words in said if words not in ended.said), "")
    clean = stage.clean(subject)
    point = f"{how}: {name.strip('*') or 'its largest file'}{' of each one' if name == '*' else ''}"
    redone = min(1.0, (steps[-1] + subject.at_once - begin) / clean.parts)
    return stage.resumed(subject, out, Fault("damaged checkpoint", point, [ended], wrong, redone))


def _change(folder: Path, name: str, how: Change) -> None:
    everything = [path for path in folder.rglob("*") if path.is_file()]
    path = folder / name if name else max(everything, key=lambda one: one.stat().st_size)
    path.write_bytes(how(path.read_bytes()))
