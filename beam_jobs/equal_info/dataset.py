"""A dataset folder: what describes its splits, and whose it is.

train.tfrecord-00000-of-00004 …   shards of a split
info.train.json, stats.train.json  what SeqIO reads, and counts
manifest.train.json                config, sha256 and size of every shard
dead_letters.train.jsonl           bad records: source, offset, reason
equal_info.codec                   the codec that all splits were encoded with
README.md, COMPLETED
"""

from collections import Counter
from typing import Any

from beam_jobs import storage
from beam_jobs.equal_info.card import card
from beam_jobs.equal_info.config import CODEC_FILE
from beam_jobs.equal_info.encode import COUNTED
from beam_jobs.units import Plan
from beam_jobs.work import Work
from shammie.errors import UserError
from shammie.files import join

COMPLETED = "COMPLETED"
SEQIO_CACHE_FORMAT = "0.0.20"  # from 0.0.0 on SeqIO takes the dtypes of info.json as they are


def read_manifest(output: str, split: str) -> dict[str, Any] | None:
    """The manifest of a split, or None where it is not finished."""
    return storage.read_json_or_none(join(output, f"manifest.{split}.json"))


def manifests(output: str) -> list[dict[str, Any]]:
    """The manifests of all finished splits."""
    names = [n for n in storage.names_in(output) if n.startswith("manifest.") and n.endswith(".json")]
    return [storage.read_json(join(output, name)) for name in names]


def claim(output: str, fingerprint: str) -> None:
    """Makes the folder, or checks that a dataset of this codec is in it.

    Raises:
        UserError: it holds something else.
    """
    names = storage.names_in(output) if storage.exists(output) else []
    others = manifests(output) if names else []
    ours = others or any(name.startswith("_work.") or name == CODEC_FILE for name in names)
    if names and not ours:
        raise UserError(f"{output} is not empty and holds no dataset of this job", "choose another --output")
    for other in others:
        if other["config"]["codec_fingerprint"] != fingerprint:
            raise UserError(
                f"{output} holds split {other['config']['split']} encoded with another codec",
                f"give --codec={join(output, CODEC_FILE)}, or choose another --output",
            )
    storage.make_directory(output)


def remove_split(output: str, split: str) -> None:
    """Removes a split, finished or not; a folder that holds anything else is left alone."""
    if not storage.exists(output):
        return
    there = read_manifest(output, split)
    if there is None and not storage.exists(join(output, f"_work.{split}")):
        return
    for name in storage.names_in(output):
        of_split = name.startswith((f"{split}.tfrecord-", f"{split}.array_record-"))
        if of_split or name in (f"{kind}.{split}.json" for kind in ("info", "stats", "manifest")):
            storage.remove(join(output, name))
    for name in (f"dead_letters.{split}.jsonl", f"_work.{split}", COMPLETED):
        storage.remove(join(output, name))
    if not manifests(output):
        for name in (CODEC_FILE, "README.md"):  # no other split needs them, and the new one may have another codec
            storage.remove(join(output, name))


def check_shards(output: str, manifest: dict[str, Any]) -> None:
    """Raises UserError where a shard of a finished split is gone or of another size."""
    for shard in manifest["shards"]:
        if storage.size_of(join(output, shard["name"])) != shard["size"]:
            raise UserError(f"{join(output, shard['name'])} is missing or damaged", "write it again with --overwrite")


def describe(work: Work, plan: Plan, config: dict[str, Any], identity: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Writes what describes a split, the manifest last; returns stats and manifest."""
    split, output = config["split"], work.output
    reports = work.unit_reports(len(plan.units))
    stats = total([report["stats"] for report in reports])
    shards = []
    for shard in range(config["num_shards"]):
        report = work.shard_report(shard)
        if report is None:
            raise UserError(f"shard {shard} of {output} went missing", "run the same command again")
        shards.append(report)
    with storage.writing(join(output, f"dead_letters.{split}.jsonl")) as file:
        for unit, report in enumerate(reports):
            if report["dead_letters"]:
                file.write(storage.read_bytes(work.dead_letters_of(unit)))
    info = {
        "features": {"targets": {"dtype": "int32", "shape": [None]}},
        "num_shards": config["num_shards"],
        "seqio_version": SEQIO_CACHE_FORMAT,
    }
    storage.write_json(join(output, f"info.{split}.json"), info)
    storage.write_json(join(output, f"stats.{split}.json"), stats)
    manifest = {"config": config, "digest": identity, "shards": shards}
    storage.write_json(join(output, f"manifest.{split}.json"), manifest)
    return stats, manifest


def total(units: list[dict[str, Any]]) -> dict[str, Any]:
    """The stats of a split from those of its units."""
    counted = {name: sum(unit.get(name, 0) for unit in units) for name in (*COUNTED, "empty_documents")}
    letters = Counter()
    for unit in units:
        letters.update(unit["dead_letters"])
    tokens = counted["targets_tokens"] - counted["end_ids"]
    return {
        **counted,
        "targets_max_tokens": max((unit["targets_max_tokens"] for unit in units), default=0),
        "bytes_per_token": round(counted["text_bytes"] / max(1, tokens), 4),
        "dead_letters": dict(sorted(letters.items())),
        "damaged_sources": sum(len(unit["damaged"]) for unit in units),
    }


def finish(output: str) -> None:
    """Writes the data card, and COMPLETED unless another split is still in the making."""
    splits = []
    for manifest in manifests(output):
        split = manifest["config"]["split"]
        splits.append((manifest, storage.read_json(join(output, f"stats.{split}.json"))))
    storage.write_bytes(join(output, "README.md"), card(splits).encode())
    unfinished = [name for name in storage.names_in(output) if name.startswith("_work.")]
    done = {f"_work.{manifest['config']['split']}" for manifest, _ in splits}
    for name in storage.names_in(output):
        if ".tmp-" in name:
            storage.remove(join(output, name))  # a killed run leaves what it was writing
    if not set(unfinished) - done:
        storage.write_bytes(join(output, COMPLETED), b"")
