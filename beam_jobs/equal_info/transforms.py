"""The two DoFns: a unit in, sorted runs out; all sorted runs in, a shard out."""

import os
from collections import Counter
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

import apache_beam as beam
import numpy as np
from apache_beam.metrics.metric import Metrics

from beam_jobs import storage
from beam_jobs.ahead import Threads
from beam_jobs.equal_info.encode import COUNTED, Encoded, FixedSize, Layout, serialise, whole
from beam_jobs.ordering import source_key
from beam_jobs.readers import read_unit
from beam_jobs.records import UNREADABLE, DeadLetter, without_empty
from beam_jobs.runner import for_the_driver
from beam_jobs.shards import write_shard
from beam_jobs.sorted_runs import SortedRun, append_run
from beam_jobs.units import Plan, ReadConfig
from beam_jobs.work import Work, sorted_runs
from models.equal_info.load import AnyCodec, codec_of_bytes
from seqio_tasks.layout import CODEC_FILE
from shammie.errors import UserError
from shammie.files import join
from shammie.packages import check_packages_are_ours

NAMESPACE = "equal_info"
_AT_HAND: dict[bytes, AnyCodec] = {}


class Batch(NamedTuple):
    """Text, how it becomes examples, and how many empty documents were left out."""

    text: np.ndarray
    layout: Layout
    empty: int


class Encoder:
    """What a worker holds to encode batches: codec, config and the keys of the sources.

    Args:
        plan: sources and units.
        config: `config.dataset_config`.
        codec: the dataset's codec.
        threads: for the codec.
    """

    def __init__(self, plan: Plan, config: dict[str, Any], codec: AnyCodec, threads: int) -> None:
        self.plan, self.config, self.codec, self.threads = plan, config, codec, threads
        self.keys = np.array([source_key(source.name) for source in plan.sources], np.uint64)
        self.read = read_config(config)

    def items(self, unit: int) -> Iterator[Batch | DeadLetter]:
        """A unit's batches and its dead letters."""
        size, group = self.config["example_bytes"], self.config["group_documents"]
        groups = FixedSize(group=group, example_bytes=size) if size else None
        for item in read_unit(self.plan, self.plan.units[unit], self.read):
            if isinstance(item, DeadLetter):
                yield item
                continue
            documents, empty = without_empty(item)
            documents, layout = groups.cut(documents) if groups else (documents, whole(documents))
            yield Batch(documents.text, layout, empty)
        if groups:
            documents, layout = groups.cut(None)
            yield Batch(documents.text, layout, 0)

    def encode(self, batch: Batch) -> tuple[Layout, np.ndarray, np.ndarray]:
        """The codes of a batch: the arguments of `serialise`."""
        codes, bounds = self.codec.encode_documents(batch.text, batch.layout.text_bounds, threads=self.threads)
        return batch.layout, codes, bounds

    def serialise(self, layout: Layout, codes: np.ndarray, bounds: np.ndarray) -> Encoded:
        """The records of a batch."""
        return serialise(layout, codes, bounds, seed=self.config["seed"], keys=self.keys)


def codec_of(data: bytes, path: str) -> AnyCodec:
    """The codec of an artefact; the last one that this process made is not made again."""
    if data not in _AT_HAND:
        _AT_HAND.clear()
        _AT_HAND[data] = codec_of_bytes(data, name=path)
    return _AT_HAND[data]


def read_config(config: dict[str, Any]) -> ReadConfig:
    """The reading part of `config.dataset_config`."""
    names = ("documents", "text_field", "unit_bytes", "max_example_bytes")
    return ReadConfig(**{name: config[name] for name in names})


