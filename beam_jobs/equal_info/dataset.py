"""A dataset folder (`seqio_tasks.layout`): what describes its splits, and whose it is."""

from collections import Counter
from typing import Any

from beam_jobs import storage
from beam_jobs.equal_info.card import card
from beam_jobs.equal_info.encode import COUNTED
from beam_jobs.units import Plan
from beam_jobs.work import Work, changed_input
from seqio_tasks import layout
from shammie.errors import UserError
from shammie.files import digest, is_leftover, join
from shammie.lock import LOCK

SEQIO_CACHE_FORMAT = "0.0.20"  # from 0.0.0 on SeqIO takes the dtypes of info.json as they are


def read_manifest(output: str, split: str) -> dict[str, Any] | None:
    """The manifest of a split, or None where it is not finished; UserError where it is none of ours."""
    path = join(output, layout.manifest_name(split))
    found = storage.read_json_or_none(path)
    return None if found is None else layout.checked(found, path)


def claim(output: str) -> None:
    """Makes the folder, or checks that it holds datasets of this job or nothing.

    Raises:
        UserError: it holds something else.
    """
    names = [name for name in storage.list_directory(output) if name != LOCK]
    ours = layout.unfinished(names) or layout.CODEC_FILE in names or layout.manifests(output, storage)
    if names and not ours:
        raise UserError(f"{output} is not empty and holds no dataset of this job", "choose another --output")
    storage.make_directory(output)


def check_codec(output: str, split: str, fingerprint: str) -> None:
    """Checks that the other splits, finished or not, have the codec that this one is to have.

    Raises:
        UserError: one has another.
    """
    configs = {name: manifest["config"] for name, manifest in layout.manifests(output, storage).items()}
    for name in layout.unfinished(storage.list_directory(output)):
        config = Work(output, name).config_or_none()
        if config is not None:
            configs.setdefault(name, config)
    for name, config in sorted(configs.items()):
        if name != split and config["codec_fingerprint"] != fingerprint:
            raise UserError(
                f"{output} holds split {name} encoded with another codec",
                f"give --codec={join(output, layout.CODEC_FILE)}, or choose another --output",
            )


def remove_split(output: str, split: str) -> None:
    """Removes a split, finished or not; a folder that holds anything else is left alone."""
    there = read_manifest(output, split)
    if there is None and not storage.exists(Work(output, split).folder):
        return
    for name in storage.list_directory(output):
        if name.startswith((f"{split}.tfrecord-", f"{split}.array_record-")):
            storage.remove(join(output, name))
    about = (layout.info_name, layout.stats_name, layout.manifest_name, layout.dead_letters_name, layout.inputs_name)
    for name in (*(name_of(split) for name_of in about), layout.work_name(split), layout.COMPLETED):
        storage.remove(join(output, name))
    if not layout.manifests(output, storage):
        for name in (layout.CODEC_FILE, layout.CARD):  # no other split needs them, and the new one has its own codec
            storage.remove(join(output, name))


def write_inputs(output: str, split: str, plan: Plan) -> None:
    """Keeps the state of the inputs; beside the data, since it differs from machine to machine."""
    state = {_key(source.path): source.changed for source in plan.sources}
    storage.write_json(join(output, layout.inputs_name(split)), state)


def _key(path: str) -> str:
    return digest(path)[:16]  # folders of this machine are nobody's business


def check_inputs(output: str, split: str, plan: Plan) -> None:
    """Checks that no input has changed since a finished split was written, if that was on this machine.

    Raises:
        UserError: one has; names it.
    """
    before = storage.read_json_or_none(join(output, layout.inputs_name(split))) or {}
    changed = changed_input({s.path: before[key] for s in plan.sources if (key := _key(s.path)) in before}, plan)
    if changed:
        raise UserError(f"input {changed} changed since {output} was written", "write it again with --overwrite")


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
    with storage.writing(join(output, layout.dead_letters_name(split))) as file:
        for unit, report in enumerate(reports):
            if report["dead_letters"]:
                file.write(storage.read_bytes(work.dead_letters_of(unit)))
    info = {
        "features": {"targets": {"dtype": "int32", "shape": [None]}},
        "num_shards": config["num_shards"],
        "seqio_version": SEQIO_CACHE_FORMAT,
    }
    storage.write_json(join(output, layout.info_name(split)), info)
    storage.write_json(join(output, layout.stats_name(split)), stats)
    write_inputs(output, split, plan)
    manifest = {"config": config, "digest": identity, "shards": shards}
    storage.write_json(join(output, layout.manifest_name(split)), manifest)
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
    finished = layout.manifests(output, storage)
    splits = [
        (manifest, storage.read_json(join(output, layout.stats_name(split)))) for split, manifest in finished.items()
    ]
    storage.write_bytes(join(output, layout.CARD), card(splits).encode())
    names = storage.list_directory(output)
    for name in filter(is_leftover, names):  # a killed run leaves what it was writing
        storage.remove(join(output, name))
    if not set(layout.unfinished(names)) - set(finished):
        storage.write_bytes(join(output, layout.COMPLETED), b"")
