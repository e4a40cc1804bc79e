"""The run of a job over numbered shards (`beam_jobs.sharded`): held, resumed, watched, ended."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection

from beam_jobs import storage
from beam_jobs.runner import job_options, one_worker, run_pipeline
from beam_jobs.sharded import Shards
from shammie.files import is_local, join
from shammie.lock import LOCK, holding
from shammie.progress import Progress


def run_sharded(
    shards: Shards,
    config: Mapping[str, Any],
    build: Callable[[PCollection[int]], object],
    beam_flags: Sequence[str] = (),
    *,
    overwrite: bool = False,
    max_bad_share: float = 0.0,
    what: str,
) -> dict[str, Any]:
    """Runs what is left of a job; a finished one is only read.

    The output folder is `held` meanwhile.

    Args:
        shards: the output.
        config: all that decides the records, as JSON values.
        build: adds the transforms that do units, to a collection of their numbers; each writes its shard.
        beam_flags: flags for Beam.
        overwrite: start over.
        max_bad_share: the share of dead letters that is tolerated.
        what: names the job in its progress line.

    Returns:
        The manifest.

    Raises:
        UserError: see `Shards.start` and `Shards.finish`, and whatever a worker marks for people.
    """
    job_options(beam_flags, [shards.output])  # what is wrong with them shows before any work is done
    storage.make_directory(shards.output)
    with held(shards.output):
        manifest = shards.start(config, overwrite=overwrite)
        if manifest is not None:
            return manifest
        left = [number for number in range(shards.count) if shards.report(number) is None]

        def whole(pipeline: beam.Pipeline) -> None:
            numbers = pipeline | "Units" >> beam.Create(left, reshuffle=False)
            if not one_worker(beam_flags):
                numbers |= "Spread units" >> beam.Reshuffle()
            build(numbers)

        if left:
            with Progress(what, shards.count, "shards", start=shards.finished()) as progress:
                with watched(lambda: progress.to(shards.finished()), shards.output):
                    run_pipeline(whole, beam_flags, folder=shards.output)
        return shards.finish(config, max_bad_share=max_bad_share)


def held(folder: str) -> AbstractContextManager[None]:
    """Holds a local output folder against other jobs; an object store offers no lock.

    Raises:
        UserError: another job holds it.
    """
    if not is_local(folder):
        return nullcontext()
    return holding(folder, option="--output", if_dead=f"remove {join(folder, LOCK)}")


@contextmanager
def watched(look: Callable[[], None], folder: str) -> Iterator[None]:
    """Looks at an output folder again and again while a pipeline fills it, and once more when that has ended well.

    Args:
        look: counts what is there and tells it; runs in a thread of its own.
        folder: the output; a local one is looked at more often.
    """
    over = threading.Event()
    every = 0.5 if is_local(folder) else 10.0

    def watch() -> None:
        while not over.wait(every):
            look()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
    look()
