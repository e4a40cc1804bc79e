import dataclasses
import errno
import os
import subprocess
import sys
import tempfile

import pytest
from apache_beam.io.filesystem import FileMetadata, FileSystem
from apache_beam.io.localfilesystem import LocalFileSystem

from beam_jobs import storage
from beam_jobs.equal_info.job import run
from shammie.errors import UserError

HOME = {"folder": ""}


class FarFileSystem(FileSystem):
    """An object store for tests: far://bucket/key, kept in a local folder; Beam finds it by its scheme."""

    def __init__(self, pipeline_options):
        super().__init__(pipeline_options)
        self.local = LocalFileSystem(pipeline_options)

    @classmethod
    def scheme(cls):
        return "far"

    def _to(self, path):
        return os.path.join(HOME["folder"], path.removeprefix("far://"))

    def _from(self, path):
        return "far://" + os.path.relpath(path, HOME["folder"])

    def join(self, basepath, *paths):
        return "/".join([basepath.rstrip("/"), *paths])

    def split(self, path):
        head, tail = path.rsplit("/", 1)
        return head, tail

    def mkdirs(self, path):
        os.makedirs(self._to(path), exist_ok=True)

    def has_dirs(self):
        return False

    def _list(self, dir_or_prefix):
        for folder, _, names in os.walk(HOME["folder"]):
            for name in names:
                path = os.path.join(folder, name)
                if self._from(path).startswith(dir_or_prefix):
                    yield FileMetadata(self._from(path), os.path.getsize(path), os.path.getmtime(path))

    def create(self, path, mime_type="application/octet-stream", compression_type="auto"):
        os.makedirs(os.path.dirname(self._to(path)), exist_ok=True)
        return self.local.create(self._to(path), mime_type, compression_type)

    def open(self, path, mime_type="application/octet-stream", compression_type="auto"):
        return self.local.open(self._to(path), mime_type, compression_type)

    def copy(self, source_file_names, destination_file_names):
        self.local.copy(list(map(self._to, source_file_names)), list(map(self._to, destination_file_names)))

    def rename(self, source_file_names, destination_file_names):
        self.local.rename(list(map(self._to, source_file_names)), list(map(self._to, destination_file_names)))

    def exists(self, path):
        return os.path.exists(self._to(path))

    def size(self, path):
        return os.path.getsize(self._to(path))

    def last_updated(self, path):
        return os.path.getmtime(self._to(path))

    def checksum(self, path):
        return str(self.size(path))

    def metadata(self, path):
        return FileMetadata(path, self.size(path), self.last_updated(path))

    def delete(self, paths):
        self.local.delete(list(map(self._to, paths)))


@pytest.fixture
def far(tmp_path):
    HOME["folder"] = str(tmp_path / "far")
    os.makedirs(HOME["folder"])
    return "far://bucket"


@pytest.mark.parametrize("output_format", ["tfrecord", "array_record"])
def test_the_job_on_another_file_system_gives_the_same_bytes(job, tmp_path, texts, far, kit, output_format):
    text = b"\n".join(texts)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "text.txt").write_bytes(text)
    storage.write_bytes(f"{far}/in/text.txt", text)
    near = run(job(tmp_path / "in" / "*.txt", output_format=output_format))
    config = dataclasses.replace(job(f"{far}/in/*.txt", output_format=output_format), output=f"{far}/out")
    away = run(config)
    assert away.stats == near.stats
    assert kit.hashes(tmp_path / "far" / "bucket" / "out") == kit.hashes(near.output)
    assert run(config).counters == {}


def test_files_appear_whole_or_not_at_all(tmp_path, far):
    for home in (str(tmp_path), far):
        with pytest.raises(ValueError, match="half"), storage.writing(f"{home}/file") as file:
            raise ValueError(f"half of it: {file.write(b'half')} bytes")
        assert not storage.exists(f"{home}/file")
        assert storage.size_of(f"{home}/file") == -1
        for content in (b"one", b"two!"):
            storage.write_bytes(f"{home}/file", content)
            assert storage.read_bytes(f"{home}/file") == content
        assert storage.size_of(f"{home}/file") == 4
        assert [name for name in storage.list_directory(home) if name != "far"] == ["file"]
        storage.remove(f"{home}/file")
        storage.remove(f"{home}/file")
        assert storage.read_json_or_none(f"{home}/file") is None


def test_unknown_schemes_are_one_line():
    with pytest.raises(UserError, match=r"cannot list input 'nowhere://x'.*; check the path and its scheme"):
        storage.expand("nowhere://x")


NOBODY = """
import os, sys
from beam_jobs import storage
from shammie.errors import UserError
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    storage.expand(sys.argv[1])
except UserError as error:
    print(error)
"""


def test_no_permission():
    """As nobody where the tests run as root, who may read everything."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = os.path.join(folder, "file")
        with open(path, "wb") as file:
            file.write(b"x")
        os.chmod(path, 0)
        done = subprocess.run([sys.executable, "-c", NOBODY, path], capture_output=True, text=True, check=True)
    assert done.stdout == f"no permission to read input {path}; check the file's owner and mode\n"


def test_failures_of_other_file_systems_name_the_file(far, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "somewhere/inside")

    monkeypatch.setattr(FarFileSystem, "rename", full)
    with pytest.raises(OSError, match="No space left") as caught:
        storage.write_bytes(f"{far}/file", b"content")
    assert caught.value.filename == f"{far}/file"
    assert storage.list_directory(far) == []
