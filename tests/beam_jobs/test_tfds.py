"""Datasets that TFDS has prepared, as it lays them out and as it writes them itself, read as sources."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from apache_beam.io.filesystem import FileMetadata
from apache_beam.io.localfilesystem import LocalFileSystem
from array_record.python.array_record_module import ArrayRecordWriter

from beam_jobs import readers, tfds, tfrecord
from beam_jobs.equal_info.__main__ import main
from beam_jobs.equal_info.job import run
from beam_jobs.records import DeadLetter
from beam_jobs.units import ReadConfig, find_sources, plan_units
from shammie.errors import UserError

CORE = "tensorflow_datasets.core.features"
TEXT = {"pythonClassName": f"{CORE}.text_feature.Text", "text": {}}
NUMBER = {"pythonClassName": f"{CORE}.scalar.Scalar", "tensor": {"dtype": "int64", "shape": {}}}
TEXTS = [f"text {n} é".encode() * (n % 7) for n in range(40)] + [b"long" * 50_000]


def features_dict(**features):
    return {"pythonClassName": f"{CORE}.features_dict.FeaturesDict", "featuresDict": {"features": features}}


def example(**features: bytes) -> bytes:
    """tf.train.Example of bytes features, one value each."""

    def part(field: int, value: bytes) -> bytes:
        size, count = bytearray(), len(value)
        while count > 127:
            size.append(count & 127 | 128)
            count >>= 7
        return bytes([field << 3 | 2]) + bytes([*size, count]) + value

    entries = [part(1, key.encode()) + part(2, part(1, part(1, text))) for key, text in features.items()]
    return part(1, b"".join(part(1, entry) for entry in entries))


def write_shard(path: Path, records, kind: str) -> None:
    if kind == "array_record":
        writer = ArrayRecordWriter(str(path), "group_size:1")  # as TFDS does
        for record in records:
            writer.write(record)
        writer.close()
    else:
        path.write_bytes(tfrecord.frames(records))


def prepare(folder, dataset="talk/en/1.0.0", texts=TEXTS, shards=3, kind="tfrecord", features=None, **info) -> Path:
    """A dataset in TFDS's layout, with the splits train (the texts) and validation (their first two)."""
    home, name = Path(folder) / dataset, dataset.split("/")[0]
    home.mkdir(parents=True)
    splits = []
    for split, members, count in (("train", texts, shards), ("validation", texts[:2], 1)):
        bounds = np.linspace(0, len(members), count + 1).astype(int).tolist()
        for number in range(count):
            records = [example(text=text, url=b"u:" + text) for text in members[bounds[number] : bounds[number + 1]]]
            write_shard(home / f"{name}-{split}.{kind}-{number:05d}-of-{count:05d}", records, kind)
        template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
        lengths = [str(length) for length in np.diff(bounds)]
        splits.append({"name": split, "filepathTemplate": template, "shardLengths": lengths})
    (home / "dataset_info.json").write_text(json.dumps({"name": name, "fileFormat": kind, "splits": splits, **info}))
    (home / "features.json").write_text(json.dumps(features or features_dict(text=TEXT, url=TEXT, n=NUMBER)))
    return home


def read(*patterns, **settings):
    """All texts in order, and all dead letters."""
    config = ReadConfig(**{"unit_bytes": 400, **settings})
    plan = plan_units(find_sources(list(map(str, patterns)), config), config)
    texts, letters, pieces = [], [], []
    for unit in plan.units:
        for item in readers.read_unit(plan, unit, config):
            if isinstance(item, DeadLetter):
                letters.append(item)
                continue
            for row in range(len(item.offsets)):
                pieces.append(item.text[item.bounds[row] : item.bounds[row + 1]].tobytes())
                if item.last[row]:
                    texts.append(b"".join(pieces))
                    pieces = []
    return texts, letters


