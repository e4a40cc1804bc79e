"""What a DAG is made of: sources from outside, and steps identified by what goes into them."""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from shammie import files
from shammie.errors import UserError
from shammie.file_hashes import sha256_of_files
from shammie.progress import Progress

if TYPE_CHECKING:
    from workflows.cost_model import Cost, Rates

JSON = None | bool | int | float | str | Sequence["JSON"] | Mapping[str, "JSON"]

SHARED = ".cells"  # below OUT; its name keeps it apart from steps

_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, eq=False)
class Source:
    """Something from outside, identified by its content.

    Args:
        name: one word.
        manifest: logical name to sha256 in hex; no path of this machine.
        paths: logical name to where it lies now; no part of the identity.
    """

    name: str
    manifest: Mapping[str, str]
    paths: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def identity(self) -> str:
        """sha256, in hex, of the name and the manifest."""
        return files.digest({"source": self.name, "manifest": dict(self.manifest)})


def source_of_files(name: str, paths: Iterable[str | os.PathLike[str]]) -> Source:
    """A source made of files, named by their place below the deepest folder that holds them all.

    Args:
        name: the source's name.
        paths: files, local or remote; hashes are remembered by size and time.

    Raises:
        UserError: there are none, one is missing, or one is a directory.
    """
    listed = sorted({os.fspath(path) for path in paths})
    if not listed:
        raise UserError(f"{name}: no input files", "name at least one")
    for path in listed:
        if not files.exists(path):
            raise UserError(f"{path}: no such file", "check the path")
        if files.is_directory(path):
            raise UserError(f"{path}: is a directory", "name the files in it")
    full = {path: os.path.abspath(path) if files.is_local(path) else path for path in listed}
    folders = [place.split("/")[:-1] for place in full.values()]
    shared = next((n for n, words in enumerate(zip(*folders, strict=False)) if len(set(words)) > 1), None)
    depth = min(map(len, folders)) if shared is None else shared
    logical = {path: "/".join(place.split("/")[depth:]) for path, place in full.items()}
    hashes = sha256_of_files(listed)
    return Source(name, {logical[p]: hashes[p] for p in listed}, {logical[p]: p for p in listed})


@dataclass(frozen=True, eq=False)
class Step:
    """One step: a function from finished inputs to a directory of output.

    Two steps with the same name, version, config and inputs are the same step. The code is no part
    of the identity, so that a log line does not retrain a model: raise `version` when the output
    changes. The code's hash is recorded, and `plan` warns where it differs.

    Args:
        name: one lowercase word; names the output directory.
        run: writes into `running.directory`; may return counters to record.
        version: raised when the same config gives other output.
        config: plain JSON values, all that decides the output besides the inputs.
        inputs: steps and sources by the word that `run` asks for them with.
        validate: raises ValueError if the directory given to it is not a good output.
        lasts: how long it takes, in words, such as "2 minutes".
        code: modules or packages, besides the function's own module, whose source is recorded.
        outlook: how far it is and how long the rest takes, in words, given the output directory; reads only.
        cost: what running it takes, from rates; None where nobody has said.
    """

    name: str
    run: Callable[["Running"], Mapping[str, Any] | None]
    version: int = 1
    config: Mapping[str, JSON] = field(default_factory=dict)
    inputs: Mapping[str, "Step | Source"] = field(default_factory=dict)
    validate: Callable[[str], None] | None = None
    lasts: str = ""
    code: tuple[str, ...] = ()
    outlook: Callable[[str], str] | None = None
    cost: "Callable[[Rates], Cost] | None" = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"step name {self.name!r} must be a lowercase word")
        try:
            files.canonical_json(dict(self.config))
        except (TypeError, ValueError) as error:
            raise ValueError(f"step {self.name}: its config must be plain JSON values: {error}") from error

    @cached_property
    def identity(self) -> str:
        """sha256, in hex, of name, version, config and the inputs' identities."""
        return files.digest(
            {
                "name": self.name,
                "version": self.version,
                "config": dict(self.config),
                "inputs": {word: given.identity for word, given in self.inputs.items()},
            }
        )

    @property
    def directory_name(self) -> str:
        """The name of its output directory below OUT."""
        return f"{self.name}-{self.identity[:12]}"


def in_order(targets: Iterable[Step]) -> list[Step]:
    """The targets and all that they stand on, each once, inputs first."""
    ordered: dict[str, Step] = {}

    def visit(step: Step) -> None:
        if step.identity in ordered:
            return
        for given in step.inputs.values():
            if isinstance(given, Step):
                visit(given)
        ordered[step.identity] = step

    for target in targets:
        visit(target)
    return list(ordered.values())


class Running:
    """What a step's function is handed.

    Args:
        step: the step.
        directory: where to write. It is not yet the final place, but stays the same until the step
            has succeeded, so that a killed step finds its own partial work there and can go on.
        inputs: the finished directory of each input step.
        out: the output directory of the whole run.
    """

    def __init__(self, step: Step, directory: str, inputs: Mapping[str, str], out: str = "") -> None:
        self.step, self.directory, self.out = step, directory, out
        self.config: Mapping[str, Any] = step.config
        self.counters: dict[str, Any] = {}
        self._inputs = inputs

    def input(self, name: str) -> str:
        """The directory of a finished input step."""
        if name not in self._inputs:
            raise KeyError(f"step {self.step.name} has no input step {name!r}; it has {', '.join(self._inputs)}")
        return self._inputs[name]

    def source(self, name: str) -> Source:
        """An input from outside."""
        given = self.step.inputs.get(name)
        if not isinstance(given, Source):
            raise KeyError(f"step {self.step.name} has no source {name!r}")
        return given

    def path(self, *parts: str) -> str:
        """The path of something in the step's own directory."""
        return files.join(self.directory, *parts)

    def shared(self, name: str) -> str:
        """A folder below OUT that outlives its steps, made where missing: for what is named by its own content.

        Args:
            name: one lowercase word.
        """
        folder = shared_folder(self.out, name)
        files.make_directory(folder)
        return folder

    def progress(self, what: str, total: float | None = None, unit: str = "") -> Progress:
        """One live line for this step's work."""
        return Progress(what, total, unit)


def shared_folder(out: str, name: str) -> str:
    """Where `Running.shared` leads; it need not exist.

    Raises:
        ValueError: no run, or a name that is no lowercase word.
    """
    if not out or not _NAME.fullmatch(name):
        raise ValueError(f"shared folder {name!r} of {out!r}: it needs a run's OUT and a lowercase word")
    return files.join(out, SHARED, name)
