"""A folder of numbered shards of JSON lines, one for each unit of a job's work; what is there is not done again.

    OUTPUT/NAME-00003-of-00016.jsonl    a unit's records, in their order
    OUTPUT/_work/plan.json              the job's config
                 00003.json             a unit's report, written after its shard: counters, size, sha256
    OUTPUT/dead_letters.jsonl           what no record came of, with reasons
    OUTPUT/manifest.json                config, shards and counters; written last: without it the job has not ended

What a shard holds is decided by the config and its number alone, never by the workers.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from beam_jobs import storage
from beam_jobs.work import other_job
from models.rest_em.records import Record, read_records, to_lines
from seqio_tasks import layout
from shammie import lock
from shammie.errors import UserError
from shammie.files import canonical_json, digest, is_leftover, join, remove_leftovers

MANIFEST = "manifest.json"
DEAD_LETTERS = "dead_letters.jsonl"
WORK = "_work"
R = TypeVar("R", bound=Record)


class Shards:
    """The output folder of one job.

    Args:
        output: the folder.
        name: what its records are, in one word.
        count: how many shards there are.
    """

    def __init__(self, output: str, name: str, count: int) -> None:
        self.output, self.name, self.count = output, name, count
        self.work = join(output, WORK)

    def shard_name(self, number: int) -> str:
        """The name of a shard's file."""
        return f"{self.name}-{number:05d}-of-{self.count:05d}.jsonl"

    def start(self, config: Mapping[str, Any], *, overwrite: bool = False) -> dict[str, Any] | None:
        """Writes the plan, or checks that what is there is the same job's; the manifest where that has ended before.

        Args:
            config: all that decides the records, as JSON values.
            overwrite: remove what another job, or an earlier run, left in the folder.

        Raises:
            UserError: the folder holds another job's files, or files that are no job's.
        """
        wanted = {"config": _as_read(config), "digest": digest(dict(config))}
        names = [n for n in storage.list_directory(self.output) if n != lock.LOCK and not is_leftover(n)]
        there = storage.read_json_or_none(join(self.work, "plan.json")) or manifest_or_none(self.output)
        if there is not None and overwrite:
            for name in names:
                if name in (MANIFEST, WORK) or name.endswith(".jsonl"):
                    storage.remove(join(self.output, name))
            there = None
        elif there is not None and there["digest"] != wanted["digest"]:
            raise other_job(self.output, there["config"], wanted["config"])
        elif there is None and names not in ([], [WORK]):  # a kill may leave the work folder without a plan
            raise UserError(f"{self.output} is not empty and holds no work of this job", "choose another --output")
        if there is None:
            storage.make_directory(self.work)
            storage.write_json(join(self.work, "plan.json"), wanted)
        manifest = manifest_or_none(self.output)
        for shard in manifest["shards"] if manifest else ():
            if storage.size_of(join(self.output, shard["name"])) != shard["size"]:
                raise UserError(
                    f"{shard['name']} of {self.output} is missing or damaged", "start over with --overwrite"
                )
        return manifest

    def report(self, number: int) -> dict[str, Any] | None:
        """A finished unit's report; None where it must be done."""
        report = storage.read_json_or_none(self._report_path(number))
        if not isinstance(report, dict) or report.get("name") != self.shard_name(number):
            return None
        return report if storage.size_of(join(self.output, report["name"])) == report.get("size") else None

    def write(
        self,
        number: int,
        records: Iterable[Record],
        counters: Mapping[str, float],
        letters: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Ends a unit: its shard, then its report.

        Args:
            number: the unit's.
            records: in their order.
            counters: are summed over all units.
            letters: what no record came of: what it is called, and why.
        """
        listed = list(records)
        data = to_lines(listed)
        name = self.shard_name(number)
        storage.write_bytes(join(self.output, name), data)
        report = {
            "name": name,
            "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "counters": {**counters, "records": len(listed)},
            "dead": list(letters),
        }
        storage.write_json(self._report_path(number), report)

    def discard(self, number: int) -> None:
        """Makes a unit one that must be done."""
        storage.remove(self._report_path(number))

    def finished(self) -> int:
        """How many units have ended."""
        return sum(name[:-5].isdecimal() for name in storage.list_directory(self.work))

    def finish(self, config: Mapping[str, Any], *, max_bad_share: float = 0.0) -> dict[str, Any]:
        """Writes and returns the manifest; its counters are the sums over all shards.

        Args:
            config: as given to `start`.
            max_bad_share: the share of records that may have become dead letters.

        Raises:
            UserError: a unit's report is missing, or too much has become dead letters. What did become records is
                kept, and the units of the rest are done again by the next run.
        """
        shards, total = [], Counter()
        dead: dict[int, list[list[str]]] = {}
        for number in range(self.count):
            report = self.report(number)
            if report is None:
                raise UserError(f"shard {number} of {self.output} went missing", "run the same command again")
            total.update(report.pop("counters"))
            dead[number] = report.pop("dead")
            shards.append(report)
        letters = [letter for one in dead.values() for letter in one]
        total["dead_letters"] = len(letters)
        if len(letters) > max_bad_share * (len(letters) + total["records"]):
            for number in (number for number, one in dead.items() if one):
                self.discard(number)
            raise UserError(
                f"{len(letters)} of {len(letters) + total['records']:.0f} {self.name} failed, the first: "
                f"{letters[0][0]}: {letters[0][1]}",
                f"mend it and run the same command again, or allow more by --max_bad_share (now {max_bad_share:g})",
            )
        lines = [canonical_json({"id": name, "reason": reason}) + "\n" for name, reason in letters]
        storage.write_bytes(join(self.output, DEAD_LETTERS), "".join(lines).encode())
        config = _as_read(config)
        counters = dict(sorted(total.items()))
        manifest = {"config": config, "digest": digest(config), "shards": shards, "counters": counters}
        storage.write_json(join(self.output, MANIFEST), manifest)
        storage.remove(self.work)
        remove_leftovers(self.output)
        return manifest

    def _report_path(self, number: int) -> str:
        return join(self.work, f"{number:05d}.json")


def _as_read(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config as JSON gives it back."""
    return json.loads(canonical_json(dict(config)))


def manifest_or_none(output: str) -> dict[str, Any] | None:
    """The manifest of a finished job; None where there is none, or half of one.

    Raises:
        UserError: it is none of ours, or names a shard outside of the folder.
    """
    path = join(output, MANIFEST)
    found = storage.read_json_or_none(path)
    return None if found is None else layout.checked(found, path)


def read_manifest(folder: str) -> dict[str, Any]:
    """The manifest of a finished job.

    Raises:
        UserError: the folder holds none.
    """
    found = manifest_or_none(folder)
    if found is None:
        raise UserError(f"{folder} holds no finished job", "run python -m beam_jobs.rest_em to its end")
    return found


def read_shard(folder: str, manifest: Mapping[str, Any], number: int, kind: type[R]) -> list[R]:
    """The records of a shard.

    Raises:
        UserError: it is missing or damaged.
    """
    shard = manifest["shards"][number]
    path = join(folder, shard["name"])
    if storage.size_of(path) != shard["size"]:
        raise UserError(f"{path} is missing or damaged", "run the job that wrote it again")
    return read_records(path, kind)


def read_all(folder: str, kind: type[R]) -> list[R]:
    """The records of a finished job, shard by shard."""
    manifest = read_manifest(folder)
    numbers = range(len(manifest["shards"]))
    return [record for number in numbers for record in read_shard(folder, manifest, number, kind)]