class EncodeUnit(beam.DoFn):
    """Unit number in, unit number out; the work is in the work folder.

    Args:
        output: the dataset's folder.
        split: the split.
        threads: for the codec.
    """

    def __init__(self, output: str, split: str, threads: int) -> None:
        self.output, self.split, self.threads = output, split, threads
        self.driver = os.getpid()

    def setup(self) -> None:
        """Loads plan and codec, once per worker."""
        with for_the_driver(self.output):
            if os.getpid() != self.driver:  # a worker elsewhere may find other packages under our common names
                check_packages_are_ours()
            self.work = Work(self.output, self.split)
            plan, config = self.work.read_plan()
            path = join(self.output, CODEC_FILE)
            codec = codec_of(storage.read_bytes(path), path)
            if codec.fingerprint != config["codec_fingerprint"]:
                raise UserError(f"{path} is another codec than the dataset's", "start over with --overwrite")
            self.encoder = Encoder(plan, config, codec, self.threads)
            self.ahead = Threads()

    def teardown(self) -> None:
        """Ends the threads."""
        if hasattr(self, "ahead"):
            self.ahead.close()

    def process(self, unit: int) -> Iterator[int]:
        """Does the unit unless its report is there."""
        with for_the_driver(self.output):
            report = self.work.unit_report(unit)
            stats = report["stats"] if report else self._do(unit)
        for name in COUNTED:
            Metrics.counter(NAMESPACE, name).inc(stats.get(name, 0))
        Metrics.counter(NAMESPACE, "units_kept" if report else "units_done").inc()
        for reason, count in stats["dead_letters"].items():
            Metrics.counter(NAMESPACE, f"dead_letters/{reason}").inc(count)
        yield unit

    def _do(self, unit: int) -> dict[str, Any]:
        runs: list[SortedRun] = []
        letters: list[DeadLetter] = []
        counts: Counter[str] = Counter()
        name = f"{self.work.unit_name(unit)}.sorted"
        most = 0

        def finish(file: IO[bytes], *batch: Any) -> None:
            nonlocal most
            encoded = self.encoder.serialise(*batch)
            most = max(most, encoded.stats["targets_max_tokens"])
            counts.update({name: encoded.stats[name] for name in COUNTED})
            start, shards = runs[-1].stop if runs else 0, self.encoder.config["num_shards"]
            runs.append(
                append_run(
                    file, name, start, hashes=encoded.hashes, bounds=encoded.bounds, data=encoded.data, shards=shards
                )
            )

        # no waiting for the disk: after a power cut the size and checksums tell what was lost
        with storage.writing(join(self.work.units, name), sync=False) as file, self.ahead.write_behind() as behind:
            for item in self.ahead.read_ahead(self.encoder.items(unit)):
                if isinstance(item, DeadLetter):
                    letters.append(item)
                    continue
                counts["empty_documents"] += item.empty
                if len(item.layout.sources):
                    behind(finish, file, *self.encoder.encode(item))
        reasons = Counter(letter.reason for letter in letters)
        damaged = [[letter.source, letter.reason] for letter in letters if letter.whole_source]
        stats = {**counts, "targets_max_tokens": most, "dead_letters": dict(reasons), "damaged": damaged}
        self.work.write_unit_report(unit, runs, letters, stats)
        return stats


class WriteShard(beam.DoFn):
    """Shard number in, shard number out, once all units are done (a side input waits for them).

    Args:
        output: the dataset's folder.
        split: the split.
        max_bad_share: see `JobConfig`.
        max_bad_sources: see `JobConfig`.
    """

    def __init__(self, output: str, split: str, *, max_bad_share: float, max_bad_sources: int) -> None:
        self.output, self.split = output, split
        self.max_bad_share, self.max_bad_sources = max_bad_share, max_bad_sources
        self.runs = None

    def setup(self) -> None:
        """Starts the threads."""
        self.ahead = Threads()

    def teardown(self) -> None:
        """Ends the threads."""
        self.ahead.close()

    def process(self, shard: int, units: list[int]) -> Iterator[int]:
        """Writes the shard unless its report is there."""
        with for_the_driver(self.output):
            if self.runs is None:
                self.work = Work(self.output, self.split)
                self.config = self.work.read_plan()[1]
                reports = self.work.unit_reports(len(units))
                check_bad_records(
                    [report["stats"] for report in reports],
                    max_bad_share=self.max_bad_share,
                    max_bad_sources=self.max_bad_sources,
                    letters=join(self.work.units, "*.dead.jsonl"),
                )
                self.runs = [run for report in reports for run in sorted_runs(report)]
            kept = self.work.shard_report(shard) is not None
            if not kept:
                written = write_shard(
                    self.runs,
                    work=self.work.units,
                    output=self.output,
                    shard=shard,
                    shards=self.config["num_shards"],
                    split=self.split,
                    shard_format=self.config["output_format"],
                    threads=self.ahead,
                )
                self.work.write_shard_report(shard, written.to_json())
        Metrics.counter(NAMESPACE, "shards_kept" if kept else "shards_done").inc()
        yield shard


def check_bad_records(stats: list[dict[str, Any]], *, max_bad_share: float, max_bad_sources: int, letters: str) -> None:
    """Raises UserError where more is bad than was allowed, or nothing is left."""
    damaged = [tuple(one) for unit in stats for one in unit["damaged"]]
    if len(damaged) > max_bad_sources:
        source, reason = damaged[0]
        more = f" (and {len(damaged) - 1} more)" if len(damaged) > 1 else ""
        again = all(reason.startswith(UNREADABLE) for _, reason in damaged)
        cure = "run the same command again to read it again" if again else "mend it and --overwrite"
        raise UserError(
            f"input {source}: {reason}{more}",
            f"{cure}, or go on with what could be read by --max_bad_sources={len(damaged)}",
        )
    bad = sum(sum(unit["dead_letters"].values()) for unit in stats) - len(damaged)
    good = sum(unit.get("documents", 0) + unit.get("empty_documents", 0) for unit in stats)
    if bad > max_bad_share * (bad + good):
        raise UserError(
            f"{bad} of {bad + good} records are bad, see {letters}",
            f"mend them and --overwrite, or raise --max_bad_share above {max_bad_share}",
        )
    if not sum(unit.get("examples", 0) for unit in stats):
        raise UserError("the input holds no document with a byte in it", "name files that hold text")
