"""Text that TensorFlow Datasets has prepared, as a name for files: `tfds:c4/en:3.1.0/train@gs://bucket/datasets`.

TFDS keeps a dataset in FOLDER/NAME/[CONFIG/]VERSION: `dataset_info.json` has the splits, their shards and the files'
format, `features.json` the features, and each record of a shard is one tf.train.Example. Both are read here as the JSON
that they are: neither TensorFlow (11 CPU-seconds) nor tensorflow_datasets is imported or needed.
"""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from beam_jobs import storage
from shammie.errors import UserError
from shammie.files import is_local, join, json_of
from shammie.names import inner_path, plain_name

INFO, FEATURES = "dataset_info.json", "features.json"
FORM = "tfds:NAME[/CONFIG][:VERSION[/SPLIT[/FEATURE]]][@FOLDER]"
READABLE = ("tfrecord", "array_record")
TEXT_FIELD = "text"  # what a job reads unless it is told otherwise

_VERSION = r"\d+\.\d+\.\d+"
_NAME = re.compile(
    r"tfds:(?P<name>[a-zA-Z]\w*)(/(?P<config>[\w+.-]+))?"
    rf"(:(?P<version>{_VERSION})(/(?P<split>[\w-]+)(/(?P<feature>[^@]+))?)?)?(@(?P<folder>.+))?"
)
_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
_KINDS = {
    "FeaturesDict": "featuresDict",
    "Text": "text",
    "Tensor": "tensor",
    "Scalar": "tensor",
    "Translation": "translation",
}


class Shards(NamedTuple):
    """The files of a split, their format, and their text feature ("" where it is the one that was asked for)."""

    files: list[storage.Found]
    format: str
    text_field: str


class _Asked(NamedTuple):
    """What a pattern names."""

    name: str
    config: str
    version: str
    split: str
    feature: str
    folder: str

    @property
    def dataset(self) -> str:
        """As TFDS writes it: c4/en:3.1.0."""
        return _tfds_name(self.name, self.config, self.version)


def is_name(pattern: str) -> bool:
    """Whether an input names a dataset of TFDS rather than files."""
    return pattern.startswith("tfds:")


def find(pattern: str, text_field: str = TEXT_FIELD) -> Shards:
    """The shards of a prepared dataset's split.

    Args:
        pattern: FORM. Without a version it is the newest one there, without a split `train`, without a folder
            TFDS_DATA_DIR or TFDS's own default, ~/tensorflow_datasets.
        text_field: the feature that holds the text; where it is TEXT_FIELD and the dataset has none of that name, the
            only feature that is a string. A feature in the pattern goes before both.

    Raises:
        UserError: no such dataset, version, split or feature, shards that are missing, or files of a format that is
            not read; names those that there are.
    """
    asked = _parsed(pattern)
    home = _home(asked)
    info = _json(join(home, INFO))
    kind = info.get("fileFormat", "tfrecord")  # older ones do not say
    if kind not in READABLE:
        again = f"tfds build {asked.dataset} --data_dir={asked.folder} --overwrite --file_format=array_record"
        raise UserError(f"{home} holds {kind!s:.40} files", f"only {' and '.join(READABLE)} are read: {again}")
    try:
        splits = {_text(split["name"]): split for split in info.get("splits", [])}
        if asked.split not in splits:
            raise UserError(f"{home} has no split {asked.split!r}", f"there are: {', '.join(splits) or 'none'}")
        files = _files(home, _text(info.get("name", asked.name)), kind, splits[asked.split])
        strings = sorted(string_features(_json(join(home, FEATURES))))
    except UserError:
        raise
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        told = f"{INFO} or {FEATURES} of {home} is not as TFDS writes it: {type(error).__name__}"
        raise UserError(told, "prepare the dataset again, or copy these files again") from error
    chosen = _chosen(asked, text_field, strings)
    return Shards(files, kind, "" if chosen == text_field else chosen)


def _parsed(pattern: str) -> _Asked:
    found = _NAME.fullmatch(pattern)
    if not found:
        cure = f"write {FORM}, such as tfds:c4/en:3.1.0/validation"
        if "[" in pattern.partition("@")[0]:
            cure = "for a part of a split name some of its shards, such as FOLDER/c4/en/3.1.0/c4-train.tfrecord-0000*"
        raise UserError(f"{pattern!r} names no dataset of TFDS", cure)
    words = {word: value or "" for word, value in found.groupdict().items()}
    folder = words["folder"] or os.environ.get("TFDS_DATA_DIR") or os.path.join("~", "tensorflow_datasets")
    folder = os.path.expanduser(folder) if is_local(folder) else folder
    return _Asked(**{**words, "split": words["split"] or "train", "folder": folder.rstrip("/") or "/"})


def _tfds_name(name: str, config: str, version: str) -> str:
    return name + (f"/{config}" if config else "") + (f":{version}" if version else "")


