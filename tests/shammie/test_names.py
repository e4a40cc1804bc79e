import pytest

from shammie.errors import UserError
from shammie.names import MOST_BYTES, inner_path, plain_name

BAD = [
    "",
    ".",
    "..",
    "a/b",
    "/etc/passwd",
    "..\\x",
    "a\x00b",
    "a\nb",
    "\x1b[31m",
    "\u202ex",
    "é" * 128,
    "x" * 256,
    None,
    7,
    ["a"],
]


@pytest.mark.parametrize("name", BAD)
def test_a_name_that_leads_elsewhere_is_refused(name: object) -> None:
    with pytest.raises(UserError, match=r"shard .* cannot be a file's name") as raised:
        plain_name(name, "shard")
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize("name", ["part-00000-of-00001.jsonl", "…", ".hidden", "a b", "x" * MOST_BYTES, "é" * 127])
def test_a_plain_name_is_taken(name: str) -> None:
    assert plain_name(name, "shard") == name


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd", "a//b", "a/", "", "a/./b", "a/b\x00", None])
def test_a_path_that_leaves_its_folder_is_refused(path: object) -> None:
    with pytest.raises(UserError):
        inner_path(path, "member")


def test_a_path_below_a_folder_is_taken() -> None:
    assert inner_path("a/b-1/c.txt", "member") == "a/b-1/c.txt"
