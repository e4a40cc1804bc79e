"""The job from end to end: plan, units, shards, what describes the dataset, COMPLETED last."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsList, PCollection

from beam_jobs import storage, tfds
from beam_jobs.equal_info import dataset
from beam_jobs.equal_info.config import JobConfig, JobResult, dataset_config
from beam_jobs.equal_info.transforms import EncodeUnit, WriteShard, codec_of
from beam_jobs.runner import job_options, one_worker, run_pipeline
from beam_jobs.units import Plan, find_sources, plan_units
from beam_jobs.work import Work, other_job
from models.equal_info.load import AnyCodec, artefact_of_word
from seqio_tasks.layout import CODEC_FILE, COMPLETED, stats_name
from shammie.errors import UserError
from shammie.files import digest, is_local, join
from shammie.lock import LOCK, holding
from shammie.progress import Progress


def run(config: JobConfig, beam_flags: Sequence[str] = ()) -> JobResult:
    """Runs the job, or what is left of it; a finished one is only read.

    A local output folder is held against other jobs meanwhile. An object store offers no lock: there it is up to the
    caller that no two jobs write to one folder at a time.

    Args:
        config: the job.
        beam_flags: flags for Beam, such as --runner=FlinkRunner or --direct_num_workers=4.

    Returns:
        What was written.

    Raises:
        shammie.errors.UserError: bad flags, input, codec or output, too many bad records, or another job at work.
        OSError: the output cannot be written.
    """
    started = time.monotonic()
    texts = [pattern for pattern in config.input if not tfds.is_name(pattern)]
    job_options(beam_flags, [config.output, *texts])  # what is wrong with them shows before any work is done
    codec, artefact = load_codec(config.codec)
    plan = plan_of(config)
    dataset.claim(config.output)
    with _held(config.output):
        dataset.check_codec(config.output, config.split, codec.fingerprint)
        if config.overwrite:
            dataset.remove_split(config.output, config.split)
        stats, manifest, counters = _finish(config, beam_flags, plan, codec, artefact)
    return JobResult(config.output, config.split, stats, manifest, counters, time.monotonic() - started)


def _held(output: str) -> AbstractContextManager[None]:
    if not is_local(output):
        return nullcontext()
    return holding(output, option="--output", if_dead=f"remove {join(output, LOCK)}")


def _finish(
    config: JobConfig, beam_flags: Sequence[str], plan: Plan, codec: AnyCodec, artefact: bytes
) -> tuple[dict[str, Any], dict[str, Any], dict[str, int]]:
    """Stats, manifest and Beam's counters of a job, after all that is left of it was done."""
    output, split = config.output, config.split
    wanted = dataset_config(config, plan, codec)
    identity = digest(wanted)
    work = Work(output, split)
    there = dataset.read_manifest(output, split)
    if there is not None:
        if there["digest"] != identity:
            raise other_job(output, there["config"], wanted)
        dataset.check_inputs(output, split, plan)
        dataset.check_shards(output, there)
        dataset.finish(output)
        storage.remove(work.folder)
        return storage.read_json(join(output, stats_name(split))), there, {}
    storage.remove(join(output, COMPLETED))
    with _watched(work, plan, wanted["num_shards"]):
        counters = run_stages(config, beam_flags, plan=plan, wanted=wanted, artefact=artefact)
    stats, manifest = dataset.describe(work, plan, wanted, identity)
    storage.remove(work.folder)
    dataset.finish(output)
    return stats, manifest, counters


def run_stages(
    config: JobConfig, beam_flags: Sequence[str], *, plan: Plan, wanted: dict[str, Any], artefact: bytes
) -> dict[str, int]:
    """Plan, codec and both stages, into the output's work folder and its shards.

    Args:
        config: the job.
        beam_flags: for Beam.
        plan: its sources and units.
        wanted: `config.dataset_config` of them.
        artefact: the codec's bytes.

    Returns:
        Beam's counters.
    """
    Work(config.output, config.split).start(plan, wanted, digest(wanted))
    storage.write_bytes(join(config.output, CODEC_FILE), artefact)

    def build(pipeline: beam.Pipeline) -> None:
        spread = not one_worker(beam_flags)
        build_pipeline(pipeline, config, units=len(plan.units), shards=wanted["num_shards"], spread=spread)

    return run_pipeline(build, beam_flags, folder=config.output)


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


def load_codec(path: str) -> tuple[AnyCodec, bytes]:
    """The codec that --codec names, and its artefact."""
    data = artefact_of_word(path)
    if data is None and not storage.exists(path):
        raise UserError(
            f"codec {path} does not exist",
            "check --codec: a file, default for the one that ships with shammie, or bytes",
        )
    data = data or storage.read_bytes(path)
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
