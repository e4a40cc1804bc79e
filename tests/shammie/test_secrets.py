"""Keys are hidden wherever they stand, and what is none stays."""

import pytest

from shammie.errors import UserError, one_line, shown
from shammie.secrets import HIDDEN, command_without_secrets, looks_like_one, without_secrets

KEY = "fake0key0that0nobody0has"


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SOME_API_KEY", f" {KEY}\n")
    monkeypatch.setenv("OTHER_TOKEN", "short")
    monkeypatch.setenv("SIGNING_KEY", "/home/me/key.pem")
    return KEY


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("http://us:word@host/v1 x", f"http://{HIDDEN}@host/v1 x"),
        ("https://host/v1?api_key=abc&n=1", f"https://host/v1?api_key={HIDDEN}&n=1"),
        ("gs://b/x?X-Goog-Signature=ab12#f", f"gs://b/x?X-Goog-Signature={HIDDEN}#f"),
        ("Authorization: Bearer abc.def-ghi", f"Authorization: Bearer {HIDDEN}"),
        ("it is sk-proj-abcdefGHIJ1234 here", f"it is {HIDDEN} here"),
        ("hf_abcdefghijklmnop", HIDDEN),
        (f"<{KEY}>", f"<{HIDDEN}>"),
    ],
)
def test_keys_are_hidden(key: str, text: str, left: str) -> None:
    assert without_secrets(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "short words of OTHER_TOKEN", "/home/me/key.pem", "task-abcdefghijklmnop", "max_tokens=123456789",
        "a?n=1&tokens=5",
        "http://host:8000/v1", "me@host.org", "the bearer of news", "sha256 0123456789abcdef0123456789abcdef",
    ],
)  # fmt: skip
def test_what_is_none_stays(key: str, text: str) -> None:
    assert without_secrets(text) == text


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (["run", "--gin.X.extra={'api_key': 'abcdefgh'}"], ["run", f"--gin.X.extra={{'api_key': '{HIDDEN}'}}"]),
        (["--password=abcdefgh"], [f"--password={HIDDEN}"]),
        (["--api-key", "abc", "--out", "x"], ["--api-key", HIDDEN, "--out", "x"]),
        (["--gin.E.api_key_env='MY_API_KEY'"], ["--gin.E.api_key_env='MY_API_KEY'"]),
        (["--gin.SEED=1234567890", "--new_tokens=123456789"], ["--gin.SEED=1234567890", "--new_tokens=123456789"]),
        ([f"--gin.URL='http://host/{KEY}'"], [f"--gin.URL='http://host/{HIDDEN}'"]),
    ],
)
def test_commands(key: str, words: list[str], left: list[str]) -> None:
    assert command_without_secrets(words) == left


def test_names_of_fields() -> None:
    assert all(
        map(looks_like_one, ["api_key", "apiKey", "key", "X-Api-Key", "access_token", "client_secret", "password"])
    )
    assert not any(map(looks_like_one, ["max_tokens", "keys", "monkey", "top_k", "seed", "tokenizer", "api_key_env"]))


def test_errors_hide_them_too(key: str) -> None:
    error = UserError(f"no {key} there", f"see https://a:b@host and {key}")
    assert KEY not in str(error) + error.problem + error.cure
    assert "a:b" not in str(error)
    assert KEY not in one_line(RuntimeError(f"boom {key}"))


def test_errors_move_no_terminal_and_are_not_long() -> None:
    error = UserError("a\x1b[2J\u202eb\nc\ud800\x00" + "x" * 10_000, "\x9b31m")
    assert str(error).isprintable()
    assert len(str(error)) < 3500
    assert str(error).startswith("a\\x1b[2J\\u202eb c\\ud800\\x00x")
    assert shown("déjà vu, 数学 …") == "déjà vu, 数学 …"
    assert one_line(RuntimeError("\x1b[31m")).endswith("\\x1b[31m")


def test_a_key_that_begins_like_a_path_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORE_SECRET_KEY", "/wJalrXUtnFEMI/K7MDENG+bPxRfiCY")
    assert without_secrets("sent /wJalrXUtnFEMI/K7MDENG+bPxRfiCY there") == "sent […] there"
