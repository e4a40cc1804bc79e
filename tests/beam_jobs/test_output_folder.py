"""Whose an output folder is: finished, another job's, held by a process, made from inputs that have changed since."""

import dataclasses
import json
import os
import socket
import subprocess
from contextlib import nullcontext
from pathlib import Path

import pytest

from beam_jobs.equal_info import transforms
from beam_jobs.equal_info.job import run
from shammie.errors import UserError, one_line


def test_a_finished_job_is_only_read_and_another_is_refused(job, text_file, tmp_path, kit, codec):
    config = job(text_file)
    first = run(config)
    before = {path: path.stat().st_mtime_ns for path in Path(first.output).glob("train.*")}
    again = run(config)
    assert (again.stats, again.manifest, again.counters) == (first.stats, first.manifest, {})
    assert before == {path: path.stat().st_mtime_ns for path in Path(first.output).glob("train.*")}
    with pytest.raises(UserError, match=r"holds another job's files \(another seed\); choose another --output"):
        run(dataclasses.replace(config, seed=5))
    other = other_codec(kit, tmp_path)
    with pytest.raises(UserError, match=r"holds another job.s files \(another codec fingerprint, codec vocab size\)"):
        run(dataclasses.replace(config, codec=other))
    with pytest.raises(UserError, match="encoded with another codec"):
        run(dataclasses.replace(config, codec=other, split="validation"))
    run(dataclasses.replace(config, seed=5, overwrite=True))
    (Path(first.output) / first.manifest["shards"][0]["name"]).write_bytes(b"")
    with pytest.raises(UserError, match="missing or damaged; write it again with --overwrite"):
        run(dataclasses.replace(config, seed=5))


def other_codec(kit, tmp_path) -> str:
    path = tmp_path / "other.codec"
    kit.small_codec([b"other"]).save(str(path))
    return str(path)


@pytest.mark.parametrize("finished", [True, False])
def test_overwrite_with_a_codec_that_another_split_has_not_removes_nothing(
    job, text_file, tmp_path, kit, monkeypatch, finished
):
    run(job(text_file))
    if not finished:
        monkeypatch.setattr(transforms, "write_shard", lambda *_, **__: 1 / 0)
    with nullcontext() if finished else pytest.raises(Exception, match="division"):
        run(job(text_file, split="test"))
    monkeypatch.undo()
    before = kit.hashes(tmp_path / "out")
    with pytest.raises(UserError, match=r"holds split test encoded with another codec; give --codec="):
        run(job(text_file, codec=other_codec(kit, tmp_path), overwrite=True))
    assert kit.hashes(tmp_path / "out") == before
    assert (tmp_path / "out" / "COMPLETED").exists() == finished


def test_overwrite_with_another_codec_where_no_other_split_is(job, text_file, tmp_path, kit):
    first = run(job(text_file))
    second = run(job(text_file, codec=other_codec(kit, tmp_path), overwrite=True))
    assert second.manifest["config"]["codec_fingerprint"] != first.manifest["config"]["codec_fingerprint"]


def test_a_second_job_on_one_output_is_refused(job, text_file, tmp_path, kit):
    first = run(job(text_file))
    holder = {"pid": os.getppid(), "host": socket.gethostname(), "since": "today"}
    (tmp_path / "out" / ".lock").write_text(json.dumps(holder))
    before = kit.hashes(tmp_path / "out")
    for config in (job(text_file), job(text_file, overwrite=True), job(text_file, split="test")):
        with pytest.raises(UserError) as caught:
            run(config)
        assert str(caught.value) == (
            f"{first.output} is held by process {os.getppid()} on {socket.gethostname()} since today;"
            " wait for it or stop it, or choose another --output"
        )
    assert kit.hashes(tmp_path / "out") == before
    (tmp_path / "out" / ".lock").write_text(json.dumps({**holder, "host": "elsewhere"}))
    with pytest.raises(UserError, match=r"on elsewhere .*if that one is dead, remove .*/out/.lock"):
        run(job(text_file))
    dead = subprocess.Popen(["true"])
    dead.wait()
    (tmp_path / "out" / ".lock").write_text(json.dumps({**holder, "pid": dead.pid}))
    assert run(job(text_file)).counters == {}
    assert not (tmp_path / "out" / ".lock").exists()


def test_the_output_is_held_while_the_job_runs(job, text_file, tmp_path, monkeypatch):
    seen = []
    real = transforms.write_shard

    def look(*arguments, **settings):
        seen.append(json.loads((tmp_path / "out" / ".lock").read_text())["pid"])
        with pytest.raises(UserError, match="is held by process"):
            run(job(text_file, split="test"))
        return real(*arguments, **settings)

    monkeypatch.setattr(transforms, "write_shard", look)
    run(job(text_file))
    assert seen == [os.getpid()] * 3


def test_a_folder_with_other_files_is_refused_and_left_alone(job, text_file, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(UserError, match="not empty and holds no dataset"):
            run(job(text_file, overwrite=overwrite))
    assert os.listdir(tmp_path / "out") == ["thesis.txt"]
    with pytest.raises(FileExistsError) as caught:
        run(job(text_file, output="out/thesis.txt"))
    assert one_line(caught.value) == f"{tmp_path}/out/thesis.txt: something else has that name: choose another"


def test_two_splits_share_a_dataset(job, text_file, tmp_path):
    train = run(job(text_file))
    (tmp_path / "in" / "more.txt").write_bytes(b"held out\n")
    run(job(tmp_path / "in" / "more.txt", split="validation", num_shards=1))
    card = (Path(train.output) / "README.md").read_text()
    assert "| train |" in card
    assert "| validation | 1 |" in card
    assert (Path(train.output) / "COMPLETED").exists()


def test_a_changed_input_is_noticed_on_resume(job, text_file, monkeypatch):
    monkeypatch.setattr(transforms, "write_shard", lambda *_, **__: 1 / 0)
    with pytest.raises(Exception, match="division"):
        run(job(text_file))
    monkeypatch.undo()
    os.utime(text_file, (1, 1))
    with pytest.raises(UserError, match=r"text.txt changed since the job in .* began; start over with --overwrite"):
        run(job(text_file))
    assert run(job(text_file, overwrite=True)).counters["units_done"] > 0


def test_a_changed_input_is_noticed_when_all_is_finished(job, text_file, tmp_path, kit):
    run(job(text_file))
    text = bytearray(text_file.read_bytes())
    text[0] ^= 1
    text_file.write_bytes(text)
    os.utime(text_file, (1, 1))
    before = kit.hashes(tmp_path / "out")
    with pytest.raises(UserError, match=r"text.txt changed since .*/out was written; write it again with --overwrite"):
        run(job(text_file))
    assert kit.hashes(tmp_path / "out") == before
    run(job(text_file, overwrite=True))
    assert kit.hashes(tmp_path / "out") != before
    assert run(job(text_file)).counters == {}
    # what came from another machine has no state to compare with
    (tmp_path / "out" / ".inputs.train.json").unlink()
    os.utime(text_file, (2, 2))
    assert run(job(text_file)).counters == {}
