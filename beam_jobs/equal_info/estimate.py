"""--dry_run: what a job gives and takes, from samples of its input and from what starting it takes on this machine.

The rates of `job_rates` are measured on the job's own input (`sample`); the start of the command, which depends on the
number of workers, on a few lines, once a machine.
"""

import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

from apache_beam.options.pipeline_options import DirectOptions

from beam_jobs.equal_info.config import JobConfig
from beam_jobs.equal_info.job import load_codec, plan_of
from beam_jobs.equal_info.sample import sampled
from beam_jobs.runner import pipeline_options
from shammie.errors import UserError
from shammie.measured import Numbers, measured
from shammie.processors import processors

START = "equal_info_start"
PACKAGES = ("apache-beam", "numba", "numpy")  # whose versions the rates of the job go by
_FEW_LINES = b"a few lines\nthat a job is started on\n"


def estimate(
    config: JobConfig,
    *,
    scale: float = 1.0,
    workers: int = 1,
    cores: int | None = None,
    remeasure: bool = False,
    start: Callable[[], Numbers] | None = None,
) -> dict[str, Any]:
    """What the job would give and take on this machine, as a command of its own; nothing of it is written.

    Args:
        config: the job.
        scale: the input is taken to be so many times as large, in as many more documents.
        workers: processes that work at a time.
        cores: that they share; None: this machine's.
        remeasure: measure what starting takes, though it is known.
        start: what starting takes, instead (`measure_start`).

    Returns:
        documents, text_bytes, examples, targets_tokens, end_ids, continuations, dead_letters, output_bytes, work_bytes
        (of the work folder, which goes at the end), core_seconds (user and system, all processes) and of it
        start_core_seconds and merge_core_seconds (what runs and shards cost each other), seconds (by the clock, on an
        idle machine); units, shards, sources, workers, scale, sample_share.

    Raises:
        UserError: scale or workers is no number above 0; bad input or codec.
    """
    for name, value in (("scale", scale), ("workers", workers), ("cores", cores or 1)):
        if not 0 < value < math.inf:
            raise UserError(f"--{name}={value} is no number above 0", "give one, such as 1")
    codec, artefact = load_codec(config.codec)
    plan = plan_of(config)
    rates, seen = sampled(config, plan, codec, artefact)
    size = plan.size * scale
    told = rates.forecast(size, config.num_shards)
    begun = start() if start else measured(START, measure_start, packages=PACKAGES, again=remeasure)
    shared = cores or processors()
    began = start_of(begun, workers, shared)
    seconds = began["seconds"] + told["core_seconds"] / min(workers * rates.busy, shared)
    return {
        **told,
        "core_seconds": round(told["core_seconds"] + began["core_seconds"], 2),
        "merge_core_seconds": round(told["merge_core_seconds"], 2),
        "start_core_seconds": round(began["core_seconds"], 2),
        "seconds": round(seconds, 2),
        "units": max(1, round(len(plan.units) * scale)),
        "sources": len(plan.sources),
        "workers": workers,
        "scale": scale,
        "sample_share": round(min(1.0, seen / size), 4),
    }


def start_of(begun: Numbers, workers: int, cores: int) -> Numbers:
    """Core seconds and seconds of a job with nothing to do, from those of one and of two workers.

    One worker lives in the job's own process; several are processes that each load what they need.
    """
    if workers == 1:
        return {"core_seconds": begun["one_core_seconds"], "seconds": begun["one_seconds"]}
    each = max(0.0, begun["two_core_seconds"] - begun["one_core_seconds"]) / 2
    rounds = max(1.0, workers / cores)
    waited = max(0.0, begun["two_seconds"] - begun["one_seconds"]) * rounds / max(1.0, 2 / cores)
    return {
        "core_seconds": begun["one_core_seconds"] + workers * each,
        "seconds": begun["one_seconds"] + waited,
    }


def measure_start() -> Numbers:
    """What the command takes on a few lines, with one worker and with two."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="shammie-start-") as folder:
        with open(f"{folder}/text.txt", "wb") as file:
            file.write(_FEW_LINES)
        for number, word in ((1, "one"), (2, "two")):
            command = [sys.executable, "-m", "beam_jobs.equal_info", "--input", f"{folder}/text.txt"]
            command += ["--output", f"{folder}/{word}", *flags_of(number)]
            before, clock = _of_children(), time.monotonic()
            subprocess.run(command, check=True, capture_output=True)
            found[f"{word}_seconds"] = time.monotonic() - clock
            found[f"{word}_core_seconds"] = _of_children() - before
    return found


def flags_of(workers: int) -> list[str]:
    """Beam's flags for so many workers on this machine."""
    if workers == 1:
        return []
    return [f"--direct_num_workers={workers}", "--direct_running_mode=multi_processing"]


def workers_of(flags: Sequence[str]) -> int:
    """How many workers Beam's flags ask for."""
    options = pipeline_options(flags)
    named = options.get_all_options()
    direct = options.view_as(DirectOptions)
    if direct.direct_num_workers == 0:  # Beam's word for as many as there are processors
        return processors()
    many = [direct.direct_num_workers, named.get("parallelism"), named.get("num_workers")]
    return max(int(one) for one in many if one and int(one) > 0)


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
