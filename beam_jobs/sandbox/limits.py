"""The layers of isolation by name, and the limits of a run."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from shammie.errors import UserError, unknown

WAIVE = "SHAMMIE_SANDBOX_WAIVE"
LAYERS = {
    "user": "a user namespace; started by root, other users than root inside and outside",
    "mount": "a root directory with nothing but Python and a run's own small directory",
    "pid": "a process namespace for each run: it sees no other process, and nothing of it outlives it",
    "net": "a network namespace without interfaces",
    "ipc": "a namespace for System V and POSIX queues and shared memory",
    "uts": "a host name of its own",
    "rlimits": "limits of address space, processor time, file size, open files and core dumps",
    "processes": "a limit of processes and threads",
    "capabilities": "no capabilities, none to be had",
    "no_new_privileges": "no privileges from set-uid files",
    "landlock": "files by path: Python's are read, the own directory's written; no TCP; no signals outwards",
    "seccomp": "no system calls for new processes, sockets, tracing, mounting, keys and other rare things",
}


@dataclass(frozen=True)
class Layer:
    """One layer on this machine.

    Attributes:
        name: a key of `LAYERS`.
        state: whether it works here; "waived": it does not, and need not.
        detail: what it keeps; where it does not work, what the kernel said.
    """

    name: str
    state: Literal["works", "missing", "waived"]
    detail: str


@dataclass(frozen=True)
class Limits:
    """What a run may use.

    Attributes:
        memory_bytes: address space of a process, and so all that a sample can hold: it is one process.
        output_bytes: what a program may print, and the largest file it may write.
        directory_bytes: all files of its directory, which is in memory.
        processes: processes and threads at a time.
        open_files: at a time.
        waive: layers that are not needed; those in the environment's SHAMMIE_SANDBOX_WAIVE, by commas, are added.
    """

    memory_bytes: int = 512 << 20
    output_bytes: int = 4 << 20
    directory_bytes: int = 16 << 20
    processes: int = 16
    open_files: int = 64
    waive: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("memory_bytes", "output_bytes", "directory_bytes", "processes", "open_files"):
            if getattr(self, name) <= 0:
                raise UserError(f"sandbox limit {name} is {getattr(self, name)}", "it must be more than 0")
        named(self.waive)

    def waived(self) -> frozenset[str]:
        """Layers that are not needed here.

        Raises:
            UserError: one is none of `LAYERS`.
        """
        return named([*self.waive, *filter(None, map(str.strip, os.environ.get(WAIVE, "").split(",")))])


def named(names: Iterable[str]) -> frozenset[str]:
    """Layers' names, all of them known.

    Raises:
        UserError: one is not.
    """
    found = frozenset(names)
    for name in sorted(found - set(LAYERS)):
        raise unknown("sandbox layer", name, LAYERS)
    return found


def judge(failed: Mapping[str, str], waived: frozenset[str]) -> list[Layer]:
    """The layers' states.

    Args:
        failed: what the kernel said, of each that does not work.
        waived: those that need not.
    """
    return [
        Layer(name, ("waived" if name in waived else "missing") if name in failed else "works", failed.get(name, what))
        for name, what in LAYERS.items()
    ]


def refuse(layers: Iterable[Layer]) -> None:
    """Raises if a layer is missing.

    Raises:
        UserError: names the layers and the variable that waives them.
    """
    missing = [layer for layer in layers if layer.state == "missing"]
    if missing:
        said = ", ".join(f"{layer.name} ({layer.detail})" for layer in missing)
        names = ",".join(layer.name for layer in missing)
        raise UserError(
            f"the sandbox lacks on this machine: {said}",
            f"run where they work, or do without them at your own risk: {WAIVE}={names}",
        )
