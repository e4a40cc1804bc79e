import hashlib
from pathlib import Path

import pytest

from shammie import files


@pytest.fixture(params=["local", "remote"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "local" else f"memory://{tmp_path}/x"


def test_a_file_appears_whole_or_not_at_all(folder: str) -> None:
    path = files.join(folder, "a", "b.bin")
    files.make_directory(files.join(folder, "a"))
    files.write_bytes(path, b"old")

    def fail_in_the_middle() -> None:
        with files.writing(path) as file:
            file.write(b"new")
            raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        fail_in_the_middle()
    assert files.read_bytes(path) == b"old"
    assert files.list_directory(files.join(folder, "a")) == ["b.bin"]
    files.write_bytes(path, b"newer")
    assert files.read_bytes(path) == b"newer"


def test_sizes_hashes_copies_and_removal(folder: str) -> None:
    files.make_directory(files.join(folder, "a"))
    files.write_bytes(files.join(folder, "a", "b.bin"), b"12345")
    files.copy(files.join(folder, "a", "b.bin"), files.join(folder, "c.bin"))
    assert files.file_sizes(folder) == {"a/b.bin": 5, "c.bin": 5}
    assert files.sha256_of(files.join(folder, "c.bin")) == hashlib.sha256(b"12345").hexdigest()
    assert files.is_directory(folder)
    assert not files.is_directory(files.join(folder, "c.bin"))
    files.remove(files.join(folder, "a"))
    files.remove(files.join(folder, "a"))
    assert files.list_directory(folder) == ["c.bin"]
    assert files.list_directory(files.join(folder, "nowhere")) == []


def test_join() -> None:
    assert files.join("/a/", "b") == "/a/b"
    assert files.join("/", "b") == "/b"
    assert files.join("gs://bucket/", "b", "c") == "gs://bucket/b/c"
    assert files.join(".", "b") == "./b"


def test_canonical_json() -> None:
    assert files.canonical_json({"b": [1, 2.5], "a": "é"}) == '{"a":"\\u00e9","b":[1,2.5]}'
    assert files.digest({"a": 1, "b": 2}) == files.digest({"b": 2, "a": 1})
    with pytest.raises(TypeError):
        files.canonical_json({"a": object()})
    with pytest.raises(ValueError, match="Out of range"):
        files.canonical_json(float("inf"))


def test_json_is_the_same_after_reading(tmp_path: Path) -> None:
    files.write_json(tmp_path / "x.json", {"b": 1, "a": [None, "é"]})
    assert files.read_json(tmp_path / "x.json") == {"b": 1, "a": [None, "é"]}
    assert (tmp_path / "x.json").read_text().index('"a"') < (tmp_path / "x.json").read_text().index('"b"')


def test_the_cache_is_where_it_is_told_to_be(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert files.cache_directory() == own_cache
    assert own_cache.is_dir()
    (own_cache / "file").write_text("")
    monkeypatch.setenv("SHAMMIE_CACHE", str(own_cache / "file" / "below"))
    assert files.cache_directory().is_dir()


def test_what_killed_writers_left_is_known_and_removed(tmp_path: Path) -> None:
    with files.writing(tmp_path / "a.json") as file:
        file.write(b"half")
        (left,) = tmp_path.iterdir()
        assert files.is_leftover(left.name)
    below = tmp_path / "b"
    below.mkdir()
    for folder in (tmp_path, below):
        (folder / "c.json.tmp-0123abcd").touch()
        (folder / "mine.tmp-notes").touch()
    files.remove_leftovers(tmp_path)
    mine = ["b/mine.tmp-notes", "mine.tmp-notes"]
    assert sorted(files.file_sizes(tmp_path)) == ["a.json", "b/c.json.tmp-0123abcd", *mine]
    files.remove_leftovers(tmp_path, below=True)
    assert sorted(files.file_sizes(tmp_path)) == ["a.json", *mine]
    files.remove_leftovers(tmp_path / "none", below=True)


def test_a_folder_moves(folder: str) -> None:
    files.make_directory(files.join(folder, "a"))
    files.write_bytes(files.join(folder, "a", "b.bin"), b"1")
    files.move(files.join(folder, "a"), files.join(folder, "z"))
    assert files.file_sizes(folder) == {"z/b.bin": 1}
