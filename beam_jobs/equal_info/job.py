"""The job from end to end: plan, units, shards, what describes the dataset, COMPLETED last."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsList, PCollection

from beam_jobs import storage
from beam_jobs.equal_info import dataset
from beam_jobs.equal_info.config import CODEC_FILE, JobConfig, JobResult, dataset_config
from beam_jobs.equal_info.transforms import EncodeUnit, WriteShard, codec_of
from beam_jobs.runner import one_worker, pipeline_options, run_pipeline
from beam_jobs.units import Plan, find_sources, plan_units
from beam_jobs.work import Work, other_job
from models.equal_info.codec import Codec
from shammie.errors import UserError
from shammie.files import digest, is_local, join
from shammie.progress import Progress


def run(config: JobConfig, beam_flags: Sequence[str] = ()) -> JobResult:
    """Runs the job, or what is left of it; a finished one is only read.

    Args:
        config: the job.
        beam_flags: flags for Beam, such as --runner=FlinkRunner or --direct_num_workers=4.

    Returns:
        What was written.

    Raises:
        shammie.errors.UserError: bad flags, input, codec or output, or too many bad records.
        OSError: the output cannot be written.
    """
    started = time.monotonic()
    pipeline_options(beam_flags)  # a wrong flag shows before any work is done
    codec, artefact = load_codec(config.codec)
    plan = plan_of(config)
    wanted = dataset_config(config, plan, codec)
    identity = digest(wanted)
    work = Work(config.output, config.split)
    if config.overwrite:
        dataset.remove_split(config.output, config.split)
    else:
        there = dataset.read_manifest(config.output, config.split)
        if there is not None:
            if there["digest"] != identity:
                raise other_job(config.output, there["config"], wanted)
            dataset.check_shards(config.output, there)
            dataset.finish(config.output)
            storage.remove(work.folder)
            stats = storage.read_json(join(config.output, f"stats.{config.split}.json"))
            return JobResult(config.output, config.split, stats, there, {}, time.monotonic() - started)
    dataset.claim(config.output, codec.fingerprint)
    storage.remove(join(config.output, dataset.COMPLETED))
    work.start(plan, wanted, identity)
    storage.write_bytes(join(config.output, CODEC_FILE), artefact)

    def build(pipeline: beam.Pipeline) -> None:
        spread = not one_worker(beam_flags)
        build_pipeline(pipeline, config, units=len(plan.units), shards=wanted["num_shards"], spread=spread)

    with _watched(work, plan, wanted["num_shards"]):
        counters = run_pipeline(build, beam_flags)
    stats, manifest = dataset.describe(work, plan, wanted, identity)
    storage.remove(work.folder)
    dataset.finish(config.output)
    return JobResult(config.output, config.split, stats, manifest, counters, time.monotonic() - started)


def build_pipeline(
    pipeline: beam.Pipeline, config: JobConfig, *, units: int, shards: int, spread: bool = True
) -> PCollection[int]:
    """Adds the two stages; only numbers travel through Beam, text and records through files.

    Args:
        pipeline: where to.
        config: the job.
        units: how many there are.
        shards: how many to write.
        spread: hand the work to many workers; with a single one that is time lost.
    """
    write = WriteShard(
        config.output, config.split, max_bad_share=config.max_bad_share, max_bad_sources=config.max_bad_sources
    )
    numbers = pipeline | "Units" >> beam.Create(range(units), reshuffle=False)
    if spread:
        numbers |= "Spread units" >> beam.Reshuffle()
    encoded = numbers | "Encode units" >> beam.ParDo(EncodeUnit(config.output, config.split, config.threads))
    numbers = pipeline | "Shards" >> beam.Create(range(shards), reshuffle=False)
    if spread:
        numbers |= "Spread shards" >> beam.Reshuffle()
    return numbers | "Write shards" >> beam.ParDo(write, AsList(encoded))


def load_codec(path: str) -> tuple[Codec, bytes]:
    """The codec that --codec names, and its artefact."""
    if path == "default":
        data = resources.files("models.equal_info").joinpath("default.codec").read_bytes()
    elif storage.exists(path):
        data = storage.read_bytes(path)
    else:
        raise UserError(f"codec {path} does not exist", "check --codec; default is the one that ships with shammie")
    return codec_of(data, path), data


def plan_of(config: JobConfig) -> Plan:
    """Sources and units of a job; what lies in the output folder is never read as input."""
    sources = find_sources(config.input, config.read)
    inside = [s.path for s in sources if is_local(s.path) and s.path.startswith(config.output.rstrip("/") + "/")]
    if inside:
        raise UserError(f"input {inside[0]} lies in the output folder", "choose another --output")
    return plan_units(sources, config.read)


@contextmanager
def _watched(work: Work, plan: Plan, shards: int) -> Iterator[None]:
    """A live line while the pipeline runs: it counts the reports that appear in the work folder."""
    over = threading.Event()
    every = 0.5 if is_local(work.folder) else 10.0

    def look(progress: Progress) -> None:
        while not over.wait(every):
            units, written = work.finished()
            progress.to(sum(plan.units[unit].size for unit in units), f"shards {len(written)} of {shards}")

    with Progress("equal_info: text encoded", plan.size, "B") as progress:
        watcher = threading.Thread(target=look, args=(progress,), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()
        progress.to(plan.size, f"shards {shards} of {shards}")


def summary(result: JobResult) -> dict[str, Any]:
    """The numbers that a person looks for first."""
    stats = result.stats
    return {
        "documents": stats["documents"],
        "megabytes": round(stats["text_bytes"] / 1e6, 3),
        "tokens": stats["targets_tokens"],
        "bytes_per_token": stats["bytes_per_token"],
        "dead_letters": sum(stats["dead_letters"].values()),
        "shards": len(result.manifest["shards"]),
        "seconds": round(result.seconds, 2),
        "megabytes_per_s": round(stats["text_bytes"] / 1e6 / result.seconds, 1),
    }
