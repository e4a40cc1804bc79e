"""Checkpoints whose files are not what was written, disks that are full, and clocks that jump."""

import errno
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shammie.errors import UserError
from workflows.train import checksums, train
from workflows.train.checkpoints import DAMAGED, Checkpoints
from workflows.train.metric_log import MetricLog, read_rows

STATE = {"a": jnp.arange(3000.0), "b": {"c": jnp.ones((4, 5)), "n": jnp.int32(7)}}
LIKE = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), STATE)


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 4])


HOW: dict[str, Callable[[bytes], bytes]] = {"cut": lambda data: data[: len(data) // 2], "flip": flipped}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("saved")
    checkpoints = Checkpoints(str(out), {"seed": 1}, 2)
    for step in (4, 8):
        checkpoints.save(step, jax.tree.map(lambda x, step=step: x + step, STATE))
    checkpoints.close()
    return out


@pytest.mark.parametrize("how", HOW)
def test_damage_to_any_file_is_found_and_the_one_before_is_taken(saved: Path, tmp_path: Path, how: str, capsys) -> None:
    folder = saved / "checkpoints" / "8"
    names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    kept = [name for name in names if os.path.basename(name) not in checksums.LATER]
    assert len(kept) > 6
    assert checksums.damage(str(folder)) == ""
    copy = tmp_path / "8"
    shutil.copytree(folder, copy)
    for name in kept:
        whole = (copy / name).read_bytes()
        (copy / name).write_bytes(HOW[how](whole))
        assert checksums.damage(str(copy)), name
        (copy / name).write_bytes(whole)
    (copy / next(name for name in kept if name != checksums.NAME)).unlink()
    assert "is missing" in checksums.damage(str(copy))

    out = tmp_path / "out"
    shutil.copytree(saved, out)
    largest = max((out / "checkpoints" / "8").rglob("*"), key=lambda path: path.stat().st_size * path.is_file())
    largest.write_bytes(HOW[how](largest.read_bytes()))
    checkpoints = Checkpoints(str(out), {"seed": 1}, 2)
    assert checkpoints.take_up() == 4
    told = capsys.readouterr().err
    assert f"checkpoint 8 of {out} is damaged: its file " in told
    assert f"; it is kept in {out}/{DAMAGED}/8" in told
    assert (out / DAMAGED / "8").is_dir()
    found = checkpoints.restore(4, LIKE)
    assert np.array_equal(found["a"], STATE["a"] + 4)
    checkpoints.save(8, STATE)  # the number is free again
    checkpoints.close()
    assert Checkpoints(str(out), {}, 2, reading=True).latest() == 8


def test_without_a_good_one_the_run_starts_over_to_the_same_end(kit, config, tmp_path: Path, capsys) -> None:
    run = config(steps=8, checkpoint_every=4)
    whole = train(run, str(tmp_path / "whole"))
    broken = tmp_path / "broken"
    train(config(steps=4, checkpoint_every=4), str(broken))
    for path in (broken / "checkpoints").rglob("manifest.ocdbt"):
        path.write_bytes(b"")
    again = train(run, str(broken))
    assert "checkpoint 4 of" in capsys.readouterr().err
    kit.assert_same_bytes(again.state, whole.state)
    assert kit.without_speeds(again.rows) == kit.without_speeds(whole.rows)


def test_one_that_cannot_be_read_now_is_not_put_aside(saved: Path, tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / "out"
    shutil.copytree(saved, out)

    def fails(path: str) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    monkeypatch.setattr(checksums, "_crc32", fails)
    with pytest.raises(OSError, match="Input/output error"):
        Checkpoints(str(out), {"seed": 1}, 2).take_up()
    assert (out / "checkpoints" / "8").is_dir()


def test_a_reader_leaves_what_a_run_is_writing(saved: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(saved, out)
    (out / "checkpoints" / "12.orbax-checkpoint-tmp").mkdir()
    Checkpoints(str(out), {}, 2, reading=True).close()
    assert (out / "checkpoints" / "12.orbax-checkpoint-tmp").is_dir()
    again = Checkpoints(str(out), {}, 2)
    again.save(12, STATE)
    again.close()
    assert not (out / "checkpoints" / "12.orbax-checkpoint-tmp").exists()


def test_a_reader_refuses_a_damaged_one_and_moves_nothing(saved: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(saved, out)
    file = max(
        (path for path in (out / "checkpoints" / "8").rglob("*") if path.is_file()), key=lambda p: p.stat().st_size
    )
    file.write_bytes(flipped(file.read_bytes()))
    reader = Checkpoints(str(out), {}, 2, reading=True)
    with pytest.raises(UserError, match=r"checkpoint 8 of .* is damaged: its file .* other bytes than were written"):
        reader.restore(8, LIKE)
    assert reader.restore(4, LIKE)["b"]["n"] == 11
    reader.close()
    assert (out / "checkpoints" / "8").is_dir()


def test_a_full_disk_names_the_checkpoint(tmp_path: Path, monkeypatch) -> None:
    checkpoints = Checkpoints(str(tmp_path), {}, 2)

    def full(folder: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), folder)

    monkeypatch.setattr(checksums, "write", full)
    checkpoints.save(4, STATE)
    with pytest.raises(UserError, match=rf"checkpoint 4 of {tmp_path} cannot be written; the disk is full: free some"):
        checkpoints.close()
    monkeypatch.undo()
    assert Checkpoints(str(tmp_path), {}, 2).take_up() is None


def test_saving_does_not_follow_the_wall_clock(tmp_path: Path, monkeypatch) -> None:
    looks = iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: 1.7e9 + 86_400 * (next(looks) % 3 - 1))
    checkpoints = Checkpoints(str(tmp_path), {}, 2)
    checkpoints.save(4, STATE)
    checkpoints.close()
    assert Checkpoints(str(tmp_path), {}, 2, reading=True).latest() == 4


def test_rows_go_on_where_event_files_cannot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = MetricLog(str(tmp_path), 0)
    worker = log._events.file_writer.event_writer._worker
    worker.stop()  # as a full disk ends it
    rows = [{"step": step, **{f"metric{number}": 1.0 for number in range(9)}} for step in range(1, 9)]
    for row in rows:
        log.add(row)  # without care, the queue would be full in the second row, and wait for ever
    log.close()
    assert read_rows(str(tmp_path / "metrics.jsonl")) == rows
    assert capsys.readouterr().err.count("goes on without event files beside it") == 1
