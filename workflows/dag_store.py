"""An output directory: what is in it, what counts, and how a step's output comes to count.

    OUT/.shammie             marks the directory as ours, and says whose
    OUT/.lock                the driver that holds it
    OUT/.partial/STEP-HASH/  work in progress; survives a kill
    OUT/.cells/NAME/         what steps share, named by its own content (`Running.shared`); no step's output
    OUT/STEP-HASH/           finished output, with step.json

What is guaranteed: step.json is the last file written in a step's directory, and a local directory
gets its final name by one rename after that. A kill at any moment leaves either a finished step or
a partial one. Object stores cannot rename a directory: there work happens in the final place and
the appearance of step.json alone is the commit. Either way a directory without a valid step.json,
or whose files are not those that it lists, has not happened.
"""

import os
from typing import Any

from shammie import files
from shammie.errors import UserError
from workflows.dag_step import Source, Step

MARKER, RECORD, PARTIAL = ".shammie", "step.json", ".partial"
FORMAT = 1
_ALWAYS_WELCOME = {".lock", ".DS_Store"}


def claim(out: str, owner: str) -> None:
    """Makes OUT ours, or refuses: it must be new, empty, or an earlier run of the same owner.

    Args:
        out: the output directory.
        owner: the system's name.
    """
    marker = files.join(out, MARKER)
    if files.exists(out) and not files.is_directory(out):
        raise UserError(f"{out} is a file", "choose another --out")
    if files.exists(marker):
        holds = _read_object(marker)
        if holds.get("format") != FORMAT:
            raise UserError(f"{out} was written by another version of shammie", "choose another --out")
        if holds.get("owner") != owner:
            raise UserError(f"{out} holds a run of {holds.get('owner')}, not of {owner}", "choose another --out")
        return
    strangers = [n for n in files.list_directory(out) if n not in _ALWAYS_WELCOME and not files.is_leftover(n)]
    if strangers:
        raise UserError(f"{out} holds files that are not shammie's, such as {strangers[0]}", "choose another --out")
    files.make_directory(out)
    files.write_json(marker, {"format": FORMAT, "owner": owner})


def is_run(out: str) -> bool:
    """Whether OUT is an output directory of ours."""
    return files.exists(files.join(out, MARKER))


def owner_of(out: str) -> str:
    """The system that OUT belongs to; UserError where OUT is no run."""
    if not is_run(out):
        raise UserError(f"{out} holds no run", "shammie run SYSTEM --out DIR makes one")
    return str(_read_object(files.join(out, MARKER)).get("owner"))


def final_directory(out: str, step: Step) -> str:
    """Where a step's finished output lies."""
    return files.join(out, step.directory_name)


def record_of(out: str, step: Step) -> dict[str, Any] | None:
    """The step's record if it has happened: step.json is valid and every output is there in its size."""
    record = _read_object(files.join(final_directory(out, step), RECORD))
    return record if record.get("identity") == step.identity and not damage(out, step) else None


def damage(out: str, step: Step) -> str:
    """What is wrong with a step's directory, in a few words; "" if nothing is, or it has never been."""
    directory = final_directory(out, step)
    if not files.exists(directory):
        return ""
    record = _read_object(files.join(directory, RECORD))
    if not _has_outputs(record):
        return "its step.json is missing or broken"
    sizes = files.file_sizes(directory)
    for name, about in record["outputs"].items():
        if not isinstance(about, dict) or not {"bytes", "sha256"} <= set(about):
            return "its step.json is missing or broken"
        if name not in sizes:
            return f"its output {name} is missing"
        if sizes[name] != about["bytes"]:
            return f"its output {name} has {sizes[name]} bytes instead of {about['bytes']}"
    return ""


def load_records(out: str) -> list[dict[str, Any]]:
    """Every valid step.json in OUT, oldest first, each with its "directory" added."""
    found = []
    for name in files.list_directory(out):
        directory = files.join(out, name)
        record = {} if name.startswith(".") else _read_object(files.join(directory, RECORD))
        if isinstance(record.get("identity"), str) and isinstance(record.get("name"), str) and _has_outputs(record):
            found.append(record | {"directory": directory})
    return sorted(found, key=lambda record: str(record.get("finished", "")))


def begin(out: str, step: Step) -> str:
    """The directory to work in: that of a killed earlier try where there is one, else a new one."""
    final = final_directory(out, step)
    if not files.is_local(out):
        if files.exists(files.join(final, RECORD)):
            files.remove(final)  # its outputs are not those recorded
        files.make_directory(final)
        return final
    partial = files.join(out, PARTIAL, step.directory_name)
    if files.exists(final):
        files.remove(final)
    files.make_directory(partial)
    files.remove(files.join(partial, RECORD))
    files.remove_leftovers(partial, below=True)  # of the killed try: they would be taken for outputs
    return partial


def reject(directory: str) -> str:
    """Puts an invalid output aside, for a look, so that the next try starts afresh; returns its new place."""
    if not files.is_local(directory):
        return directory
    aside = f"{directory}.invalid"
    files.remove(aside)
    os.rename(directory, aside)
    return aside


def outputs_of(directory: str) -> dict[str, dict[str, Any]]:
    """Size and sha256 of each file below a directory, step.json aside."""
    return {
        name: {"bytes": size, "sha256": files.sha256_of(files.join(directory, name))}
        for name, size in files.file_sizes(directory).items()
        if name != RECORD
    }


def commit(out: str, step: Step, directory: str, record: dict[str, Any]) -> str:
    """Makes a finished directory count; returns its final place."""
    final = final_directory(out, step)
    files.write_json(files.join(directory, RECORD), record)
    if files.is_local(out):
        files.sync_directory(directory)
        os.rename(directory, final)
        files.sync_directory(out)
    return final


def describe_input(given: Step | Source, made: dict[str, str]) -> dict[str, Any]:
    """An input as a record keeps it.

    Args:
        given: the input.
        made: identity to digest of outputs, for steps that are finished.
    """
    if isinstance(given, Source):
        return {"source": given.name, "identity": given.identity, "manifest": dict(given.manifest)}
    return {"step": given.name, "identity": given.identity, "outputs": made[given.identity]}


def digest_of_outputs(record: dict[str, Any]) -> str:
    """One hash of all the bytes that a step made."""
    return files.digest({name: about["sha256"] for name, about in record["outputs"].items()})


def _has_outputs(record: dict[str, Any]) -> bool:
    """Whether a record lists its outputs as `outputs_of` does."""
    outputs = record.get("outputs")
    return isinstance(outputs, dict) and all(
        isinstance(about, dict) and type(about.get("bytes")) is int and isinstance(about.get("sha256"), str)
        for about in outputs.values()
    )


def _read_object(path: str) -> dict[str, Any]:
    try:
        value = files.read_json(path)
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
