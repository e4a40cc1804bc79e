import os
import subprocess
import sys
from pathlib import Path

import pytest

from shammie.errors import UserError
from workflows.dag import Running, Source, Step, source_of_files
from workflows.dag_step import in_order


def nothing(running: Running) -> None:
    del running


def log_and_nothing(running: Running) -> None:
    print("a log line")
    del running


def chain(**config: int) -> tuple[Step, Step]:
    first = Step("first", nothing, config={"a": 1, **config})
    return first, Step("second", nothing, inputs={"x": first})


def test_identity_is_that_of_the_canonical_text() -> None:
    import hashlib

    text = '{"config":{"a":1},"inputs":{},"name":"first","version":1}'
    assert Step("first", nothing, config={"a": 1}).identity == hashlib.sha256(text.encode()).hexdigest()


def test_identity_ignores_order_code_and_words() -> None:
    one = Step("s", nothing, config={"a": 1, "b": [1, 2]}, lasts="1 minute")
    other = Step("s", log_and_nothing, config={"b": [1, 2], "a": 1}, code=("shammie.files",))
    assert one.identity == other.identity


def test_identity_is_the_same_in_another_process() -> None:
    code = "from workflows.dag import Step; print(Step('s', print, config={'b': 'é', 'a': 0.1}).identity)"
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert found == {Step("s", nothing, config={"a": 0.1, "b": "é"}).identity}


def test_a_change_reaches_all_that_stands_on_it() -> None:
    before, after = chain(), chain(b=2)
    assert all(one.identity != other.identity for one, other in zip(before, after, strict=True))
    assert Step("s", nothing, version=2).identity != Step("s", nothing).identity
    assert Step("s", nothing, inputs={"x": before[0]}).identity != Step("s", nothing, inputs={"y": before[0]}).identity


def test_config_must_be_plain() -> None:
    with pytest.raises(ValueError, match="step s: its config must be plain JSON"):
        Step("s", nothing, config={"f": nothing})  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="plain JSON"):
        Step("s", nothing, config={"f": float("nan")})
    with pytest.raises(ValueError, match="lowercase word"):
        Step("A b", nothing)


def test_order_is_inputs_first_and_each_once() -> None:
    base = Step("base", nothing)
    twin = Step("base", log_and_nothing)
    left, right = Step("left", nothing, inputs={"x": base}), Step("right", nothing, inputs={"x": twin})
    top = Step("top", nothing, inputs={"l": left, "r": right, "s": Source("text", {})})
    assert [step.name for step in in_order([top, left])] == ["base", "left", "right", "top"]


def test_source_is_its_content_not_its_place(tmp_path: Path, own_cache: Path) -> None:
    for folder in ("here", "there/deep"):
        (tmp_path / folder / "sub").mkdir(parents=True)
        (tmp_path / folder / "a.txt").write_text("one")
        (tmp_path / folder / "sub/b.txt").write_text("two")
    here, there = (
        source_of_files("text", [tmp_path / folder / name for name in ("sub/b.txt", "a.txt")])
        for folder in ("here", "there/deep")
    )
    assert here.identity == there.identity
    assert sorted(here.manifest) == ["a.txt", "sub/b.txt"]
    assert here.manifest["a.txt"] == "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    assert here.paths["a.txt"] == str(tmp_path / "here/a.txt")
    (tmp_path / "here/a.txt").write_text("ONE")
    assert source_of_files("text", [tmp_path / "here/a.txt", tmp_path / "here/sub/b.txt"]).identity != here.identity


def test_hashes_are_remembered_by_size_and_time(tmp_path: Path, own_cache: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one")
    os.utime(path, ns=(10**18, 10**18))
    first = source_of_files("text", [path])
    path.write_text("two")
    os.utime(path, ns=(10**18, 10**18))
    assert source_of_files("text", [path]).identity == first.identity, "same size and time: not read again"
    os.utime(path, ns=(10**18, 10**18 + 1))
    assert source_of_files("text", [path]).identity != first.identity


def test_a_fresh_file_is_not_remembered(tmp_path: Path, own_cache: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one")
    about = path.stat()
    first = source_of_files("text", [path])
    path.write_text("two")
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert source_of_files("text", [path]).identity != first.identity


@pytest.mark.parametrize(
    ("given", "words"), [([], "no input files"), (["gone.txt"], "no such file"), ([""], "no such")]
)
def test_bad_sources(given: list[str], words: str, tmp_path: Path, own_cache: Path) -> None:
    with pytest.raises(UserError, match=words):
        source_of_files("text", given)
    with pytest.raises(UserError, match="is a directory"):
        source_of_files("text", [tmp_path])
