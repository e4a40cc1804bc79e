"""One process per folder: a lock file that names its holder."""

import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shammie import files
from shammie.errors import UserError
from shammie.secrets import command_without_secrets

LOCK = ".lock"


@contextmanager
def holding(folder: str, *, option: str = "--out", if_dead: str, take_over: bool = False) -> Iterator[None]:
    """Holds a folder, which must exist, for this process, or refuses.

    A holder that is dead on this host is replaced; whether one on another host lives cannot be
    seen from here, so that needs `take_over`. On a local or shared file system the lock file is created
    exclusively, and replacing it is serialised by a kernel lock on the folder. Object stores
    offer neither: there the lock stops a second process that starts later, not two in one instant.

    Args:
        folder: local, or on any fsspec file system.
        option: the command's option that names the folder, for the error.
        if_dead: what to do about a holder on another host that is known to be dead, for the error.
        take_over: replace such a holder.

    Raises:
        UserError: another process holds it; the text names its number and host.
    """
    path = files.join(folder, LOCK)
    command = command_without_secrets(sys.argv)
    mine = {**_me(), "host": host(), "argv": command, "since": time.strftime("%Y-%m-%d %H:%M:%S %Z")}
    with _guard(folder):
        _refuse_the_living(path, folder, option, None if take_over else if_dead)
        _create(path, mine)
    try:
        yield
    finally:
        with _guard(folder):
            if _read(path) == mine:
                files.remove(path)


def host() -> str:
    """This machine's name."""
    return socket.gethostname()


@contextmanager
def _guard(folder: str) -> Iterator[None]:
    if not files.is_local(folder):
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _refuse_the_living(path: str, folder: str, option: str, if_dead: str | None) -> None:
    holder = _read(path)
    if holder is None:
        return
    where, pid = holder.get("host", "an unknown host"), holder.get("pid", "unknown")
    who = f"{folder} is held by process {pid} on {where} since {holder.get('since', 'an unknown time')}"
    if where == host():
        if _alive(holder):
            raise UserError(who, f"wait for it or stop it, or choose another {option}")
    elif if_dead is not None:
        raise UserError(who, f"if that one is dead, {if_dead}")
    files.remove(path)


def _create(path: str, mine: dict[str, Any]) -> None:
    data = json.dumps(mine).encode()
    if not files.is_local(path):
        files.write_bytes(path, data)
        return
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        raise UserError(f"{path} was taken this instant by another process", "wait for it or stop it") from None
    with files.naming(path), os.fdopen(descriptor, "wb") as file:
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
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    started = _started(pid)
    return started is None or holder.get("started") is None or started == holder["started"]
