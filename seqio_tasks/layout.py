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
from shammie.errors import UserError
from shammie.names import plain_name

CODEC_FILE = "equal_info.codec"
COMPLETED = "COMPLETED"
CARD = "README.md"
_CURE = "copy the folder again, or write it again with --overwrite"


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
    found = {}
    for name in names:
        path = files.join(directory, name)
        try:
            manifest = storage.read_json(path)
        except ValueError as error:
            raise UserError(f"{path} is damaged: {error}", _CURE) from error
        split = name.removeprefix("manifest.").removesuffix(".json")
        if checked(manifest, path)["config"].get("split") != split:
            raise UserError(f"{path} is the manifest of another split", _CURE)
        found[split] = manifest
    return found


def checked(manifest: Any, path: str) -> dict[str, Any]:
    """A manifest as its readers take it for granted: a config, and shards of plain names and sizes.

    Args:
        manifest: a JSON value.
        path: of its file, for errors.

    Raises:
        UserError: it is something else; a shard outside of the folder is.
    """
    shards = manifest.get("shards") if isinstance(manifest, dict) else None
    if not isinstance(shards, list) or not isinstance(manifest.get("config"), dict):
        raise UserError(f"{path} is no manifest", _CURE)
    for shard in shards:
        if not isinstance(shard, dict) or type(shard.get("size")) is not int or shard["size"] < 0:
            raise UserError(f"{path} has a shard without a size", _CURE)
        plain_name(shard.get("name"), f"shard of {path},", _CURE)
        if not isinstance(shard.get("sha256"), str):
            raise UserError(f"{path} has a shard without its sha256", _CURE)
    return manifest