def _home(asked: _Asked) -> str:
    """The folder of a prepared dataset."""
    base = join(asked.folder, asked.name, *([plain_name(asked.config, "config")] if asked.config else []))
    if asked.version and storage.match(join(base, asked.version, INFO)):
        return join(base, asked.version)
    there = _prepared(asked.folder, asked.name)
    versions = [version for config, version in there if config == asked.config]
    if versions and not asked.version:
        return join(base, versions[-1])
    problem = f"{asked.folder} has no prepared dataset {asked.dataset}"
    build = f"tfds build {asked.dataset} --data_dir={asked.folder}"
    if there:
        names = ", ".join(_tfds_name(asked.name, *one) for one in there[:20])
        raise UserError(problem, f"there are: {names}; `{build}` prepares it")
    cluster = "--beam_pipeline_options=runner=DataflowRunner,project=…"
    raise UserError(
        problem,
        f"`{build}` prepares it (a large one such as c4 on a cluster, with {cluster}; docs/tpu_pod.md); "
        "another folder is named by @FOLDER or TFDS_DATA_DIR",
    )


def _prepared(folder: str, name: str) -> list[tuple[str, str]]:
    """Configs ("" for none) and versions of a dataset that are there, by config, then by version."""
    found = []
    for below in (("*",), ("*", "*")):
        for file in storage.match(join(folder, name, *below, INFO)):
            *config, version = file.path.split("/")[-1 - len(below) : -1]
            if re.fullmatch(_VERSION, version):  # what is being prepared lies in incomplete.…
                found.append(("".join(config), version))
    return sorted(found, key=lambda one: (one[0], *map(int, one[1].split("."))))


def _json(path: str) -> dict[str, Any]:
    try:
        value = storage.read_json(path)
    except FileNotFoundError as error:
        cure = "prepare the dataset again, or name its shards by a glob and their text by --text_field"
        raise UserError(f"{path} is missing", cure) from error
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}", "prepare the dataset again, or copy the file again") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged: it holds no object", "prepare the dataset again, or copy the file again")
    return value


def _files(home: str, name: str, kind: str, split: Mapping[str, Any]) -> list[storage.Found]:
    """The shards of a split, all of them."""
    lengths = [int(length) for length in split.get("shardLengths", [])]
    total = len(lengths)
    if min(lengths, default=0) < 0:
        raise ValueError("a shard of less than nothing")
    if not sum(lengths):
        raise UserError(f"split {split['name']} of {home} is empty", "name another split")
    template = _text(split.get("filepathTemplate") or _TEMPLATE).partition("%")[0]
    digits = max(5, len(str(total)))

    def path(index: str) -> str:
        count = f"{total:0{digits}d}"
        words = {"DATASET": name, "SPLIT": split["name"], "FILEFORMAT": kind, "SHARD_INDEX": index}
        words |= {"NUM_SHARDS": count, "SHARD_X_OF_Y": f"{index}-of-{count}"}
        # not str.format: a template from outside may ask it for a gigabyte of spaces, or for what an object holds
        return re.sub(r"\{(\w+)\}", lambda found: words[found[1]], template)

    try:
        wanted = [path(f"{index:0{digits}d}") for index in range(total)]
    except KeyError as error:
        raise UserError(f"{home} names its files by {template!r}", "name its shards by a glob instead") from error
    cure = "name its shards by a glob instead"
    wanted = [inner_path(one, f"shard of {home},", cure) for one in wanted]
    depth = template.count("/") + 1
    found = {"/".join(file.path.split("/")[-depth:]): file for file in storage.match(join(home, path("*")))}
    wanted = [one for one, length in zip(wanted, lengths, strict=True) if length]
    missing = [one for one in wanted if one not in found or not found[one].size]
    if missing:
        cure = "copy the whole dataset, or prepare it again"
        raise UserError(f"{home} lacks {len(missing)} of {total} shards, such as {missing[0]}", cure)
    return [found[one] for one in wanted]


def _chosen(asked: _Asked, text_field: str, strings: list[str]) -> str:
    wanted = asked.feature or text_field
    if wanted in strings:
        return wanted
    if wanted == TEXT_FIELD and not asked.feature and len(strings) == 1:
        return strings[0]
    there = f"there are: {', '.join(strings)}" if strings else "there are none"
    cure = f"{there}; name one by --text_field or tfds:{asked.dataset}/{asked.split}/FEATURE"
    raise UserError(f"{asked.dataset} has no text feature {wanted!r}", cure)


def string_features(feature: Mapping[str, Any], key: str = "") -> Iterator[str]:
    """The features that are one string each, by their keys in a tf.train.Example.

    Args:
        feature: what features.json holds, as TFDS writes it today or as its older versions did.
        key: the feature's own, where it is a part of another.
    """
    kind, body = _kind(feature)
    if kind == "featuresDict":
        for name, inner in body.get("features", {}).items():
            yield from string_features(inner, f"{key}/{name}" if key else name)
    elif kind == "translation" and not body.get("variableLanguagesPerExample"):
        yield from (f"{key}/{name}" if key else _text(name) for name in body.get("languages", []))
    elif (kind == "text" and not body.get("use_encoder")) or (
        kind == "tensor" and body.get("dtype") == "string" and not body.get("shape")
    ):
        yield key


def _text(value: Any) -> str:
    """A word of TFDS's files; TypeError where it is none."""
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _kind(feature: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """A feature's kind, as today's files name it, and what they say of it."""
    if "type" not in feature:
        return next(((kind, feature[kind]) for kind in _KINDS.values() if kind in feature), ("", {}))
    kind, body = _KINDS.get(str(feature["type"]).rpartition(".")[2], ""), feature.get("content") or {}
    if isinstance(body, str):
        body = json_of(body)
    return kind, body if kind != "featuresDict" or "proto_cls" in feature else {"features": body}
