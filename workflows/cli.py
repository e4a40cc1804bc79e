"""The `shammie` command: it knows the commands' names and imports each one's code only when asked."""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from shammie.arguments import Parser
from shammie.errors import UserError, run_for_people, unknown


@dataclass(frozen=True)
class Command:
    """One command: its help line, and the functions that declare its arguments and do it, as `module:function`."""

    summary: str
    arguments: str
    run: str


COMMANDS: dict[str, Command] = {
    "list": Command("every system and experiment", "workflows.cli:no_arguments", "workflows.cli:list_systems"),
    "plan": Command(
        "what a run would do, and why", "workflows.cli_run:add_plan_arguments", "workflows.cli_run:show_plan"
    ),
    "run": Command("run what is missing", "workflows.cli_run:add_run_arguments", "workflows.cli_run:run"),
    "report": Command(
        "the HTML report of a run", "workflows.cli_run:add_report_arguments", "workflows.cli_run:show_report"
    ),
    "bench": Command("a benchmark beside its peers", "workflows.cli:add_bench_arguments", "workflows.cli:run_bench"),
    "codes": Command("compare codes on your text", "workflows.codes_cli:add_arguments", "workflows.codes_cli:run"),
    "encode": Command(
        "text to neural tokens, streaming", "workflows.codec_cli:add_encode_arguments", "workflows.codec_cli:encode"
    ),
    "decode": Command(
        "neural tokens back to text", "workflows.codec_cli:add_decode_arguments", "workflows.codec_cli:decode"
    ),
    "in-context": Command(
        "a small table's labels from labelled rows, with no training",
        "workflows.in_context_predict:add_arguments",
        "workflows.in_context_predict:run",
    ),
    "doctor": Command("what is broken here, and the cure", "workflows.cli:no_arguments", "workflows.doctor:run"),
}


def main(argv: list[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: the words after `shammie`; the process's own by default.

    Returns:
        The exit code.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    end = words.index("--") if "--" in words else len(words)
    mine, beam_flags = words[:end], words[end + 1 :]
    debug = "--debug" in mine
    mine = [word for word in mine if word != "--debug"]
    return run_for_people(lambda: _dispatch(mine, beam_flags), debug=debug)


def _dispatch(words: list[str], beam_flags: list[str]) -> int | None:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if words[0] == "--version":
        import shammie

        print(shammie.__version__)
        return 0
    name, *rest = words
    if name not in COMMANDS:
        raise unknown("command", name, COMMANDS, "(shammie --help)")
    command = COMMANDS[name]
    parser = Parser(prog=f"shammie {name}", description=command.summary.capitalize() + ".", allow_abbrev=False)
    _load(command.arguments)(parser)
    try:
        if name in ("run", "plan"):
            # taken out first: argparse would give a binding with a space in it to the option before it
            bindings = [word for word in rest if word.startswith("--gin.")]
            arguments, more = parser.parse_known_args([word for word in rest if word not in bindings])
            if more:
                raise UserError(
                    f"unknown option {more[0]!r}", "gin bindings are --gin.NAME=VALUE; Beam's flags follow --"
                )
            arguments.bindings = [word.removeprefix("--gin.") for word in bindings]
            arguments.beam_flags = tuple(beam_flags)
        else:
            if beam_flags:
                raise UserError(f"shammie {name} takes nothing after --", "only run and plan do")
            arguments = parser.parse_args(rest)
        return _load(command.run)(arguments)
    except SystemExit as stop:  # --help
        return stop.code if isinstance(stop.code, int) else 0


def _load(address: str) -> Callable[..., int | None]:
    module, _, function = address.partition(":")
    try:
        return getattr(import_module(module), function)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise UserError(f"{module} is not part of this version", "update shammie") from error


def _help() -> str:
    lines = ["usage: shammie COMMAND [--debug] …", ""]
    lines += [f"  {name:10} {command.summary}" for name, command in COMMANDS.items()]
    lines += ["", "shammie COMMAND --help shows a command's options; --debug shows where an error comes from."]
    return "\n".join(lines)


def no_arguments(parser: argparse.ArgumentParser) -> None:
    """For commands without arguments."""


def list_systems(_: argparse.Namespace) -> None:
    """Prints every system and experiment."""
    from workflows.bench.table import Table
    from workflows.systems import SYSTEMS

    for system in SYSTEMS.values():
        rows = [[one.name, one.shows, one.minutes, one.gin_file] for one in system.experiments]
        title = f"{system.name}: {system.summary} ({system.paper})"
        print(Table(title, ["--size", "shows", "min on 2 cores", "gin file"], rows).render())


def add_bench_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares `shammie bench`; the benchmark's own options come after its name."""
    parser.add_argument("name", help="the benchmark: " + ", ".join(_benches()))
    parser.add_argument("options", nargs=argparse.REMAINDER, help="its options; --json FILE writes the table; --help")


def _benches() -> list[str]:
    import pkgutil

    import workflows.bench

    names = [one.name for one in pkgutil.iter_modules(workflows.bench.__path__)]
    return sorted(name for name in names if name != "table" and not name.startswith("_"))


def run_bench(arguments: argparse.Namespace) -> None:
    """Runs a benchmark and prints its table; a target that is not reached is printed as such and is no error."""
    from shammie import files

    if arguments.name not in _benches():
        raise unknown("benchmark", arguments.name, _benches())
    bench = import_module(f"workflows.bench.{arguments.name}")
    parser = Parser(prog=f"shammie bench {arguments.name}", description=(bench.__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", metavar="FILE", help="also write the table there")
    bench.add_arguments(parser)
    options = parser.parse_args(arguments.options)
    table = bench.run(options)
    print(table.render())
    if options.json:
        files.write_bytes(options.json, (json.dumps(table.to_json(), indent=2) + "\n").encode())


if __name__ == "__main__":
    sys.exit(main())
