"""A Flink cluster on this machine, to try a job on: python -m beam_jobs.flink --flags_file flink.flags [-- COMMAND]."""

import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence

from shammie.arguments import Parser
from shammie.errors import run_for_people
from shammie.files import write_bytes

PROGRAM = "beam_jobs.flink"


def parser() -> Parser:
    """The command's flags."""
    flags = Parser(
        prog=f"python -m {PROGRAM}",
        description="Starts a standalone Flink cluster on loopback, Beam's job server and a pool of Python workers.",
        epilog="A job joins it by @FLAGS_FILE among its flags. It stands until Ctrl-C, or while COMMAND runs, whose"
        " words may hold @FLAGS_FILE. Fetches Flink by pip and Beam's job server by mvn, once.",
        allow_abbrev=False,
    )
    add = flags.add_argument
    add("--flags_file", default="flink.flags", help="where to write the flags that join it (default: flink.flags)")
    add("--task_managers", type=int, default=2, help="how many (default: 2)")
    add("--slots", type=int, default=1, help="of each task manager (default: 1)")
    add("--folder", default="", help="for logs (default: a temporary one, removed at the end)")
    add("command", nargs="*", help="runs while the cluster stands; put -- before it")
    add("--debug", action="store_true", help="show stack traces")
    return flags


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; the exit code is COMMAND's."""
    words = list(sys.argv[1:] if argv is None else argv)

    def work() -> int:
        given = parser().parse_args(words)
        from beam_jobs.flink.cluster import standing

        with tempfile.TemporaryDirectory(prefix="shammie-flink-") as scratch:
            folder = given.folder or scratch
            with standing(folder, task_managers=given.task_managers, slots=given.slots) as cluster:
                write_bytes(given.flags_file, "".join(f"{flag}\n" for flag in cluster.flags).encode())
                print(f"Flink stands at {cluster.web}; jobs join it by @{given.flags_file}", file=sys.stderr)
                try:
                    if given.command:
                        return subprocess.run(given.command, check=False).returncode
                    threading.Event().wait()
                except KeyboardInterrupt:
                    pass
        return 0

    return run_for_people(work, debug="--debug" in words, program=PROGRAM)


if __name__ == "__main__":
    sys.exit(main())
