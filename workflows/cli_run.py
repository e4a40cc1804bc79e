"""`shammie run`, `plan` and `report`: from a system's name to its DAG, and to its results."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from shammie import files
from shammie.errors import UserError
from shammie.progress import duration
from workflows import dag, dag_store, gin_config, systems
from workflows.bench.table import Table

RESULT, REPORT, TEXT, CONFIG = "result.json", "report.html", "table.txt", "config.gin"
SHOWN_RESULTS = 24
AUDIT = "audit"  # the experiment of an endpoint


def add_plan_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares `plan`."""
    from workflows import plan_estimate

    _add_shared_arguments(parser)
    plan_estimate.add_arguments(parser)


def _add_shared_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what `plan` and `run` share."""
    parser.usage = f"{parser.prog} SYSTEM [options] [--gin.NAME=VALUE …] [-- Beam flags]"
    parser.add_argument("system", metavar="SYSTEM", help="the system's name, as in shammie list")
    parser.add_argument("--out", metavar="DIR", help="the output directory, local or remote (default: out/SYSTEM)")
    parser.add_argument("--size", help="the experiment, as in shammie list (default: main)")
    parser.add_argument(
        "--gin_file",
        metavar="FILE",
        action="append",
        default=[],
        help="a gin file of your own instead of the experiment's, or on top of it where --size is given; repeatable",
    )
    parser.add_argument(
        "--input",
        metavar="FILE",
        nargs="+",
        default=[],
        help="your own files, or tfds:NAME[/CONFIG][:VERSION[/SPLIT]][@FOLDER], instead of the default",
    )
    parser.add_argument("--endpoint", metavar="URL", help="audits the model that is served there, where a system can")
    parser.add_argument("--model", metavar="NAME", help="its name on that server")
    parser.add_argument("--strict", action="store_true", help="also redo steps whose source code has changed")


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares `run`."""
    _add_shared_arguments(parser)
    parser.add_argument("--only", metavar="STEP", help="this step and what it needs")
    parser.add_argument("--take-over", action="store_true", help="replace a dead driver on another host")


def add_report_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares `report`."""
    parser.add_argument("out", metavar="OUT", help="the output directory of a run")


def _steps(arguments: argparse.Namespace) -> tuple[list[dag.Step], str]:
    """The system's targets under the arguments' gin configuration, and the output directory."""
    system = systems.find(arguments.system)
    gin_files, bindings, size = list(arguments.gin_file), list(arguments.bindings), arguments.size
    if (arguments.endpoint, arguments.model) != (None, None):
        if not (arguments.endpoint and arguments.model):
            raise UserError(
                "--endpoint and --model go together", "give both, such as http://host:8000/v1 and its model"
            )
        bindings += [f"ENDPOINT={arguments.endpoint!r}", f"MODEL={arguments.model!r}"]
        if size not in (None, AUDIT):
            raise UserError(f"--endpoint audits what is served, and --size {size} is no audit", "leave --size out")
        size = AUDIT
    if size or not gin_files:
        gin_files.insert(0, system.experiment(size or "main").gin_file)
    gin_config.parse(gin_files, bindings, modules=[system.module])
    module = import_module(system.module)
    steps = gin_config.call(module.steps, input=tuple(arguments.input), beam_flags=tuple(arguments.beam_flags))
    out = arguments.out or os.path.join("out", system.name)
    if arguments.beam_flags and files.is_local(out):
        out = os.path.abspath(out)  # workers elsewhere have another folder than this process
    return steps, out


def show_plan(arguments: argparse.Namespace) -> None:
    """Prints each step's state, and why; or, with --estimate, what it takes."""
    from workflows import plan_estimate

    if not arguments.estimate:
        plan_estimate.refuse_alone(arguments)
    steps, out = _steps(arguments)
    planned = dag.plan(steps, out, strict=arguments.strict)
    if arguments.estimate:
        plan_estimate.show(arguments, planned, out)
        return
    rows = [
        [row.step.directory_name, row.state, "run" if row.will_run else "", row.step.lasts, _remark(row)]
        for row in planned
    ]
    print(Table(out, ["step", "state", "will", "lasts", "why"], rows).render())


def _remark(row: dag.Row) -> str:
    warning = f"warning: {row.warning}; --strict redoes it" if row.warning else ""
    return "; ".join(part for part in (row.why, row.outlook, warning) if part)


def run(arguments: argparse.Namespace) -> None:
    """Runs what is missing, then prints the result and the report's place."""
    steps, out = _steps(arguments)
    dag_store.claim(out, arguments.system)
    for row in dag.plan(steps, out):
        if row.warning and not arguments.strict:
            print(f"{row.step.directory_name}: {row.warning}; --strict redoes it", file=sys.stderr)
    config = gin_config.config_text().encode()
    done = dag.run(
        steps,
        out,
        owner=arguments.system,
        only=arguments.only,
        strict=arguments.strict,
        take_over=arguments.take_over,
        tell=_tell,
        before=lambda: files.write_bytes(files.join(out, CONFIG), config),
    )
    last = next((one for one in done if one.step.identity == steps[-1].identity), None)
    if last is None:
        return
    published = publish(last.directory, out)
    if TEXT in published:
        print(files.read_bytes(files.join(out, TEXT)).decode(), end="")
    elif files.exists(files.join(out, RESULT)):
        print(result_table(files.read_json(files.join(out, RESULT))).render())
    if files.exists(files.join(out, REPORT)):
        print(f"report: {files.join(out, REPORT)}")


def _tell(step: dag.Step, event: dag.Event, seconds: float) -> None:
    lasts = f" (about {step.lasts})" if step.lasts and event == "running" else ""
    took = f" in {duration(seconds)}" if event in ("done", "failed") else ""
    print(f"{step.directory_name}: {event}{took}{lasts}", file=sys.stderr, flush=True)


def publish(directory: str, out: str) -> list[str]:
    """Copies the result, the report and the text for terminals of a finished step to OUT; returns what it copied."""
    found = [name for name in (RESULT, REPORT, TEXT) if files.exists(files.join(directory, name))]
    for name in found:
        files.copy(files.join(directory, name), files.join(out, name))
    return found


def result_table(result: Mapping[str, Any]) -> Table:
    """The start of a flat result, which has what matters most first, as a table of two columns."""
    rows = [[key, _shown(value)] for key, value in list(result.items())[:SHOWN_RESULTS]]
    more = len(result) - len(rows)
    return Table("result", ["", ""], rows, notes=[f"and {more} more in {RESULT}"] if more else [])


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def show_report(arguments: argparse.Namespace) -> None:
    """Prints where the newest report of a run lies, putting it back to OUT where needed."""
    out = arguments.out.rstrip("/")
    system = dag_store.owner_of(out)
    records = dag.load_records(out)
    if not records:
        raise UserError(f"{out} holds no finished step", f"shammie run {system} --out {out} runs them")
    made = [record["directory"] for record in records if REPORT in record["outputs"]]
    report = files.join(out, REPORT)
    if not files.exists(report):
        if not made or REPORT not in publish(_existing(made), out):
            raise UserError(f"{out} has no report yet", f"shammie run {system} --out {out} finishes it")
    print(report)


def _existing(directories: Sequence[str]) -> str:
    whole = [one for one in directories if files.exists(files.join(one, REPORT))]
    return whole[-1] if whole else directories[-1]
