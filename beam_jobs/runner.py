"""Which runner a job gets: in-process unless one is named, and never by a download.

Beam's own default for the direct runner first tries to fetch a Prism binary. Here `DirectRunner`, no runner at all and
`TestPipeline` all mean the in-process `FnApiRunner`.
"""

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, PortableOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.runners.runner import PipelineResult, PipelineRunner

from beam_jobs import storage
from beam_jobs.quiet import quiet_workers
from beam_jobs.worker_processes import run_with_processes
from shammie import files
from shammie.arguments import Parser
from shammie.errors import UserError, one_line, unknown
from shammie.files import is_local, join, read_bytes

ELSEWHERE = ("portable", "flink", "spark", "dataflow")
IN_PROCESS = ("directrunner", "direct", "fnapirunner", "fnapi", "")  # Beam takes short and lower-case names too
# built from two names, so that the source lines within a stack trace do not match
_OPEN, _CLOSE = "⟦", "⟧"
_MARKED = re.compile(f"{_OPEN}(.*?){_CLOSE}", re.DOTALL)
ERROR_FILE = ".error_of_a_worker"  # a dot: of this run, not of the output


def _subclasses(cls: type) -> Iterator[type]:
    for sub in cls.__subclasses__():
        yield sub
        yield from _subclasses(sub)


def pipeline_options(flags: Sequence[str] = (), own: Sequence[str] = ()) -> PipelineOptions:
    """Beam's options from flags that are not the job's own.

    Args:
        flags: the flags; those of a file stand in place of @FILE.
        own: the job's flags, for a hint where one of them was mistyped.

    Raises:
        UserError: a file of flags cannot be read; Beam knows no such flag, value or runner; names the nearest one.
    """
    flags = with_files(flags)
    parser = _beam_parser()
    known = [option for action in parser._actions for option in action.option_strings]
    for flag in flags:
        name = flag.split("=", 1)[0]
        if name.startswith("--") and name not in known:
            raise unknown("flag", name, [*own, *known], "(--help lists the job's flags)")
    parser.parse_known_args(list(flags))  # Beam's own parser would print its usage
    options = PipelineOptions(list(flags))
    _check_runner(options.view_as(StandardOptions).runner or "")
    return options


def job_options(flags: Sequence[str], paths: Sequence[str]) -> PipelineOptions:
    """Beam's options for a job whose workers reach some paths, before any of its work is done.

    Raises:
        UserError: as `pipeline_options`; or workers are elsewhere, and a path leads from this process's own folder.
    """
    options = pipeline_options(flags)
    runner = options.view_as(StandardOptions).runner or ""
    where = (options.view_as(PortableOptions).environment_type or "").upper()
    if runner.split(".")[-1].lower().removesuffix("runner") in ELSEWHERE and where != "LOOPBACK":
        for path in paths:
            if is_local(path) and not os.path.isabs(path):
                cure = f"write it as {os.path.abspath(path)}"
                raise UserError(f"{path} leads from this folder, and {runner}'s workers are elsewhere", cure)
    return options


def with_files(flags: Sequence[str]) -> list[str]:
    """The flags, with each @FILE replaced by the file's: one a line, # begins a comment.

    Raises:
        UserError: a file cannot be read.
    """
    found: list[str] = []
    for flag in flags:
        if not flag.startswith("@"):
            found.append(flag)
            continue
        try:
            lines = read_bytes(flag[1:]).decode().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"the flags of {flag} cannot be read: {one_line(error)}", "check the path") from error
        found += [line for text in lines if (line := text.strip()) and not line.startswith("#")]
    return found


def _check_runner(name: str) -> None:
    names = [*StandardOptions.KNOWN_RUNNER_NAMES, "FnApiRunner"]
    if "." not in name:
        lower = name.lower()
        if name and not {lower, f"{lower}runner"} & {known.lower() for known in names}:
            raise unknown("runner", name, names)
        return
    module, _, cls = name.rpartition(".")
    try:
        found = getattr(import_module(module), cls, None)
    except ImportError as error:
        raise UserError(f"runner {name!r} cannot be imported: {error}", "install what it needs, or check it") from error
    if found is None:
        raise unknown("runner", cls, dir(sys.modules[module]))


@cache
def _beam_parser() -> Parser:
    parser = Parser(prog="beam_jobs", add_help=False, allow_abbrev=False)
    for cls in sorted(set(_subclasses(PipelineOptions)), key=lambda cls: cls.__name__):
        try:
            cls._add_argparse_args(parser)
        except argparse.ArgumentError:
            continue  # two option classes may declare the same flag
    return parser


