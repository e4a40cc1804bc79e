"""--dry_run: size and time of a job from a sample of its units, without writing anything."""

import time
from dataclasses import replace
from typing import Any

from beam_jobs.equal_info.config import JobConfig, dataset_config
from beam_jobs.equal_info.encode import COUNTED
from beam_jobs.equal_info.job import load_codec, plan_of
from beam_jobs.equal_info.transforms import Encoder
from beam_jobs.records import DeadLetter
from beam_jobs.units import Plan, Unit

SAMPLE_UNITS = 16
SAMPLE_BYTES = 2 << 20
SAMPLE_SECONDS = 10.0
WRITING_SHARE = 1.4  # for reading the sorted runs and writing the shards, which a sample does not: on the safe side


def estimate(config: JobConfig) -> dict[str, Any]:
    """What the job would give and take on one core of this machine.

    Returns:
        Numbers scaled from a sample: documents, text_bytes, targets_tokens, dead_letters, output_bytes, work_bytes
        (the most that the work folder takes), seconds_one_core; besides units, shards and sample_share.
    """
    (codec, _), plan = load_codec(config.codec), plan_of(config)
    settings = dataset_config(config, plan, codec)
    every = max(1, len(plan.units) // SAMPLE_UNITS)
    units = [_shortened(plan, unit) for unit in plan.units[::every][:SAMPLE_UNITS]]
    encoder = Encoder(replace(plan, units=tuple(units)), settings, codec, 1)
    if units:  # the first call loads compiled code
        for item in encoder.items(0):
            if not isinstance(item, DeadLetter):
                encoder.serialise(*encoder.encode(item))
            break
    counted = dict.fromkeys((*COUNTED, "dead_letters", "output_bytes"), 0)
    seen, started = 0, time.monotonic()
    for number, unit in enumerate(units):
        for item in encoder.items(number):
            if isinstance(item, DeadLetter):
                counted["dead_letters"] += 1
                continue
            encoded = encoder.serialise(*encoder.encode(item))
            for name in COUNTED:
                counted[name] += encoded.stats[name]
            counted["output_bytes"] += len(encoded.data)
        seen += unit.size
        if time.monotonic() - started > SAMPLE_SECONDS:
            break
    seconds = time.monotonic() - started
    scale = plan.size / max(1, seen)
    scaled = {name: round(count * scale) for name, count in counted.items()}
    return {
        **scaled,
        "work_bytes": scaled["output_bytes"],
        "seconds_one_core": round(seconds * scale * WRITING_SHARE, 1),
        "units": len(plan.units),
        "shards": settings["num_shards"],
        "sources": len(plan.sources),
        "sample_share": round(min(1.0, 1 / scale), 4) if scale else 0.0,
    }


def _shortened(plan: Plan, unit: Unit) -> Unit:
    """A unit of which only the start is read, where its kind allows."""
    source = plan.sources[unit.first]
    ranged = unit.last == unit.first + 1 and unit.stop >= 0 and source.format in ("text", "jsonl")
    if not ranged or unit.size <= SAMPLE_BYTES:
        return unit
    return replace(unit, stop=unit.start + SAMPLE_BYTES, size=SAMPLE_BYTES)
