import errno
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.testing.test_pipeline import TestPipeline as BeamsTestPipeline
from apache_beam.testing.util import assert_that, equal_to

from beam_jobs import readers
from beam_jobs.equal_info import transforms
from beam_jobs.equal_info.job import run
from beam_jobs.runner import pipeline_for_tests
from shammie.errors import UserError


def test_every_document_comes_back_and_the_files_say_what_they_hold(job, text_file, texts, codec, kit):
    result = run(job(text_file))
    assert sorted(kit.decoded(result, codec)) == sorted(texts)
    out = Path(result.output)
    tokens = [len(example["targets"]) for example in kit.read_shards(result)]
    assert result.stats["documents"] == result.stats["examples"] == result.stats["end_ids"] == len(texts)
    assert result.stats["text_bytes"] == sum(map(len, texts))
    assert result.stats["targets_tokens"] == sum(tokens)
    assert result.stats["targets_max_tokens"] == max(tokens)
    assert result.counters["documents"] == len(texts)
    assert result.counters["targets_tokens"] == sum(tokens)
    files = kit.hashes(out)
    for shard in result.manifest["shards"]:
        assert files[shard["name"]] == shard["sha256"]
        assert (out / shard["name"]).stat().st_size == shard["size"]
        assert shard["records"] > 0
    names = {f"train.tfrecord-{i:05d}-of-00003" for i in range(3)}
    about = {"info.train.json", "stats.train.json", "manifest.train.json", "dead_letters.train.jsonl"}
    assert set(files) == names | about | {"README.md", "COMPLETED", "equal_info.codec"}
    assert (out / "COMPLETED").stat().st_mtime >= (out / "README.md").stat().st_mtime
    said = "".join((out / name).read_text() for name in (*about, "README.md", ".inputs.train.json"))
    assert str(out.parent) not in said
    assert socket.gethostname() not in said.replace("-", " ").split()


def test_same_bytes_for_two_runs_and_any_unit_size(job, text_file, kit):
    one = kit.hashes(run(job(text_file, output="one")).output)
    assert one == kit.hashes(run(job(text_file, output="two")).output)
    pick = lambda files: {name: value for name, value in files.items() if "tfrecord-" in name}  # noqa: E731
    other_units = kit.hashes(run(job(text_file, output="three", unit_bytes=997)).output)
    assert pick(one) == pick(other_units)
    other_seed = kit.hashes(run(job(text_file, output="four", seed=1)).output)
    assert not set(pick(one).values()) & set(pick(other_seed).values())


@pytest.mark.parametrize("mode", ["multi_processing", "multi_threading"])
def test_same_bytes_for_one_and_four_workers(job, text_file, kit, mode):
    one = kit.hashes(run(job(text_file, output="one")).output)
    flags = ["--direct_num_workers=4", f"--direct_running_mode={mode}", "--runner=DirectRunner"]
    assert one == kit.hashes(run(job(text_file, output="four"), flags).output)


def test_order_is_by_place_not_by_content(job, text_file, texts, codec, kit):
    order = kit.decoded(run(job(text_file, num_shards=1)), codec)
    assert order != texts
    assert order != sorted(texts)
    assert order.index(b"same") != len(order) - 2


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the network was asked")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("flags", [[], ["--runner=DirectRunner"]])
def test_whole_job_without_sockets(job, text_file, flags):
    assert run(job(text_file), flags).stats["documents"] > 0


@pytest.mark.usefixtures("no_network")
def test_test_pipelines_without_sockets():
    """Beam's own TestPipeline too, as our tests set it up."""
    for pipeline in (BeamsTestPipeline(), pipeline_for_tests(), pipeline_for_tests(["--runner=DirectRunner"])):
        with pipeline:
            assert_that(pipeline | beam.Create([1, 2]) | beam.Map(lambda n: n + 1), equal_to([2, 3]))


