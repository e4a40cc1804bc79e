"""What the job takes, from measured rates: formulas alone.

Processor seconds, once the job has started:

    bytes * a + openings of a run by a shard * b + parts of runs that slices are merged from * c

The last two grow faster than the input, with the number of runs times that of shards or slices, until each part holds a
single example.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from beam_jobs.equal_info.config import shards_of
from beam_jobs.shards import SLICE_BYTES

COUNTS = "counted_"
PER_JOB = ("pipeline_core_seconds", "opened_seconds", "part_seconds", "busy")  # all else is of a byte


@dataclass(frozen=True)
class JobRates:
    """What a byte of the sources, as they lie on disk, gives and takes.

    Attributes:
        counted: documents, text_bytes, examples, targets_tokens and so on of a byte (`encode.COUNTED`).
        output: bytes of shards.
        work: bytes of sorted runs.
        runs: sorted runs.
        core_seconds: of reading, encoding, sorting, gathering, hashing and writing.
        pipeline_core_seconds: processor seconds of a pipeline with nothing to do, once Beam and the codec are loaded.
        opened_seconds: processor seconds of a shard that opens a run.
        part_seconds: and of a part of a run that a slice is merged from.
        busy: processors that a worker keeps busy; it reads and writes in threads beside the encoding one.
    """

    counted: Mapping[str, float]
    output: float
    work: float
    runs: float
    core_seconds: float
    pipeline_core_seconds: float
    opened_seconds: float
    part_seconds: float
    busy: float

    def forecast(self, size: float, shards: int = 0) -> dict[str, Any]:
        """What a job gives and takes between its start and its end.

        Args:
            size: bytes of the sources.
            shards: to write; 0 for the job's own choice.

        Returns:
            What is counted; output_bytes, work_bytes, shards, core_seconds, and of them merge_core_seconds.
        """
        shards = shards or shards_of(size)
        counted = {name: round(each * size) for name, each in self.counted.items()}
        output, runs, examples = self.output * size, self.runs * size, self.counted["examples"] * size
        merging = opened(runs, shards, examples) * self.opened_seconds
        merging += parts(runs, shards, examples, output) * self.part_seconds
        return {
            **counted,
            "output_bytes": round(output),
            "work_bytes": round(self.work * size),
            "shards": shards,
            "core_seconds": size * self.core_seconds + merging,
            "merge_core_seconds": merging,
        }

    def numbers(self) -> dict[str, float]:
        """As `shammie.measured` keeps them."""
        rest = {name: value for name, value in vars(self).items() if name != "counted"}
        return {**rest, **{COUNTS + name: value for name, value in self.counted.items()}}

    @classmethod
    def of_numbers(cls, numbers: Mapping[str, float]) -> "JobRates":
        """The inverse of `numbers`; what else is among them is left out."""
        counted = {name.removeprefix(COUNTS): value for name, value in numbers.items() if name.startswith(COUNTS)}
        rest = {name: numbers[name] for name in cls.__dataclass_fields__ if name != "counted"}
        return cls(counted, **rest)


def opened(runs: float, shards: float, examples: float) -> float:
    """How often a shard opens a run: the pairs of them that have an example in common, which hashes scatter."""
    return _met(runs, shards, examples)


def parts(runs: float, shards: float, examples: float, output_bytes: float) -> float:
    """How many parts of runs are read: the pairs of a run and a slice of a shard that have an example."""
    return _met(runs, max(shards, output_bytes / SLICE_BYTES), examples)


def _met(runs: float, bins: float, examples: float) -> float:
    pairs = runs * bins
    return pairs * -math.expm1(-examples / pairs) if pairs else 0.0
