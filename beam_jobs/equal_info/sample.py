"""The job for real on a sample of its units, in this process and into a temporary folder: what it gives and takes.

Reading, encoding, sorted runs and shards are the job's own, so that what is measured is what will run. Processor
seconds of this process are counted, which hardly depend on what else the machine does.
"""

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

from beam_jobs import storage
from beam_jobs.equal_info.config import JobConfig, dataset_config
from beam_jobs.equal_info.dataset import total
from beam_jobs.equal_info.encode import COUNTED
from beam_jobs.equal_info.job import run_stages
from beam_jobs.equal_info.job_rates import JobRates, opened, parts
from beam_jobs.shards import SLICE_BYTES, slices
from beam_jobs.sorted_runs import SortedRun, open_run
from beam_jobs.units import Plan, Unit
from beam_jobs.work import Work, sorted_runs
from models.equal_info.load import AnyCodec
from shammie.files import join

SAMPLE_UNITS = 16
SAMPLE_BYTES = 192 << 20  # the most that is read, where units can be shortened
FIRST_BYTES = 1 << 20
GROWTH = 14.0  # from one sample to the next: 1, 14 and 192 MB
ENOUGH_SECONDS = 5.0  # of processor time: a slower codec has no use of a larger sample
LARGE_RUNS = 2  # of the largest sample, whose times are averaged
PART_BYTES = 4 << 10  # of the parts that are timed: about those of a job on some gigabytes
LEAST_FINER = 8  # the slices that parts are timed on are so many times as fine as the job's
OPENED_TIMES = 8
MOST_BUSY = 3.0  # a worker has three threads


@dataclass(frozen=True)
class Sample:
    """What a run of the job on a sample gave and took.

    Attributes:
        bytes: of the sources, as they lie on disk.
        counted: `encode.COUNTED` and dead_letters.
        output_bytes: of the shards.
        work_bytes: of the sorted runs, which lie beside the shards until the end.
        runs: sorted runs.
        shards: written.
        core_seconds: user and system time, of all threads of this process.
        seconds: by the clock.
    """

    bytes: int
    counted: dict[str, int]
    output_bytes: int
    work_bytes: int
    runs: int
    shards: int
    core_seconds: float
    seconds: float


def rates_of(large: Sample, small: Sample | None, opened_seconds: float, part_seconds: float) -> JobRates:
    """The rates that two runs tell; what both have in common is no part of them.

    Args:
        large: the largest sample's run.
        small: a smaller one; None where all of the input is too little for two.
        opened_seconds: see `JobRates`.
        part_seconds: see `JobRates`.
    """

    def linear(one: Sample) -> float:
        examples = one.counted["examples"]
        merging = opened(one.runs, one.shards, examples) * opened_seconds
        return one.core_seconds - merging - parts(one.runs, one.shards, examples, one.output_bytes) * part_seconds

    taken, size = linear(large), large.bytes
    if small is not None:
        taken, size = taken - linear(small), size - small.bytes
    slope = max(0.0, taken) / max(1, size)
    each = 1 / max(1, large.bytes)
    return JobRates(
        {name: count * each for name, count in large.counted.items()},
        large.output_bytes * each,
        large.work_bytes * each,
        large.runs * each,
        slope,
        max(0.0, linear(large) - slope * large.bytes),
        opened_seconds,
        part_seconds,
        min(MOST_BUSY, max(1.0, large.core_seconds / large.seconds)),
    )


def sampled(config: JobConfig, plan: Plan, codec: AnyCodec, artefact: bytes) -> tuple[JobRates, int]:
    """Runs the job on growing samples of its units, until there is enough to go by.

    Args:
        config: the job.
        plan: its sources and units.
        codec: the job's codec.
        artefact: its bytes.

    Returns:
        The rates, and the bytes of the largest sample.
    """
    settings = dataset_config(config, plan, codec)
    runs: list[Sample] = []
    told: list[tuple[float, float]] = []

    def once(part: Plan, look: Callable[[Work, list[SortedRun], int], None] | None = None) -> Sample:
        return _run(config, part, settings, plan.size, artefact, look)

    wanted = float(FIRST_BYTES)
    part = _part(plan, wanted)
    once(part)  # the first run loads compiled code
    while True:
        last = _bytes(part) >= _bytes(_part(plan, SAMPLE_BYTES))
        run = once(part, lambda *merged: told.append(_merging(*merged)))
        runs.append(run)
        if last or run.core_seconds > ENOUGH_SECONDS / 2:
            break
        wanted *= GROWTH
        part = _part(plan, min(wanted, SAMPLE_BYTES))
    small = next((one for one in reversed(runs[:-1]) if one.bytes < runs[-1].bytes), None)
    large = [runs[-1]] if small is None else [runs[-1], *(once(part) for _ in range(LARGE_RUNS - 1))]
    core_seconds, seconds = (sum(map(attrgetter(name), large)) / len(large) for name in ("core_seconds", "seconds"))
    return rates_of(replace(runs[-1], core_seconds=core_seconds, seconds=seconds), small, *told[-1]), runs[-1].bytes