@pytest.mark.parametrize("kind", ["tfrecord", "array_record"])
def test_a_prepared_split_is_its_shards_in_order(tmp_path, kind):
    home = prepare(tmp_path, kind=kind)
    (home / f"talk-train.{kind}-00000-of-00009").write_bytes(b"left over from another run")
    found = tfds.find(f"tfds:talk/en:1.0.0/train@{tmp_path}")
    names = [f"talk-train.{kind}-{number:05d}-of-00003" for number in range(3)]
    assert [file.path for file in found.files] == [str(home / name) for name in names]
    assert [file.size for file in found.files] == [(home / name).stat().st_size for name in names]
    assert found[1:] == (kind, "")
    assert read(f"tfds:talk/en:1.0.0/train@{tmp_path}") == (TEXTS, [])
    assert read(f"tfds:talk/en:1.0.0/validation@{tmp_path}/") == (TEXTS[:2], [])
    assert read(home / f"talk-train.{kind}-*-of-00003") == (TEXTS, [])
    assert read(f"tfds:talk/en:1.0.0/train/url@{tmp_path}")[0] == [b"u:" + text for text in TEXTS]
    assert read(f"tfds:talk/en:1.0.0@{tmp_path}", text_field="url")[0][1] == b"u:" + TEXTS[1]
    assert read(f"tfds:talk/en:1.0.0@{tmp_path}", max_example_bytes=999) == (TEXTS, [])
    assert read(f"tfds:talk/en:1.0.0@{tmp_path}", format="jsonl") == (TEXTS, [])


def test_other_names_of_files_and_empty_shards(tmp_path):
    template = "{SPLIT}/part-{SHARD_INDEX}.{FILEFORMAT}"
    lengths = ["14", "13", "0", "14"]
    home = prepare(tmp_path, splits=[{"name": "train", "filepathTemplate": template, "shardLengths": lengths}])
    (home / "train").mkdir()
    for number, place in enumerate((0, 1, 3)):
        (home / f"talk-train.tfrecord-{number:05d}-of-00003").rename(home / "train" / f"part-{place:05d}.tfrecord")
    write_shard(home / "train" / "part-00007.tfrecord", [example(text=b"not of the split")], "tfrecord")
    assert read(f"tfds:talk/en@{tmp_path}") == (TEXTS, [])


def test_what_a_name_leaves_out(tmp_path, monkeypatch):
    for version in ("2.9.0", "2.10.0", "incomplete.X1_2.11.0"):
        prepare(tmp_path, f"talk/{version}", [version.encode()], 1)
    prepare(tmp_path, "talk/en/3.0.0", [b"of a config"], 1)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert read("tfds:talk")[0] == [b"2.10.0"]
    assert read("tfds:talk:2.9.0")[0] == [b"2.9.0"]
    assert read("tfds:talk/en", "tfds:talk:2.9.0/validation")[0] == [b"2.9.0", b"of a config"]
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    prepare(tmp_path / "home" / "tensorflow_datasets", "talk/1.0.0", [b"at home"], 1)
    assert read("tfds:talk:1.0.0")[0] == read("tfds:talk:1.0.0@~/tensorflow_datasets")[0] == [b"at home"]


def test_the_only_string_is_the_text(tmp_path):
    prepare(tmp_path, features=features_dict(url=TEXT, n=NUMBER))
    (source, *_) = find_sources([f"tfds:talk/en@{tmp_path}"], ReadConfig())
    assert source.text_field == "url"
    assert read(f"tfds:talk/en@{tmp_path}")[0][1] == b"u:" + TEXTS[1]


