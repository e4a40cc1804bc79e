"""`shammie doctor`: what is broken on this machine, and the command that mends it."""

import argparse
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata

from shammie import files
from shammie.errors import one_line
from shammie.packages import check_packages_are_ours, home

ROOM_BYTES = 2_000_000_000
FIELD = (
    "apache-beam",
    "jax",
    "flax",
    "optax",
    "orbax-checkpoint",
    "seqio",
    "tensorflow",
    "gin-config",
    "numba",
    "numpy",
)
PEERS = ("sentencepiece", "tiktoken", "tokenizers")
PINS = {"sentencepiece": "==0.2.0"}  # later ones need a protobuf that apache-beam does not allow
REINSTALL = "install shammie again: make setup in a checkout, or pip install its wheel"


@dataclass(frozen=True)
class Check:
    """One finding: what was looked at, whether it is well, whether it must be, what was found, and the cure."""

    name: str
    well: bool
    needed: bool
    found: str
    cure: str = ""


def run(_: argparse.Namespace) -> int:
    """Prints every check as it is made; the exit code is 1 if something needed is broken."""
    broken = False
    for check in examine():
        mark = "ok     " if check.well else "BROKEN " if check.needed else "absent "
        cure = f"\n        → {check.cure}" if check.cure and not check.well else ""
        print(f"{mark} {check.name}: {check.found}{cure}", flush=True)
        broken |= check.needed and not check.well
    return int(broken)


def examine() -> Iterator[Check]:
    """Makes the checks, one after the other."""
    version = sys.version_info[:2]
    supported = (3, 11) <= version < (3, 14)
    yield Check(
        "python", supported, True, f"{platform.python_version()} at {sys.executable}", "use Python 3.11 to 3.13"
    )
    yield _tried("packages", check_packages_are_ours, f"ours, in {home()}", "")
    for name in FIELD:
        yield _installed(name, needed=True, cure=REINSTALL)
    yield _tried(
        "gin library", _gin_is_the_library, "the gin-config library", "pip install --force-reinstall gin-config"
    )
    yield _tried("gin files", _gin_files_are_there, "found", REINSTALL)
    yield _tried("cache", _cache_is_writable, str(files.cache_directory()), "set SHAMMIE_CACHE to a writable folder")
    yield _room()
    yield _codec()
    for name in PEERS:
        yield _installed(name, needed=False, cure=f"pip install {name}{PINS.get(name, '')}")
    yield from _sandbox()
    yield from _t5x()


def _sandbox() -> Iterator[Check]:
    """The layers of isolation for generated programs, a line each."""
    from beam_jobs import sandbox
    from beam_jobs.sandbox.limits import WAIVE

    try:
        found = sandbox.layers()
    except Exception as error:
        yield Check("sandbox", False, False, one_line(error), "generated programs cannot be graded on this machine")
        return
    for layer in found:
        cure = f"grade generated programs where it works, or without it at your own risk: {WAIVE}={layer.name}"
        yield Check(f"sandbox {layer.name}", layer.state != "missing", False, f"{layer.state}: {layer.detail}", cure)


def _t5x() -> Iterator[Check]:
    """T5X, its packages, its commit, and two steps of training where it is there."""
    from workflows import t5x_contract

    lost = t5x_contract.missing()
    for name, tested in t5x_contract.TESTED.items():
        if name in lost:
            yield Check(name, False, False, "not importable", t5x_contract.INSTALL)
            continue
        commit = t5x_contract.commit_of(name)
        found = f"commit {commit[:12]}" if commit else "of an unknown commit"
        note = "" if commit == tested else f", tested with {tested[:12]}"
        yield Check(name, True, False, found + note)
    for name, distribution in t5x_contract.FROM_PYPI.items():
        there = name not in lost
        yield Check(distribution, there, False, "importable" if there else "not installed", t5x_contract.INSTALL)
    if not lost:
        from workflows.t5x_smoke import smoke

        yield _tried("t5x.train", smoke, None, "read what python -m t5x.train says with gin/t5x/equal_info_tiny.gin")


def _tried(name: str, look: Callable[[], str | None], found: str | None, cure: str) -> Check:
    """The check that a call does not fail; what it found is what the call says, where nothing else is given."""
    try:
        said = look()
    except Exception as error:
        return Check(name, False, True, one_line(error), cure)
    return Check(name, True, True, found or str(said))


def _installed(name: str, *, needed: bool, cure: str) -> Check:
    try:
        return Check(name, True, needed, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Check(name, False, needed, "not installed", cure)


def _gin_is_the_library() -> None:
    import gin

    if not hasattr(gin, "parse_config_file"):
        where = getattr(gin, "__file__", None) or ", ".join(getattr(gin, "__path__", []))
        raise ImportError(f"import gin leads to {where}, not to the library")


def _gin_files_are_there() -> None:
    from workflows.gin_config import gin_files, gin_root
    from workflows.systems import SYSTEMS

    there = gin_files()
    missing = [e.gin_file for system in SYSTEMS.values() for e in system.experiments if e.gin_file not in there]
    if missing:
        raise FileNotFoundError(f"{gin_root()} lacks {', '.join(missing)}")


def _cache_is_writable() -> None:
    numba_cache = files.cache_directory() / "numba"
    numba_cache.mkdir(exist_ok=True)
    with tempfile.TemporaryFile(dir=numba_cache) as file:
        file.write(b"x")


def _room() -> Check:
    free = shutil.disk_usage(os.getcwd()).free
    return Check("disk", free >= ROOM_BYTES, False, f"{free / 1e9:,.0f} GB free here", "free some room, or use --out")


def _codec() -> Check:
    try:
        from models.equal_info.codec import Codec

        codec = Codec.default()
        text = "naïve → 東京\n".encode()
        if bytes(codec.decode(codec.encode(text))) != text:
            raise ValueError("the default codec does not give its text back")
    except Exception as error:
        return Check("default codec", False, True, one_line(error), REINSTALL)
    return Check("default codec", True, True, f"{codec.scheme}, {codec.vocab_size:,} codes")
