from collections.abc import Iterator
from pathlib import Path

import gin
import pytest

import workflows
from shammie.errors import UserError
from workflows import gin_config

TOY = """
import dataclasses
from shammie.errors import UserError

@dataclasses.dataclass(frozen=True)
class Settings:
    vocab_size: int = 3
    text: str = ""

def steps(settings: Settings = Settings(), rounds: int = 1):
    if rounds == 13:
        raise UserError("rounds 13 is unlucky", "take 12")
    return settings, rounds
"""
BASE = """# A toy.
from __gin__ import dynamic_registration
from workflows import toy
VOCAB_SIZE = 4096
toy.steps.settings = @toy.Settings()
toy.Settings.vocab_size = %VOCAB_SIZE
"""


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a system module `workflows.toy`; it is imported once, as gin never forgets what it has seen."""
    folder = tmp_path_factory.mktemp("code")
    (folder / "toy.py").write_text(TOY)
    return folder


@pytest.fixture
def toy(tmp_path: Path, code: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Puts the module among the workflows; yields the path of its gin file."""
    (tmp_path / "base.gin").write_text(BASE)
    monkeypatch.setattr(workflows, "__path__", [*workflows.__path__, str(code)])
    yield str(tmp_path / "base.gin")
    gin.clear_config()


def configured(path: str, *bindings: str) -> tuple[int, str, int]:
    gin_config.parse([path], bindings, modules=["workflows.toy"])
    from workflows import toy  # pyright: ignore[reportAttributeAccessIssue]

    settings, rounds = gin_config.call(toy.steps)
    return settings.vocab_size, settings.text, rounds


def test_files_and_bindings(toy: str) -> None:
    assert configured(toy) == (4096, "", 1)
    assert configured(toy, "VOCAB_SIZE=512", "toy.steps.rounds = 3") == (512, "", 3)
    assert configured(toy, "toy.Settings.vocab_size=9", "toy.Settings.text='x = %y'") == (9, "x = %y", 1)


def test_later_files_win_and_the_saved_text_is_enough(toy: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine.gin"
    mine.write_text(f"from __gin__ import dynamic_registration\ninclude '{toy}'\nVOCAB_SIZE = 7\n")
    assert configured(str(mine), "toy.steps.rounds=2") == (7, "", 2)
    saved = tmp_path / "config.gin"
    saved.write_text(gin_config.config_text())
    (tmp_path / "base.gin").unlink()
    assert configured(str(saved)) == (7, "", 2)


def test_an_included_file_may_provide_more_than_is_used(toy: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine.gin"
    shared = tmp_path / "shared.gin"
    shared.write_text("ALSO = 1\n")
    mine.write_text(f"from __gin__ import dynamic_registration\ninclude '{toy}'\ninclude '{shared}'\n")
    assert configured(str(mine)) == (4096, "", 1)
    for wrong in (mine.read_text() + "ALSOO = 2\n", mine.read_text() + "ALSO = 2\n"):
        mine.write_text(wrong)
        with pytest.raises(UserError, match="unknown gin macro 'ALSO"):
            configured(str(mine))


def test_an_overridden_macro_may_stay_unused(toy: str, tmp_path: Path) -> None:
    assert configured(toy, "toy.Settings.vocab_size=8") == (8, "", 1)
    saved = tmp_path / "config.gin"
    saved.write_text(gin_config.config_text())
    assert configured(str(saved)) == (8, "", 1)


@pytest.mark.parametrize(
    ("binding", "words"),
    [
        ("VOCAB_SZE=5", "unknown gin macro 'VOCAB_SZE'; did you mean VOCAB_SIZE?"),
        ("NOTHING_LIKE_IT=5", "unknown gin macro 'NOTHING_LIKE_IT'; there are: VOCAB_SIZE"),
        ("toy.Settings.vocab_sise=5", "'toy.Settings.vocab_sise=5': .*vocab_sise'; did you mean vocab_size?"),
        ("toy.Setings.vocab_size=5", "'toy.Setings.vocab_size=5': there is no toy.Setings; did you mean Settings?"),
        ("toi.Settings.vocab_size=5", "'toi.Settings.vocab_size=5': No configurable matching 'toi.Settings'"),
        ("toy.Settings.text=plain", "'toy.Settings.text=plain': the value cannot be read; text needs quotes"),
        ("VOCAB_SIZE", "'VOCAB_SIZE' is not NAME=VALUE"),
        ("VOCAB_SIZE=", "is not NAME=VALUE"),
        ("VOCAB_SIZE=%gin.REQUIRED", "VOCAB_SIZE must be set; add --gin.VOCAB_SIZE=VALUE"),
        ("toy.steps.round=2", "'toy.steps.round=2': .*'round'; did you mean rounds?"),
        ("toy.steps.rounds=%gin.REQUIRED", r"(toy\.)?steps\.rounds must be set"),
        ("toy.steps.rounds=%ROUNDS", "unknown gin macro 'ROUNDS'; .*nothing sets it"),
        ("toy.steps.rounds=13", "^rounds 13 is unlucky; take 12$"),
    ],
)
def test_bad_bindings_are_one_line_that_names_them(toy: str, binding: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        configured(toy, binding)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("toy.Settings.vocab_sise = 5", r"bad\.gin: .*vocab_sise' \(line 3\); did you mean vocab_size"),
        ("other.Settings.x = 5", r"bad\.gin: 'other' was not provided by an import statement \(line 3\)"),
        ("from workflows import nosuch", r"bad\.gin: .*nosuch"),
        ("toy.Settings.text = plain", r"bad\.gin: .*line 3"),
        ("include 'gin/nosuch.gin'", r"bad\.gin: .*nosuch"),
        ("ROUNDS = 5", "unknown gin macro 'ROUNDS'; .*nothing uses it"),
    ],
)
def test_bad_files_are_one_line_that_names_them(toy: str, tmp_path: Path, line: str, words: str) -> None:
    bad = tmp_path / "bad.gin"
    bad.write_text(f"from __gin__ import dynamic_registration\nfrom workflows import toy\n{line}\n")
    with pytest.raises(UserError, match=words) as caught:
        configured(str(bad))
    assert "\n" not in str(caught.value)
    assert configured(toy) == (4096, "", 1), "nothing of the bad file stays"


def test_missing_file() -> None:
    with pytest.raises(UserError, match=r"unknown gin file 'gin/nowhere/x\.gin'"):
        gin_config.parse(["gin/nowhere/x.gin"])


def test_root_is_the_checkout(repository: Path) -> None:
    assert Path(gin_config.gin_root()) == repository


def test_shipped_files_resolve_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "shammie" / "gin" / "toy"
    folder.mkdir(parents=True)
    (folder / "part.gin").write_text("import math\n")
    (folder / "whole.gin").write_text("include 'gin/toy/part.gin'\n")
    monkeypatch.setattr(gin_config, "home", lambda: str(tmp_path))
    monkeypatch.chdir("/")
    gin_config._search_our_files.cache_clear()
    try:
        assert gin_config.gin_files() == ["gin/toy/part.gin", "gin/toy/whole.gin"]
        gin_config.parse(["gin/toy/whole.gin"])
    finally:
        gin_config._search_our_files.cache_clear()
        gin.clear_config()