def test_features_old_and_new():
    string = {"pythonClassName": f"{CORE}.tensor_feature.Tensor", "tensor": {"dtype": "string", "shape": {}}}
    several = {**string, "tensor": {"dtype": "string", "shape": {"dimensions": ["-1"]}}}
    list_of = {"pythonClassName": f"{CORE}.sequence_feature.Sequence", "sequence": {"feature": TEXT}}
    languages = {"pythonClassName": f"{CORE}.translation_feature.Translation", "translation": {"languages": ["de"]}}
    any_of = {"translation": {"languages": ["fr"], "variableLanguagesPerExample": True}}
    nested = features_dict(a=TEXT, b=NUMBER, c=features_dict(d=string))
    today = features_dict(text=TEXT, s=string, v=several, l=list_of, n=NUMBER, t=languages, any=any_of, deep=nested)
    assert list(tfds.string_features(today)) == ["text", "s", "t/de", "deep/a", "deep/c/d"]
    old = {"type": f"{CORE}.text_feature.Text", "content": {}}
    encoded = {"type": f"{CORE}.text_feature.Text", "content": {"use_encoder": True}}
    label = {"type": f"{CORE}.class_label_feature.ClassLabel", "content": {"num_classes": 2}}
    dictionary = {"type": f"{CORE}.features_dict.FeaturesDict"}
    older = {**dictionary, "content": {"features": old, "label": label, "e": encoded}}
    assert list(tfds.string_features(older)) == ["features"]
    as_text = {**dictionary, "proto_cls": "…", "content": json.dumps({"features": {"text": TEXT, "n": NUMBER}})}
    assert list(tfds.string_features(as_text)) == ["text"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tfds:talk/en:1.0.0/test", "{}/talk/en/1.0.0 has no split 'test'; there are: train, validation"),
        (
            "tfds:talk/en:2.0.0",
            "{} has no prepared dataset talk/en:2.0.0; there are: talk/de:1.1.0, talk/en:1.0.0; "
            "`tfds build talk/en:2.0.0 --data_dir={}` prepares it",
        ),
        ("tfds:talk", "no prepared dataset talk; there are: talk/de:1.1.0, talk/en:1.0.0; `tfds build talk "),
        (
            "tfds:c4/en:3.1.0/train",
            "`tfds build c4/en:3.1.0 --data_dir={}` prepares it (a large one such as c4 on a cluster, with "
            "--beam_pipeline_options=runner=DataflowRunner,project=…; docs/tpu_pod.md); another folder is named by",
        ),
        (
            "tfds:talk/en:1.0.0/train/n",
            "talk/en:1.0.0 has no text feature 'n'; there are: text, url; name one by --text",
        ),
        (
            "tfds:talk/en/train",
            "names no dataset of TFDS; write tfds:NAME[/CONFIG][:VERSION[/SPLIT[/FEATURE]]][@FOLDER]",
        ),
        ("tfds:talk/en:1.0.0/train[:1%]", "for a part of a split name some of its shards"),
        ("tfds:talk/de:1.1.0", "lacks 1 of 3 shards, such as talk-train.tfrecord-00001-of-00003; copy the whole"),
        (
            "tfds:old:1.0.0",
            "old/1.0.0/features.json is missing; prepare the dataset again, or name its shards by a glob",
        ),
        ("tfds:cut:1.0.0", "cut/1.0.0 lacks 1 of 3 shards, such as cut-train.tfrecord-00001-of-00003; copy the whole"),
        ("tfds:torn:1.0.0", "torn/1.0.0/dataset_info.json is damaged"),
        ("tfds:hollow:1.0.0", "split train of {}/hollow/1.0.0 is empty; name another split"),
        (
            "tfds:columns:1.0.0",
            "holds parquet files; only tfrecord and array_record are read: tfds build columns:1.0.0 ",
        ),
        (
            "tfds:both:1.0.0",
            "both:1.0.0 has no text feature 'text'; there are: title, url; name one by --text_field or tfds:both",
        ),
        ("tfds:numbers:1.0.0", "numbers:1.0.0 has no text feature 'text'; there are none"),
    ],
)
def test_what_is_wrong_is_one_line_with_the_cure(tmp_path, name, message):
    prepare(tmp_path)
    (prepare(tmp_path, "talk/de/1.1.0") / "talk-train.tfrecord-00001-of-00003").unlink()
    (prepare(tmp_path, "cut/1.0.0") / "cut-train.tfrecord-00001-of-00003").write_bytes(b"")
    (prepare(tmp_path, "old/1.0.0") / "features.json").unlink()
    (prepare(tmp_path, "torn/1.0.0") / "dataset_info.json").write_text('{"name": ')
    prepare(tmp_path, "hollow/1.0.0", splits=[{"name": "train"}])
    prepare(tmp_path, "columns/1.0.0", fileFormat="parquet")
    prepare(tmp_path, "both/1.0.0", features=features_dict(title=TEXT, url=TEXT))
    prepare(tmp_path, "numbers/1.0.0", features=features_dict(n=NUMBER))
    with pytest.raises(UserError) as raised:
        find_sources([f"{name}@{tmp_path}"], ReadConfig())
    assert message.replace("{}", str(tmp_path)) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_named_for_two_texts_is_refused(tmp_path):
    home = prepare(tmp_path)
    name = f"tfds:talk/en:1.0.0/train@{tmp_path}"
    assert len(find_sources([name, str(home / "talk-train*")], ReadConfig())) == 3
    with pytest.raises(UserError, match="is named for two texts, text and url; name it once"):
        find_sources([name, name.replace("train", "train/url")], ReadConfig())


