"""Files that are written: what is replaced, what is written to directly, and what failures are called."""

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from shammie import files


def only(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_behind_a_link_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("kept/file")
    (tmp_path / "nowhere yet").symlink_to("kept/new")
    files.write_bytes(tmp_path / "link", b"new")
    files.write_bytes(tmp_path / "nowhere yet", b"first")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "kept" / "file").read_bytes() == b"new"
    assert (tmp_path / "nowhere yet").is_symlink()
    assert (tmp_path / "kept" / "new").read_bytes() == b"first"
    assert only(tmp_path / "kept") == ["file", "new"]


@pytest.mark.parametrize("mode", [0o600, 0o755, 0o444])
def test_the_mode_stays(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(mode)
    files.write_bytes(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert path.read_bytes() == b"new"


def test_a_pipe_and_a_device_are_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    files.write_bytes(pipe, b"through the pipe")
    reader.join(10)
    assert got == [b"through the pipe"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    (tmp_path / "null").symlink_to("/dev/null")
    files.write_bytes(tmp_path / "null", b"away")
    assert only(tmp_path) == ["null", "pipe"]
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.parametrize("to_file", [False, True])
def test_stdout_is_not_replaced(tmp_path: Path, to_file: bool) -> None:
    code = "from shammie import files; files.write_bytes('/dev/stdout', b'sa'); files.write_bytes('/dev/fd/1', b'id')"
    with open(tmp_path / "out", "w+b") as out:
        before = os.fstat(out.fileno()).st_ino
        done = subprocess.run([sys.executable, "-c", code], stdout=out if to_file else subprocess.PIPE, check=True)
        said = (tmp_path / "out").read_bytes() if to_file else done.stdout
    assert said == b"said"
    assert (tmp_path / "out").stat().st_ino == before


@pytest.mark.parametrize("size", [1, 1 << 20])  # fails in flush; in write
def test_a_full_device_is_named(tmp_path: Path, size: int) -> None:
    (tmp_path / "full").symlink_to("/dev/full")
    for path in ("/dev/full", str(tmp_path / "full")):
        with pytest.raises(OSError, match="No space left") as caught:
            files.write_bytes(path, bytes(size))
        assert (caught.value.errno, caught.value.filename, caught.value.filename2) == (errno.ENOSPC, path, None)


def test_a_failing_disk_is_named_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(sys, "unraisablehook", lambda about: pytest.fail(str(about)))
    with pytest.raises(OSError, match="No space left") as caught:
        files.write_bytes(path, b"new")
    assert caught.value.filename == str(path)
    assert (only(tmp_path), path.read_bytes()) == (["file"], b"old")
    with files.writing(path, sync=False) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"


LIMITED = """
import resource, sys
from shammie import files
from shammie.errors import run_for_people
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
sys.exit(run_for_people(lambda: files.write_bytes(sys.argv[1], bytes(1 << 20)), program="test"))
"""


def test_a_write_that_the_kernel_refuses_is_one_line(tmp_path: Path) -> None:
    """Past a limit on a file's size write() itself fails, and names no file."""
    path = tmp_path / "file"
    done = subprocess.run([sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"test: {path}: the file grew over the limit")
    assert len(done.stderr.splitlines()) == 1
    assert only(tmp_path) == []


@pytest.mark.parametrize("path", ["missing/file", "plain/file", "folder"])
def test_a_path_that_cannot_be_is_named(tmp_path: Path, path: str) -> None:
    (tmp_path / "plain").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=path) as caught:
        files.write_bytes(tmp_path / path, b"")
    assert caught.value.filename == str(tmp_path / path)
    assert ".tmp-" not in str(caught.value)
    assert only(tmp_path) == ["folder", "plain"]


def test_errors_of_other_files_keep_their_names(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, files.writing(tmp_path / "copy"):
        open(tmp_path / "source").close()
    assert caught.value.filename == str(tmp_path / "source")
    assert only(tmp_path) == []


def test_two_writers_on_one_remote_file_system(tmp_path: Path) -> None:
    folder = f"memory://{tmp_path}"
    first, second = files.join(folder, "first"), files.join(folder, "second")

    def crash() -> None:
        with files.writing(second) as file:
            file.write(b"2")
            raise RuntimeError("crash")

    with files.writing(first) as file:
        file.write(b"1")
        with pytest.raises(RuntimeError, match="crash"):
            crash()
        files.write_bytes(second, b"22")
        assert files.read_bytes(second) == b"22"
        assert not files.exists(first)
        file.write(b"1")
    assert files.read_bytes(first) == b"11"
    assert files.list_directory(folder) == ["first", "second"]