def _part(plan: Plan, size: float) -> Plan:
    """A plan of fewer or shorter units, spread over all, of about `size` bytes; the sources stay."""
    every = max(1, len(plan.units) // SAMPLE_UNITS)
    chosen: list[Unit] = []
    left = size
    candidates = plan.units[::every][:SAMPLE_UNITS]
    for number, unit in enumerate(candidates):
        if chosen and left <= 0:
            break
        unit = _shortened(plan, unit, max(1, math.ceil(left / (len(candidates) - number))))
        chosen.append(unit)
        left -= unit.size
    return replace(plan, units=tuple(chosen))


def _shortened(plan: Plan, unit: Unit, size: int) -> Unit:
    """A unit of which only the start is read, where its kind allows."""
    source = plan.sources[unit.first]
    ranged = unit.last == unit.first + 1 and unit.stop >= 0 and source.format in ("text", "jsonl")
    if not ranged or unit.size <= size:
        return unit
    return replace(unit, stop=unit.start + size, size=size)


def _bytes(plan: Plan) -> int:
    return sum(unit.size for unit in plan.units)


def _run(
    config: JobConfig,
    part: Plan,
    settings: dict[str, Any],
    whole_bytes: int,
    artefact: bytes,
    look: Callable[[Work, list[SortedRun], int], None] | None,
) -> Sample:
    """One run of the job on a part; `look` is shown its work folder, its sorted runs and its number of shards."""
    size = _bytes(part)
    shards = (
        max(1, round(settings["num_shards"] * size / whole_bytes)) if size < whole_bytes else settings["num_shards"]
    )
    with tempfile.TemporaryDirectory(prefix="shammie-sample-") as folder:
        # bad records are what the estimate tells; they stop the job itself
        here = replace(config, output=folder, max_bad_share=1.0, max_bad_sources=len(part.sources))
        core, clock = time.process_time(), time.monotonic()
        run_stages(here, (), plan=part, wanted={**settings, "num_shards": shards}, artefact=artefact)
        core, clock = time.process_time() - core, time.monotonic() - clock
        work = Work(folder, config.split)
        reports = work.unit_reports(len(part.units))
        stats = total([report["stats"] for report in reports])
        runs = [run for report in reports for run in sorted_runs(report)]
        written = [work.shard_report(shard) or {} for shard in range(shards)]
        if look and runs:
            look(work, runs, shards)
        names = [name for name in storage.list_directory(work.units) if name.endswith(".sorted")]
        return Sample(
            size,
            {**{name: stats[name] for name in COUNTED}, "dead_letters": sum(stats["dead_letters"].values())},
            sum(one.get("size", 0) for one in written),
            sum(storage.size_of(join(work.units, name)) or 0 for name in names),
            len(runs),
            shards,
            core,
            clock,
        )


def _merging(work: Work, runs: list[SortedRun], shards: int) -> tuple[float, float]:
    """Processor seconds of opening a run for a shard, and of each part that a finer slicing of the first shard adds."""
    chosen = [run for run in runs if run.cuts[1]]
    started = time.process_time()
    for _ in range(OPENED_TIMES):
        for run in chosen:
            open_run(work.units, run, 0)
    opened_seconds = (time.process_time() - started) / max(1, OPENED_TIMES * len(chosen))
    merged = [open_run(work.units, run, 0) for run in chosen]
    size, examples = sum(int(run.bounds[-1] - run.bounds[0]) for run in merged), sum(len(run.hashes) for run in merged)
    took, met = [], []
    for slice_bytes in (SLICE_BYTES, min(len(merged) * PART_BYTES, SLICE_BYTES // LEAST_FINER)):
        started = time.process_time()
        found = sum(1 for _ in slices(merged, max(1, slice_bytes)))
        took.append(time.process_time() - started)
        met.append(opened(len(merged), found, examples))
    added = met[1] - met[0]
    return opened_seconds, max(0.0, took[1] - took[0]) / added if size and added > 1 else 0.0