def test_damaged_array_records_keep_what_lies_before(tmp_path):
    texts = [bytes(np.random.default_rng(n).bytes(3000)) for n in range(200)]
    home = prepare(tmp_path, texts=texts, shards=1, kind="array_record")
    shard = home / "talk-train.array_record-00000-of-00001"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1]) + whole[len(whole) // 2 + 1 :])
    found, (letter,) = read(f"tfds:talk/en@{tmp_path}")
    assert found == texts[: len(found)]
    assert letter.offset == len(found)
    assert 80 < len(found) < 120
    assert letter.whole_source
    assert letter.reason.startswith("corrupt ArrayRecord: Corrupted Riegeli")
    for damaged in (whole[: len(whole) // 2], b"no such thing"):
        shard.write_bytes(damaged)
        found, letters = read(shard, tmp_path / "talk/en/1.0.0/talk-validation*")
        assert (found, [(one.offset, one.whole_source) for one in letters]) == (texts[:2], [(0, True)])


def test_records_without_the_text_are_set_aside(tmp_path):
    path = tmp_path / "x.array_record-00000-of-00001"
    write_shard(path, [example(text=b"a"), example(other=b"b"), b"no example", example(text=b"c")], "array_record")
    found, letters = read(path)
    assert found == [b"a", b"c"]
    assert [(one.offset, one.reason, one.detail) for one in letters] == [
        (1, "missing field", "text"),
        (2, "not a tf.train.Example", ""),
    ]


class AwayFileSystem(LocalFileSystem):
    """An object store for tests: away:///path is the local /path."""

    @classmethod
    def scheme(cls):  # pyright: ignore[reportIncompatibleMethodOverride]
        return "away"

    def _list(self, dir_or_prefix):
        for one in super()._list(dir_or_prefix.removeprefix("away://")):
            yield FileMetadata(f"away://{one.path}", one.size_in_bytes, one.last_updated_in_seconds)

    def metadata(self, path):
        return FileMetadata(path, self.size(path.removeprefix("away://")), 0.0)

    def exists(self, path):
        return super().exists(path.removeprefix("away://"))

    def open(self, path, *args, **settings):
        return super().open(path.removeprefix("away://"), *args, **settings)


@pytest.mark.parametrize("kind", ["tfrecord", "array_record"])
def test_a_bucket_holds_datasets_too(tmp_path, kind):
    prepare(tmp_path, kind=kind)
    assert read(f"tfds:talk/en:1.0.0@away://{tmp_path}") == (TEXTS, [])
    assert read(f"tfds:talk/en@away://{tmp_path}") == (TEXTS, [])
    with pytest.raises(UserError, match=r"there are: talk/en:1\.0\.0;"):
        read(f"tfds:talk/en:9.0.0@away://{tmp_path}")


def test_the_job_reads_both_formats_to_the_same_documents_and_resumes(tmp_path, job, codec, codec_path, kit, capsys):
    for kind in ("tfrecord", "array_record"):
        prepare(tmp_path / kind, kind=kind)
    first, second = (run(job(f"tfds:talk/en@{tmp_path}/{k}", output=f"out_{k}")) for k in ("tfrecord", "array_record"))
    assert sorted(kit.decoded(first, codec)) == sorted(kit.decoded(second, codec)) == sorted(filter(None, TEXTS))
    again = run(job(f"tfds:talk/en:1.0.0/train@{tmp_path}/tfrecord", output="out_tfrecord"))
    assert again.counters == {}
    assert again.manifest == first.manifest
    with pytest.raises(UserError, match="--overwrite"):
        run(job(f"tfds:talk/en:1.0.0/train/url@{tmp_path}/tfrecord", output="out_tfrecord"))
    words = ["--input", f"tfds:talk/en:1.0.0/validation@{tmp_path}/tfrecord", "--codec", codec_path]
    assert main([*words, "--output", str(tmp_path / "dry"), "--dry_run"]) == 0
    assert json.loads(capsys.readouterr().out)["documents"] == 1
    assert main([*words, "--output", str(tmp_path / "wet")]) == 0
    assert json.loads(capsys.readouterr().out)["documents"] == 1


def test_a_run_knows_the_text_by_its_content(tmp_path, own_cache):
    from workflows.equal_info_common import corpus_step

    home = prepare(tmp_path)
    named = corpus_step("line", [f"tfds:talk/en:1.0.0/train@{tmp_path}"])
    assert named.identity == corpus_step("line", [str(home / "talk-train*")]).identity
    assert named.identity != corpus_step("line", [f"tfds:talk/en:1.0.0/train/url@{tmp_path}"]).identity
    moved = prepare(tmp_path / "moved")
    assert named.identity == corpus_step("line", [f"tfds:talk/en@{tmp_path}/moved"]).identity
    write_shard(moved / "talk-train.tfrecord-00001-of-00003", [example(text=b"changed")], "tfrecord")
    assert named.identity != corpus_step("line", [f"tfds:talk/en@{tmp_path}/moved"]).identity


def test_nothing_heavy_is_imported(tmp_path):
    prepare(tmp_path, kind="array_record")
    code = (
        "import sys; from beam_jobs.units import *; from beam_jobs.readers import read_unit; config = ReadConfig()\n"
        "plan = plan_units(find_sources(sys.argv[1:], config), config)\n"
        "print(sum(len(item.offsets) for unit in plan.units for item in read_unit(plan, unit, config)))\n"
        "print([name for name in ('tensorflow', 'tensorflow_datasets', 'jax') if name in sys.modules])"
    )
    words = [sys.executable, "-c", code, f"tfds:talk/en@{tmp_path}"]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.split("\n")[:2] == ["41", "[]"]


@pytest.mark.parametrize("kind", ["tfrecord", "array_record"])
def test_what_tfds_writes_is_what_it_reads_itself(tmp_path, kind):
    library: Any = import_module("tensorflow_datasets")

    features = library.features

    class Speech(library.core.GeneratorBasedBuilder, skip_registration=True):  # pyright: ignore
        """Three shards of texts; some are empty, one is long, and one lies deeper."""

        __module__ = "speech"  # for one in a package TFDS wants importlib_resources, which it does not bring along
        VERSION = library.core.Version("1.2.0")
        BUILDER_CONFIGS = [library.core.BuilderConfig(name=name) for name in ("en", "de")]  # noqa: RUF012

        def _info(self):
            deep = {"deep": {"inner": features.Text(), "words": features.Sequence(features.Text())}}
            shape = features.FeaturesDict({"text": features.Text(), "n": np.int64, "s": np.str_, **deep})
            return library.core.DatasetInfo(builder=self, features=shape)

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(TEXTS), "validation": self._generate_examples(TEXTS[:3])}

        def _generate_examples(self, texts):
            for number, text in enumerate(texts):
                deep = {"inner": f"inner {number}", "words": ["a", "b"]}
                yield number, {"text": text.decode(), "n": number, "s": f"s {number}", "deep": deep}

    config = library.download.DownloadConfig(num_shards=3)
    Speech(data_dir=str(tmp_path), config="en", file_format=kind).download_and_prepare(download_config=config)
    folder = tmp_path / "speech" / "en" / "1.2.0"
    assert len(list(folder.glob(f"speech-train.{kind}-*-of-00003"))) == 3
    builder = library.builder_from_directory(str(folder))
    for split in ("train", "validation"):
        data = (
            builder.as_data_source(split) if kind == "array_record" else builder.as_dataset(split).as_numpy_iterator()
        )
        theirs = list(data)
        for feature in ("text", "s"):
            found, letters = read(f"tfds:speech/en:1.2.0/{split}/{feature}@{tmp_path}")
            assert not letters
            assert found == [one[feature] for one in theirs]
        assert read(f"tfds:speech/en:1.2.0/{split}/deep/inner@{tmp_path}")[0] == [
            one["deep"]["inner"] for one in theirs
        ]
    assert len(theirs) == 3
    with pytest.raises(UserError, match="there are: deep/inner, s, text; name one by"):
        read(f"tfds:speech/en@{tmp_path}", text_field="n")
