"""What the job is told, and what it says at the end."""

import math
from dataclasses import dataclass, field
from typing import Any

from beam_jobs.shards import SHARD_FORMATS
from beam_jobs.units import Plan, ReadConfig
from models.equal_info.load import AnyCodec
from models.equal_info.streams.codec import StreamCodec
from shammie.errors import UserError
from shammie.files import digest

JOB_VERSION = 2  # raised whenever the same input gives other bytes
BYTES_PER_SHARD = 64 << 20
PAPER_EXAMPLE_BYTES = 10_240  # arXiv:2404.03626 section 3.1
PAPER_GROUP_DOCUMENTS = 128


@dataclass(frozen=True)
class JobConfig:
    """A job.

    Attributes:
        input: paths, folders, globs, or datasets of TFDS (`tfds:c4/en:3.1.0/train`).
        output: the folder for the dataset; the splits of one dataset share it.
        codec: a path, or one of two words: "default", the codec that ships with the package, and "bytes".
        split: the split that this job writes, such as train.
        num_shards: how many files; 0 for one per 64 MB of input.
        seed: of the shuffle, 0 or above.
        output_format: tfrecord or array_record.
        example_bytes: None for whole documents; a size (the paper's is 10,240) for examples of that many bytes, cut
            from `group_documents` documents joined.
        group_documents: how many consecutive documents are joined; a work unit's last group may hold fewer.
        read: how sources become documents.
        max_bad_share: the job stops before it writes shards if more than this share of the records is bad.
        max_bad_sources: and if more than this many sources are damaged or unreadable.
        threads: for the codec, in each worker.
        overwrite: remove this split's files, finished or not, and start over.
    """

    input: tuple[str, ...]
    output: str
    codec: str = "default"
    split: str = "train"
    num_shards: int = 0
    seed: int = 0
    output_format: str = "tfrecord"
    example_bytes: int | None = None
    group_documents: int = PAPER_GROUP_DOCUMENTS
    read: ReadConfig = field(default_factory=ReadConfig)
    max_bad_share: float = 0.01
    max_bad_sources: int = 0
    threads: int = 1
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.output_format not in SHARD_FORMATS:
            raise UserError(f"unknown output_format {self.output_format!r}", f"choose {' or '.join(SHARD_FORMATS)}")
        if not self.split or not self.split.replace("_", "").isalnum():
            raise UserError(f"split {self.split!r} is no plain word", "use letters, digits and _")
        if not 0 <= self.max_bad_share <= 1:
            raise UserError(f"max_bad_share={self.max_bad_share} is no share", "give a number from 0 to 1")
        least = {"num_shards": 0, "seed": 0, "group_documents": 1, "max_bad_sources": 0, "threads": 1}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise UserError(f"{name}={getattr(self, name)} is below {low}", f"give {low} or more")
        if self.example_bytes is not None and self.example_bytes < 2:
            raise UserError(f"example_bytes={self.example_bytes} is below 2", "give 2 or more, or leave it out")


def shards_of(size: float) -> int:
    """The files that a job makes of so many bytes of sources, where nobody says."""
    return max(1, math.ceil(size / BYTES_PER_SHARD))


def dataset_config(config: JobConfig, plan: Plan, codec: AnyCodec) -> dict[str, Any]:
    """All that decides the bytes of a split, in plain JSON: no paths of this machine, no clocks, no workers."""
    return {
        "job": "equal_info",
        "job_version": JOB_VERSION,
        "split": config.split,
        "seed": config.seed,
        "num_shards": config.num_shards or shards_of(plan.size),
        "output_format": config.output_format,
        "example_bytes": config.example_bytes,
        "group_documents": config.group_documents if config.example_bytes else None,
        "documents": config.read.documents,
        "text_field": config.read.text_field,
        "unit_bytes": config.read.unit_bytes,
        "max_example_bytes": config.read.max_example_bytes,
        "codec_fingerprint": codec.fingerprint,
        "codec_scheme": codec.scheme,
        "codec_window_bits": codec.window_bits,
        "codec_vocab_size": codec.vocab_size,
        **({"codec_stream": str(codec.spec)} if isinstance(codec, StreamCodec) else {}),
        "sources": len(plan.sources),
        "sources_bytes": plan.size,
        "sources_digest": digest(
            [[s.name, s.size, s.format, s.gzip, *([s.text_field] if s.text_field else [])] for s in plan.sources]
        ),
    }


@dataclass(frozen=True)
class JobResult:
    """A finished job.

    Attributes:
        output: the dataset's folder.
        split: the split that was written.
        stats: what stats.{split}.json holds, such as documents, text_bytes and targets_tokens.
        manifest: what manifest.{split}.json holds: config, shards with sha256, size and records, data files.
        counters: Beam's counters of this run; empty where all was there already.
        seconds: how long this run took.
    """

    output: str
    split: str
    stats: dict[str, Any]
    manifest: dict[str, Any]
    counters: dict[str, int]
    seconds: float
