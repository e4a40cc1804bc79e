"""A sweep on its own, on any runner: python -m beam_jobs.sweep --kind MODULE:ATTRIBUTE --grid G --output STORE."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from shammie.arguments import Parser
from shammie.errors import UserError, run_for_people
from shammie.files import read_bytes, write_bytes

PROGRAM = "beam_jobs.sweep"


def parser() -> Parser:
    """The job's own flags."""
    flags = Parser(
        prog=f"python -m {PROGRAM}",
        description="Runs the cells of a grid that a store does not hold yet.",
        epilog="All other flags go to Beam, such as --runner=FlinkRunner. Without any, groups run in threads of this"
        " process. The same command resumes a sweep that was stopped, and tries failed cells again.",
        allow_abbrev=False,
    )
    add = flags.add_argument
    add("--kind", required=True, help="what a cell computes: module:ATTRIBUTE (see beam_jobs.sweep.kinds)")
    add("--grid", required=True, help="JSON file: the list of the cells' configs")
    add("--output", required=True, help="the store, a folder that sweeps may share")
    add("--table", default="", help="Parquet file to write the grid's rows to")
    add("--plan", action="store_true", help="run nothing: say what is done, and how long the rest takes")
    add("--threads", type=int, default=0, help="groups at a time in each worker process (default: its processors)")
    add("--max_bad_share", type=float, default=0.0, help="the share of cells that may fail (default: 0)")
    add("--debug", action="store_true", help="show stack traces")
    return flags


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; what it counted goes to stdout as one JSON object."""
    words = list(sys.argv[1:] if argv is None else argv)
    return run_for_people(lambda: _work(words), debug="--debug" in words, program=PROGRAM)


def _work(words: Sequence[str]) -> None:
    arguments, beam_flags = parser().parse_with_flags(words)
    if arguments.threads < 0:
        raise UserError(f"--threads {arguments.threads} is below 0", "give 1 or more, or leave it out")
    configs = read_grid(arguments.grid)
    from beam_jobs.sweep.job import outlook, read_cells, run_sweep  # Beam takes a second to load
    from beam_jobs.sweep.store import parquet_bytes

    sweep = (arguments.output, arguments.kind, configs)
    if arguments.plan:
        print(outlook(*sweep))
        return
    outcome = run_sweep(
        *sweep,
        beam_flags,
        max_bad_share=arguments.max_bad_share,
        what=f"{arguments.kind.rpartition(':')[2].lower()}: cells done",
        threads=arguments.threads or None,
    )
    if arguments.table:
        write_bytes(arguments.table, parquet_bytes(read_cells(*sweep)))
    print(json.dumps(outcome.counters, indent=2))


def read_grid(path: str) -> list[Any]:
    """The configs of a grid file.

    Raises:
        UserError: it is no JSON list.
    """
    try:
        value = json.loads(read_bytes(path))
    except ValueError as error:
        raise UserError(f"{path} is no JSON: {error}", "give a list of objects, one for each cell") from error
    if not isinstance(value, list):
        raise UserError(f"{path} holds a {type(value).__name__}, not a list", "give a list of objects, one a cell")
    return value


if __name__ == "__main__":
    sys.exit(main())
