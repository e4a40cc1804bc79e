"""One driver per output directory."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shammie import files
from shammie.errors import UserError
from workflows.provenance import command, host

LOCK = ".lock"


@contextmanager
def only_driver(out: str, *, take_over: bool = False) -> Iterator[None]:
    """Holds an output directory for this process, or refuses.

    A holder that is dead on this host is replaced; whether one on another host lives cannot be
    seen from here, so that needs `take_over`. On a local or shared file system the lock file is created
    exclusively, and replacing it is serialised by a kernel lock on the directory. Object stores
    offer neither: there the lock stops a second driver that starts later, not two in one instant.

    Raises:
        UserError: another driver holds it; the text names its process and host.
    """
    path = files.join(out, LOCK)
    mine = {**_me(), "host": host(), "argv": command(), "since": time.strftime("%Y-%m-%d %H:%M:%S %Z")}
    with _guard(out):
        _refuse_the_living(path, out, take_over)
        _create(path, mine)
    try:
        yield
    finally:
        with _guard(out):
            if _read(path) == mine:
                files.remove(path)


@contextmanager
def _guard(out: str) -> Iterator[None]:
    if not files.is_local(out):
        yield
        return
    descriptor = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _refuse_the_living(path: str, out: str, take_over: bool) -> None:
    holder = _read(path)
    if holder is None:
        return
    where, pid = holder.get("host", "an unknown host"), holder.get("pid", "unknown")
    who = f"{out} is held by process {pid} on {where} since {holder.get('since', 'an unknown time')}"
    if where == host():
        if _alive(holder):
            raise UserError(who, "wait for it or stop it, or choose another --out")
    elif not take_over:
        raise UserError(who, "if that one is dead, add --take-over")
    files.remove(path)


def _create(path: str, mine: dict[str, Any]) -> None:
    data = json.dumps(mine).encode()
    if not files.is_local(path):
        files.write_bytes(path, data)
        return
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        raise UserError(f"{path} was taken this instant by another driver", "wait for it or stop it") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def _read(path: str) -> dict[str, Any] | None:
    try:
        value = files.read_json(path)
    except FileNotFoundError:
        return None
    except ValueError:
        return {"host": host()}  # cut short when its writer was killed: nobody's
    return value if isinstance(value, dict) else {"host": host()}


def _me() -> dict[str, Any]:
    return {"pid": os.getpid(), "started": _started(os.getpid())}


def _started(pid: int) -> str | None:
    """A mark that tells a process from a later one with the same number: boot and start time; None where unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return f"{boot}:{fields[19]}"


def _alive(holder: dict[str, Any]) -> bool:
    pid = holder.get("pid")
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    started = _started(pid)
    return started is None or holder.get("started") is None or started == holder["started"]
