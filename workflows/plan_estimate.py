"""`shammie plan --estimate`: what each step of a plan will read, write and take, before anything runs."""

import argparse
import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from shammie.errors import UserError, unknown
from shammie.lock import host
from shammie.processors import processors
from workflows import cost_rates, dag, dag_store
from workflows.bench.table import Table
from workflows.cost_model import PEAK_FLOPS_PER_S, UTILISATION, Cost, Rates

UNKNOWN, NOTHING = "?", "0"
LEAST_SHOWN_HOURS = 0.001
LEAST_RECORDED_SECONDS = 10.0  # of cores; what a shorter step took was mostly its start
ONLY_HERE = ("scale", "accelerator", "cores", "json", "remeasure", "utilisation")


@dataclass(frozen=True)
class Estimate:
    """A step of a plan and what running it takes.

    Attributes:
        row: of the plan.
        cost: None where the step does not say; nothing where the step will not run.
    """

    row: dag.Row
    cost: Cost | None

    @property
    def counts(self) -> bool:
        """Whether it adds to the sum."""
        return self.row.will_run and self.cost is not None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what `plan` has besides what it shares with `run`."""
    add = parser.add_argument
    add("--estimate", action="store_true", help="bytes, core-hours and accelerator-hours of each step")
    add("--scale", type=float, help="for estimates: the input is so many times as large (default: 1)")
    add("--accelerator", help=f"for estimates: {', '.join(PEAK_FLOPS_PER_S)} (default: v5e)")
    add("--utilisation", type=float, help=f"for estimates: share of its peak (default: {UTILISATION})")
    add("--cores", type=int, help="for estimates: cores that work at a time (default: this machine's)")
    add("--json", action="store_true", default=None, help="for estimates: print JSON instead of a table")
    add("--remeasure", action="store_true", default=None, help="for estimates: measure this machine's rates anew")


def estimates(rows: Sequence[dag.Row], rates: Rates) -> list[Estimate]:
    """What each step of a plan will take.

    Core seconds are those of `Step.cost`, times what finished steps of the same name took of theirs, where there are
    any on this host that took long enough to tell.

    Args:
        rows: the plan.
        rates: of this machine; `out` is the run's directory.
    """
    shares = _shares(rows, rates)
    found = []
    for row in rows:
        if not row.will_run:
            found.append(Estimate(row, Cost()))
            continue
        cost = row.step.cost(rates) if row.step.cost else None
        if cost is not None and row.step.name in shares:
            share, count = shares[row.step.name]
            word = f"{count} finished {row.step.name}"
            cost = replace(
                cost,
                core_seconds=share * cost.core_seconds,
                flops_core_seconds=share * cost.flops_core_seconds,
                sources=(*cost.sources, word),
            )
        found.append(Estimate(row, cost))
    return found


def _shares(rows: Sequence[dag.Row], rates: Rates) -> dict[str, tuple[float, int]]:
    """By name: the core seconds of finished steps over those that were to be expected, and how many such steps."""
    taken: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row.state != "cached" or row.step.cost is None or not rates.out:
            continue
        record = dag_store.record_of(rates.out, row.step) or {}
        seconds = record.get("core_seconds", 0.0)
        if record.get("host") != host() or seconds < LEAST_RECORDED_SECONDS:
            continue
        expected = row.step.cost(replace(rates, scale=1.0, out=""))
        if expected.core_seconds > 0:
            taken.setdefault(row.step.name, []).append((seconds, expected.core_seconds))
    return {
        name: (sum(took for took, _ in pairs) / sum(expected for _, expected in pairs), len(pairs))
        for name, pairs in taken.items()
    }


def total(found: Sequence[Estimate]) -> Cost | None:
    """All that would run, one after the other: scratch room is that of the step that takes the most.

    None where steps would run and none of them says what it takes.
    """
    if any(one.row.will_run for one in found) and not any(one.counts for one in found):
        return None
    whole = Cost()
    for one in found:
        if one.counts and one.cost:
            whole += one.cost
    most = max((one.cost.scratch_bytes for one in found if one.counts and one.cost), default=0.0)
    return replace(whole, scratch_bytes=most)


def show(arguments: argparse.Namespace, rows: Sequence[dag.Row], out: str) -> None:
    """Prints the estimate of a plan, as a table or as JSON.

    Raises:
        UserError: a number is out of range, or nobody knows the accelerator.
    """
    chosen = _checked(arguments)
    if arguments.remeasure:
        products, corpus = (
            functools.cache(functools.partial(measure, again=True))
            for measure in (cost_rates.products, cost_rates.corpus)
        )
    else:
        products, corpus = functools.cache(cost_rates.products), functools.cache(cost_rates.corpus)
    rates = Rates(out, chosen["scale"], products=products, corpus=corpus)
    told = report(estimates(rows, rates), out, **chosen)
    print(json.dumps(told, indent=2) if arguments.json else table(told).render())


def _checked(arguments: argparse.Namespace) -> dict[str, Any]:
    chosen = {
        "scale": 1.0 if arguments.scale is None else arguments.scale,
        "accelerator": arguments.accelerator or "v5e",
        "utilisation": UTILISATION if arguments.utilisation is None else arguments.utilisation,
        "cores": processors() if arguments.cores is None else arguments.cores,
    }
    if chosen["accelerator"] not in PEAK_FLOPS_PER_S:
        raise unknown("accelerator", chosen["accelerator"], PEAK_FLOPS_PER_S)
    for name, most in (("scale", math.inf), ("utilisation", 1.0), ("cores", math.inf)):
        if not 0 < chosen[name] <= most or chosen[name] == math.inf:
            what = "a share above 0 and at most 1" if name == "utilisation" else "a number above 0"
            raise UserError(f"--{name}={chosen[name]} is not {what}", f"give {what}")
    return chosen


def refuse_alone(arguments: argparse.Namespace) -> None:
    """Raises UserError where an option of estimates was given without --estimate."""
    for name in ONLY_HERE:
        if getattr(arguments, name) is not None:
            raise UserError(f"--{name} is for estimates", "add --estimate")


def report(
    found: Sequence[Estimate], out: str, *, scale: float, accelerator: str, utilisation: float, cores: int
) -> dict[str, Any]:
    """The estimate as plain JSON.

    Returns:
        steps (step, state, will_run, and what it takes, or null), total (null where nothing is known), unknown_steps,
        free_bytes (null where out is remote), enough_room (null where either is), and the arguments.
    """
    from beam_jobs.sweep.planning import free_bytes

    peak = PEAK_FLOPS_PER_S[accelerator]

    def plain(cost: Cost | None) -> dict[str, float] | None:
        if cost is None:
            return None
        return {
            "read_bytes": round(cost.read_bytes),
            "written_bytes": round(cost.written_bytes),
            "scratch_bytes": round(cost.scratch_bytes),
            "core_hours": cost.core_seconds / 3600,
            "flops": cost.flops,
            "flops_core_hours": cost.flops_core_seconds / 3600,
            "accelerator_hours": cost.accelerator_seconds(peak, utilisation) / 3600,
        }

    whole, free = total(found), free_bytes(out)
    return {
        "out": out,
        "scale": scale,
        "accelerator": accelerator,
        "peak_flops_per_s": peak,
        "utilisation": utilisation,
        "cores": cores,
        "steps": [
            {
                "step": one.row.step.directory_name,
                "state": one.row.state,
                "will_run": one.row.will_run,
                "cost": plain(one.cost),
                "sources": list(one.cost.sources) if one.cost else [],
            }
            for one in found
        ],
        "total": plain(whole),
        "unknown_steps": sum(one.row.will_run and one.cost is None for one in found),
        "running_steps": sum(one.row.will_run for one in found),
        "free_bytes": free,
        "enough_room": None if free is None or whole is None else whole.written_bytes + whole.scratch_bytes <= free,
    }


def table(told: Mapping[str, Any]) -> Table:
    """`report` as a table for people."""
    from beam_jobs.sweep.planning import size_words

    def row(name: str, state: str, cost: Mapping[str, float] | None, sources: Sequence[str], runs: bool) -> list[str]:
        if not runs:
            return [name, state, *[NOTHING] * 5, ""]
        if cost is None:
            return [name, state, *[UNKNOWN] * 5, "unknown"]
        sizes = [size_words(cost[key]) for key in ("read_bytes", "written_bytes", "scratch_bytes")]
        return [
            name,
            state,
            *sizes,
            hours(cost["core_hours"]),
            hours(cost["accelerator_hours"]),
            ", ".join(sources),
        ]

    chip, cost, unknown_steps = told["accelerator"], told["total"], told["unknown_steps"]
    rows = [row(one["step"], one["state"], one["cost"], one["sources"], one["will_run"]) for one in told["steps"]]
    known = "all that would run" if not unknown_steps else "what is known of it"
    rows.append(row("total", "", cost, [known], True))
    notes = []
    if cost is not None:
        others = cost["core_hours"] - cost["flops_core_hours"]
        notes = [
            f"core-hours: all on cores such as this machine's; {told['cores']} of them need at least "
            f"{hours(cost['core_hours'] / told['cores'])} h",
            f"{chip}-hours: FLOPs / ({told['peak_flops_per_s'] / 1e12:,.0f} TFLOP/s x {told['utilisation']:g}), "
            f"assumed; with them {hours(others)} core-hours remain",
        ]
    if told["scale"] != 1:
        notes.append(f"for an input {told['scale']:g} times as large; trainings have the steps that they are set to")
    if unknown_steps:
        notes.append(f"{UNKNOWN}: {unknown_steps} of {told['running_steps']} steps that would run do not say")
    if cost is not None and told["enough_room"] is False:
        needs = size_words(cost["written_bytes"] + cost["scratch_bytes"])
        free = size_words(told["free_bytes"])
        notes.append(f"WARNING: this needs {needs} of disk, and {told['out']} has {free} free")
    columns = ["step", "state", "reads", "writes", "scratch room", "core-hours", f"{chip}-hours", "from"]
    return Table(f"{told['out']}, estimated", columns, rows, notes=notes)


def hours(count: float) -> str:
    """Hours with about three digits that matter."""
    if 0 < count < LEAST_SHOWN_HOURS:
        return f"<{LEAST_SHOWN_HOURS}"
    return f"{count:,.0f}" if count >= 100 else f"{count:.3g}"