def test_long_documents_are_continued_in_one_shard(job, text_file, texts, codec, kit):
    result = run(job(text_file, max_example_bytes=300))
    assert sorted(kit.decoded(result, codec)) == sorted(texts)
    assert result.stats["continuations"] == sum((len(text) - 1) // 300 for text in texts)
    assert result.stats["end_ids"] == len(texts)


def test_one_line_of_megabytes(job, tmp_path, codec, kit):
    line = bytes(np.random.default_rng(0).integers(11, 256, 3_000_000).astype(np.uint8))
    (tmp_path / "long.txt").write_bytes(line)
    result = run(job(tmp_path / "long.txt", unit_bytes=100_000, max_example_bytes=700_000))
    assert kit.decoded(result, codec) == [line]
    assert result.stats["examples"] == 5


def test_array_record(job, text_file, codec, kit):
    from array_record.python.array_record_module import ArrayRecordReader

    tfrecord, array = run(job(text_file, output="a")), run(job(text_file, output="b", output_format="array_record"))
    again = run(job(text_file, output="c", output_format="array_record"))
    assert array.manifest["shards"] == again.manifest["shards"]
    found = []
    for shard in array.manifest["shards"]:
        assert shard["name"].startswith("train.array_record-")
        reader = ArrayRecordReader(str(Path(array.output) / shard["name"]))
        found += [kit.parse_example(record) for record in reader.read_all()]
    assert found == kit.read_shards(tfrecord)


def test_dead_letters_are_exactly_the_bad_rows(job, tmp_path, codec, kit):
    rows = [json.dumps({"text": f"document {i}"}) for i in range(300)]
    bad = {7: "{", 100: "[]", 299: '{"text": null}'}
    for row, line in bad.items():
        rows[row] = line
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    with pytest.raises(UserError, match=r"3 of 300 records are bad, see .*raise --max_bad_share above 0.005"):
        run(job(tmp_path / "a.jsonl", max_bad_share=0.005))
    assert not list(tmp_path.glob("out/train.*"))
    result = run(job(tmp_path / "a.jsonl"))  # resumes: the share is no part of the dataset
    assert result.counters["units_kept"] > 0
    assert "units_done" not in result.counters
    offsets = np.cumsum([0] + [len(row) + 1 for row in rows]).tolist()
    assert [(letter["source"], letter["offset"]) for letter in kit.dead_letters(result)] == [
        ("a.jsonl", offsets[row]) for row in bad
    ]
    assert result.stats["dead_letters"] == {"invalid JSON": 1, "not a JSON object": 1, "not a string": 1}
    assert len(kit.decoded(result, codec)) == 297


def test_a_damaged_source_stops_the_job_unless_allowed(job, tmp_path, text_file):
    (tmp_path / "in" / "z.gz").write_bytes(b"\x1f\x8b\x08")
    with pytest.raises(UserError, match=r"input z.gz: truncated gzip; mend it .* by --max_bad_sources=1"):
        run(job(tmp_path / "in"))
    assert run(job(tmp_path / "in", max_bad_sources=1)).stats["damaged_sources"] == 1


def test_full_disk_is_one_line_and_the_job_resumes(job, text_file, tmp_path, kit):
    """A device that is always full takes the place of a shard: write() itself fails, and names no file."""
    expected = kit.hashes(run(job(text_file, output="whole")).output)
    shard = tmp_path / "out" / "train.tfrecord-00001-of-00003"
    (tmp_path / "out").mkdir()
    shutil.copy(tmp_path / "whole" / "equal_info.codec", tmp_path / "out")  # so that the folder is the job's
    shard.symlink_to("/dev/full")
    with pytest.raises(UserError) as caught:
        run(job(text_file))
    assert str(caught.value).startswith(f"{shard}: the disk is full: free some room")
    assert not list((tmp_path / "out").glob("*.tmp-*"))
    shard.unlink()
    result = run(job(text_file))
    assert result.counters["shards_kept"] == 1
    assert "units_done" not in result.counters
    assert kit.hashes(result.output) == expected


def test_damaged_work_is_done_again(job, text_file, monkeypatch, kit):
    expected = kit.hashes(run(job(text_file, output="whole")).output)
    monkeypatch.setattr(transforms, "write_shard", lambda *_, **__: 1 / 0)
    with pytest.raises(Exception, match="division"):
        run(job(text_file))
    monkeypatch.undo()
    units = Path(job(text_file).output) / "_work.train" / "units"
    damaged = bytearray((units / "000001.sorted").read_bytes())
    damaged[len(damaged) // 3] ^= 1
    (units / "000001.sorted").write_bytes(damaged)
    (units / "000002.sorted").unlink()
    (units / "000003.json").write_bytes(b"{")
    result = run(job(text_file))
    assert result.counters["units_done"] == 3
    assert kit.hashes(result.output) == expected


def test_input_that_cannot_be_read_is_read_again_by_the_next_run(job, text_file, monkeypatch, kit):
    expected = kit.hashes(run(job(text_file, output="whole")).output)
    real = readers.storage.read_into
    reads = itertools.count()

    def failing(file, view):
        if file.name == str(text_file) and next(reads) == 9:
            raise OSError(errno.EIO, os.strerror(errno.EIO), file.name)
        return real(file, view)

    monkeypatch.setattr(readers.storage, "read_into", failing)
    with pytest.raises(
        UserError, match=r"input text.txt: cannot be read: Input/output error; run the same command again .*_sources=1"
    ):
        run(job(text_file))
    result = run(job(text_file))
    assert result.counters["units_done"] == 1
    assert result.stats["damaged_sources"] == 0
    assert kit.hashes(result.output) == expected


KILLED = """
import sys, time
from beam_jobs.equal_info import transforms
real = transforms.EncodeUnit._do
def slow(self, unit):
    time.sleep(0.1)
    return real(self, unit)
transforms.EncodeUnit._do = slow
from beam_jobs.equal_info.__main__ import main
main(sys.argv[1:])
"""


def test_kill_9_in_the_middle_then_resume(job, text_file, tmp_path, codec_path, kit):
    expected = kit.hashes(run(job(text_file, output="whole", unit_bytes=500)).output)
    flags = ["--input", str(text_file), "--output", str(tmp_path / "out"), "--codec", codec_path, "--num_shards=3"]
    process = subprocess.Popen([sys.executable, "-c", KILLED, *flags, "--unit_bytes=500"], stderr=subprocess.DEVNULL)
    reports = tmp_path / "out" / "_work.train" / "units"
    deadline = time.monotonic() + 60
    while len(list(reports.glob("*.json"))) < 5:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out" / "COMPLETED").exists()
    result = run(job(text_file, unit_bytes=500))
    assert result.counters["units_kept"] >= 5
    assert result.counters["units_done"] > 0
    assert kit.hashes(result.output) == expected


@pytest.mark.parametrize("content", [b"", b"\n\n\n"])
def test_input_without_text(job, tmp_path, content):
    (tmp_path / "nothing.txt").write_bytes(content)
    with pytest.raises(UserError, match=r"is empty|no document with a byte in it"):
        run(job(tmp_path / "nothing.txt"))
