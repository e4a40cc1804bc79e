"""What a dataset folder of `beam_jobs.equal_info` holds and how its files are called, for its writer and its readers.

    train.tfrecord-00000-of-00004 …    shards of a split
    info.train.json, stats.train.json  what SeqIO reads, and counts
    manifest.train.json                config, sha256 and size of every shard; written last of a split
    dead_letters.train.jsonl           bad records: source, offset, reason
    equal_info.codec                   the codec that all splits were encoded with
    README.md, COMPLETED               the data card; an empty file, while no split is in the making
    .inputs.train.json                 the state of this machine's inputs; no part of the data
    .lock, _work.train                 while a job runs, or after it was stopped

This module imports no TensorFlow, so that jobs may import it.
"""

from typing import Any, Protocol

from shammie import files

CODEC_FILE = "equal_info.codec"
COMPLETED = "COMPLETED"
CARD = "README.md"


class Storage(Protocol):
    """How folders are listed and JSON is read: `shammie.files`, or what Beam knows."""

    def list_directory(self, path: str, /) -> list[str]:
        """The names in a folder; empty where there is none."""
        ...

    def read_json(self, path: str, /) -> Any:
        """The value of a JSON file."""
        ...


def info_name(split: str) -> str:
    """What SeqIO reads about a split."""
    return f"info.{split}.json"


def stats_name(split: str) -> str:
    """What was counted."""
    return f"stats.{split}.json"


def manifest_name(split: str) -> str:
    """Config and shards."""
    return f"manifest.{split}.json"


def dead_letters_name(split: str) -> str:
    """Bad records."""
    return f"dead_letters.{split}.jsonl"


def inputs_name(split: str) -> str:
    """The state of the inputs, on the machine that read them."""
    return f".inputs.{split}.json"


def work_name(split: str) -> str:
    """The folder of a job that is not finished."""
    return f"_work.{split}"


def unfinished(names: list[str]) -> list[str]:
    """The splits that have a work folder, by the names in a dataset's folder."""
    return [name.removeprefix(work_name("")) for name in names if name.startswith(work_name(""))]


def manifests(directory: str, storage: Storage = files) -> dict[str, dict[str, Any]]:
    """The manifests of a dataset's finished splits."""
    names = [n for n in storage.list_directory(directory) if n.startswith("manifest.") and n.endswith(".json")]
    found = [storage.read_json(files.join(directory, name)) for name in names]
    return {manifest["config"]["split"]: manifest for manifest in found}
