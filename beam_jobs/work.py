"""A job's work folder: the plan, a report per finished unit and shard. What has a report is not done again.

OUTPUT/_work.SPLIT/plan.json       sources, units and the digest of the config
                   units/N.json    a unit's report, written last
                   units/N.sorted  its records, in sorted runs
                   units/N.dead.jsonl
                   shards/N.json   a shard's report
"""

import json
from dataclasses import asdict
from typing import Any

from beam_jobs import storage
from beam_jobs.records import UNREADABLE, DeadLetter
from beam_jobs.sorted_runs import SortedRun, are_whole
from beam_jobs.units import Plan
from seqio_tasks.layout import work_name
from shammie.errors import UserError
from shammie.files import join
from shammie.names import plain_name


class Work:
    """The work folder of one split of one output.

    Attributes:
        output: the output folder.
        folder: the work folder.
    """

    def __init__(self, output: str, split: str) -> None:
        self.output, self.split = output, split
        self.folder = join(output, work_name(split))
        self.units, self.shards = join(self.folder, "units"), join(self.folder, "shards")

    def start(self, plan: Plan, config: dict[str, Any], digest: str) -> None:
        """Writes the plan, or checks that the one that is there is the same.

        Raises:
            UserError: it holds another job's work, or an input has changed since.
        """
        wanted = {"plan": plan.to_json(), "config": config, "digest": digest}
        there = storage.read_json_or_none(join(self.folder, "plan.json"))
        if there is None:
            for folder in (self.folder, self.units, self.shards):
                storage.make_directory(folder)
            storage.write_bytes(join(self.folder, "plan.json"), json.dumps(wanted).encode())
            return
        if there["digest"] != digest:
            raise other_job(self.output, there["config"], config)
        changed = changed_input({source.path: source.changed for source in Plan.from_json(there["plan"]).sources}, plan)
        if changed:
            raise UserError(
                f"input {changed} changed since the job in {self.output} began", "start over with --overwrite"
            )

    def config_or_none(self) -> dict[str, Any] | None:
        """The config of the job that this folder is of; None where there is none."""
        there = storage.read_json_or_none(join(self.folder, "plan.json"))
        return there and there["config"]

    def read_plan(self) -> tuple[Plan, dict[str, Any]]:
        """The plan and the config."""
        value = storage.read_json(join(self.folder, "plan.json"))
        return Plan.from_json(value["plan"]), value["config"]

    def unit_name(self, unit: int) -> str:
        """The stem of a unit's files."""
        return f"{unit:06d}"

    def unit_report(self, unit: int) -> dict[str, Any] | None:
        """A finished unit's report; None where it must be done, for whatever reason.

        One whose input could not be read is tried again: the file system may have mended, and what is missing from it
        is lost otherwise.
        """
        report = storage.read_json_or_none(join(self.units, f"{self.unit_name(unit)}.json"))
        if report is None or any(reason.startswith(UNREADABLE) for _, reason in report["stats"]["damaged"]):
            return None
        if not are_whole(self.units, sorted_runs(report)):
            return None
        return report

    def unit_reports(self, count: int) -> list[dict[str, Any]]:
        """The reports of all units; they must be there."""
        return [storage.read_json(join(self.units, f"{self.unit_name(unit)}.json")) for unit in range(count)]

    def write_unit_report(self, unit: int, runs: list[SortedRun], letters: list[DeadLetter], stats: Any) -> None:
        """Ends a unit: its dead letters, then its report."""
        lines = [json.dumps(asdict(letter), sort_keys=True) + "\n" for letter in letters]
        if lines:
            storage.write_bytes(self.dead_letters_of(unit), "".join(lines).encode())
        report = {"runs": [asdict(run) for run in runs], "dead_letters": len(lines), "stats": stats}
        storage.write_bytes(join(self.units, f"{self.unit_name(unit)}.json"), json.dumps(report).encode())

    def dead_letters_of(self, unit: int) -> str:
        """The path of a unit's dead letters."""
        return join(self.units, f"{self.unit_name(unit)}.dead.jsonl")

    def shard_report(self, shard: int) -> dict[str, Any] | None:
        """A finished shard's report, or None where it must be done."""
        report = storage.read_json_or_none(join(self.shards, f"{shard:05d}.json"))
        if report is None or storage.size_of(join(self.output, plain_name(report["name"], "shard"))) != report["size"]:
            return None
        return report

    def write_shard_report(self, shard: int, report: dict[str, Any]) -> None:
        """Ends a shard."""
        storage.write_bytes(join(self.shards, f"{shard:05d}.json"), json.dumps(report).encode())

    def finished(self) -> tuple[list[int], list[int]]:
        """The units and the shards that have reports."""
        units = [int(n[:-5]) for n in storage.list_directory(self.units) if n.endswith(".json")]
        return units, [int(n[:-5]) for n in storage.list_directory(self.shards) if n.endswith(".json")]


def sorted_runs(report: dict[str, Any]) -> list[SortedRun]:
    """The sorted runs of a unit's report."""
    return [SortedRun.from_json(run) for run in report["runs"]]


def changed_input(before: dict[str, float], plan: Plan) -> str | None:
    """The first source whose time of change is not the one that was noted for its path; None where all are the same."""
    differing = (s.path for s in plan.sources if before.get(s.path, s.changed) != s.changed)
    return next(differing, None)


def other_job(output: str, there: dict[str, Any], wanted: dict[str, Any]) -> UserError:
    """The error for an output folder that holds another job's files; names the first setting that differs."""
    differing = [key for key in wanted if there.get(key) != wanted[key]]
    what = f" (another {', '.join(differing[:3]).replace('_', ' ')})" if differing else ""
    return UserError(f"{output} holds another job's files{what}", "choose another --output, or --overwrite it")
