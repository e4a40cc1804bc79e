"""The command: python -m workflows.chaos [--only PREFIX …] [--json FILE]; it exits with 1 if a row has failed."""

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from shammie.arguments import Parser
from shammie.errors import UserError, run_for_people, unknown

PROGRAM = "workflows.chaos"
INSIDE = "SHAMMIE_CHAOS_INSIDE"  # set within a namespace in which this programme may mount


def parser() -> Parser:
    """The command's flags."""
    flags = Parser(
        prog=f"python -m {PROGRAM}",
        description="Does faults to real jobs, resumes them, and compares what they made with undisturbed runs.",
        allow_abbrev=False,
    )
    add = flags.add_argument
    add("--only", nargs="*", metavar="PREFIX", help="scenarios whose names begin so (--list shows them); none for none")
    add("--list", action="store_true", help="show the scenarios' names")
    add("--json", metavar="FILE", help="also write the table there")
    add("--interval", type=float, default=30.0, help="seconds between preemptions of the trainer (default: 30)")
    add("--overhead", nargs="*", metavar="JOB", help="also measure what a resume costs (default: of every job)")
    add("--long", type=float, default=60.0, help="seconds that a job lasts for that (default: 60)")
    add("--folder", metavar="DIR", help="work there, and leave it (default: a temporary folder)")
    add("--debug", action="store_true", help="show stack traces")
    return flags


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    words = list(sys.argv[1:] if argv is None else argv)
    return run_for_people(lambda: _work(words), debug="--debug" in words, program=PROGRAM)


def _work(words: Sequence[str]) -> int:
    from workflows.chaos.overhead import JOBS
    from workflows.chaos.scenarios import all_scenarios

    arguments = parser().parse_args(words)
    scenarios = all_scenarios()
    if arguments.list:
        print("\n".join(scenarios))
        return 0
    for prefix in arguments.only or ():
        if not any(name.startswith(prefix) for name in scenarios):
            raise unknown("scenario", prefix, scenarios)
    for job in arguments.overhead or ():
        if job not in JOBS:
            raise unknown("job", job, JOBS)
    if arguments.interval <= 0 or arguments.long <= 0:
        raise UserError(f"--interval {arguments.interval} --long {arguments.long}", "give seconds above 0")
    wanted = [""] if arguments.only is None else arguments.only
    chosen = [name for name in scenarios if name.startswith(tuple(wanted))]
    if any(name.startswith("full_disk") for name in chosen) and INSIDE not in os.environ:
        from workflows.chaos.disks import namespace

        before = namespace()
        if before:
            sys.stdout.flush()
            os.execvpe(before[0], [*before, sys.executable, "-m", PROGRAM, *words], {**os.environ, INSIDE: "1"})
    if arguments.folder:
        Path(arguments.folder).mkdir(parents=True)
        return _play(arguments, chosen, Path(arguments.folder).absolute())
    with tempfile.TemporaryDirectory(prefix="shammie-chaos-") as folder:
        return _play(arguments, chosen, Path(folder))


def _play(arguments, chosen: Sequence[str], folder: Path) -> int:
    from shammie.files import write_json
    from shammie.progress import Progress
    from workflows.chaos.overhead import JOBS, measured, told
    from workflows.chaos.row import FAILED, SKIPPED, Row, table_of, to_json, why_of
    from workflows.chaos.scenarios import all_scenarios, played
    from workflows.chaos.stage import Stage

    stage = Stage(folder, interval=arguments.interval, long=arguments.long, keep=bool(arguments.folder))
    scenarios, rows = all_scenarios(), []
    costly = [] if arguments.overhead is None else arguments.overhead or list(JOBS)
    with Progress("chaos", len(chosen) + len(costly), "faults") as progress:
        for name in chosen:
            rows.append(played(name, scenarios[name], stage))
            progress.advance(note=f"{name}: {rows[-1].verdict}")
            if rows[-1].verdict == FAILED:
                print(why_of(rows[-1]), file=sys.stderr)
        overheads = []
        for job in costly:
            try:
                overheads.append(measured(stage, job))
            except Exception as error:  # the table is still wanted
                why = f"{type(error).__name__}: {error}"
                rows.append(Row("cost of a resume", job, "", verdict=FAILED, why=why))
            progress.advance(note=f"overhead of {job}")
    failed, skipped = (sum(row.verdict == verdict for row in rows) for verdict in (FAILED, SKIPPED))
    notes = [f"{len(rows)} faults: {failed} failed, {skipped} skipped", *map(told, overheads)]
    if arguments.json:
        write_json(arguments.json, to_json(rows, overheads=overheads), sort_keys=False)
    print(table_of(rows, notes).render() if rows else "\n".join(notes))
    return int(bool(failed) or not all(one["equal"] for one in overheads))


if __name__ == "__main__":
    sys.exit(main())