def runner_of(options: PipelineOptions) -> PipelineRunner | str:
    """The runner that options ask for: the in-process one for `DirectRunner` and none."""
    name = options.view_as(StandardOptions).runner or ""
    return FnApiRunner() if name.split(".")[-1].lower() in IN_PROCESS else name


def pipeline_for_tests(flags: Sequence[str] = ()) -> beam.Pipeline:
    """Beam's TestPipeline on the in-process runner."""
    from apache_beam.testing.test_pipeline import TestPipeline

    options = pipeline_options(flags)
    return TestPipeline(runner=runner_of(options), options=options)


def run_pipeline(
    build: Callable[[beam.Pipeline], object], flags: Sequence[str] = (), *, folder: str = ""
) -> dict[str, int]:
    """Builds and runs a pipeline to its end.

    Args:
        build: adds the transforms.
        flags: Beam's flags.
        folder: the job's output, where workers leave what they die of (`for_the_driver`).

    Returns:
        The counters: name to count.

    Raises:
        UserError: a worker stopped for a reason that a person can mend (see `for_the_driver`), or was killed.
        KeyboardInterrupt: a person stopped it; Beam wraps that where it hits an element's work.
    """
    options = pipeline_options(flags)
    runner = runner_of(options)
    try:
        pipeline = beam.Pipeline(runner=runner, options=options)
    except ImportError as error:  # such as Dataflow's, which needs an extra of Beam's
        raise UserError(f"runner {runner!r} cannot be loaded: {error}", "install what it needs") from error
    build(pipeline)
    note = join(folder, ERROR_FILE) if folder else ""
    if note:
        _files_of(note).remove(note)
    own_processes = options.view_as(DirectOptions).direct_running_mode == "multi_processing"

    def run() -> PipelineResult:
        result = pipeline.run()
        result.wait_until_finish()
        return result

    try:
        with quiet_workers(own_processes=own_processes):
            result = run_with_processes(run) if own_processes else run()
    except Exception as error:
        problem = _problem_of(error, note)
        if problem:
            raise UserError(problem) from error
        if _interrupted(error):
            raise KeyboardInterrupt from error
        raise
    if note:
        _files_of(note).remove(note)  # of a try that the runner made good by another
    counted = result.metrics().query()["counters"]
    return {metric.key.metric.name: metric.result for metric in counted}


def _problem_of(error: Exception, note: str) -> str:
    """What a worker said for people, from the error's text or else its note; "" where it said nothing."""
    marked = _MARKED.search(str(error))
    said = marked.group(1) if marked else ""
    if note and _files_of(note).exists(note):
        said = said or _files_of(note).read_bytes(note).decode()
        _files_of(note).remove(note)
    return " ".join(said.split())


def _files_of(path: str) -> Any:
    """What reads and writes there: Beam's file systems where they know the scheme, as Dataflow's workers have it."""
    if not is_local(path):
        with suppress(ValueError):
            FileSystems.get_filesystem(path)
            return storage
    return files


def _interrupted(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def one_worker(flags: Sequence[str] = ()) -> bool:
    """Whether the flags lead to a single worker inside this process."""
    options = pipeline_options(flags)
    direct = options.view_as(DirectOptions)
    in_memory = direct.direct_running_mode == "in_memory" and direct.direct_num_workers == 1
    return in_memory and not isinstance(runner_of(options), str)


def worker_processes(count: int) -> tuple[str, ...]:
    """The flags for so many workers in processes of their own on this machine; none for one worker in this process."""
    if count == 1:
        return ()
    return ("--direct_running_mode=multi_processing", f"--direct_num_workers={count}")


@contextmanager
def for_the_driver(folder: str = "") -> Iterator[None]:
    """Within a DoFn: errors that a person can mend travel to the driver as one marked line, whatever the runner.

    Args:
        folder: the job's output; the line is left there too, since clusters may report the last worker that was
            cancelled in place of the first that failed (Flink does).
    """
    try:
        yield
    except (UserError, OSError, MemoryError) as error:
        line = one_line(error)
        if folder:
            with suppress(OSError):  # such as a full disk, which may be what it is about
                note = join(folder, ERROR_FILE)
                _files_of(note).write_bytes(note, line.encode())
        raise RuntimeError(_OPEN + line + _CLOSE) from error
