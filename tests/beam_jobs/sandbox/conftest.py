"""A sandbox for a module's tests, and a look at what is left of its runs."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from beam_jobs.sandbox import Sandbox


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """One worker, so that runs follow one another in the same fork server; a layer that is missing here fails."""
    with Sandbox(1) as made:
        yield made


def descendants(pid: int) -> list[int]:
    """A process's children and theirs; those of a process namespace stay below the process that made it."""
    parents: dict[int, int] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError), open(f"/proc/{name}/stat") as file:
            parents[int(name)] = int(file.read().rpartition(")")[2].split()[1])
    found, new = [], [pid]
    while new:
        new = [child for child, parent in parents.items() if parent in new]
        found += new
    return found


@pytest.fixture(scope="session")
def left_of_runs() -> Callable[[Sandbox], list[int]]:
    """Gives the processes below a sandbox's fork servers, each of which is a process and its child, which serves."""

    def left(sandbox: Sandbox) -> list[int]:
        roots = [zygote._process.pid for zygote in sandbox._living]
        serving = 0 if "pid" in next(iter(sandbox._living)).failed else 1
        return [pid for root in roots for pid in descendants(root)[serving:]]

    return left
