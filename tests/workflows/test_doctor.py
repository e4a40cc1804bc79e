import argparse

import pytest

from beam_jobs import sandbox
from beam_jobs.sandbox import LAYERS, Layer
from shammie.errors import UserError
from workflows import doctor, t5x_contract, t5x_smoke


def test_exit_code_is_that_of_what_is_needed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [doctor.Check("peer", False, False, "not installed", "pip install peer")]
    monkeypatch.setattr(doctor, "examine", lambda: iter(found))
    assert doctor.run(argparse.Namespace()) == 0
    found.append(doctor.Check("cache", False, True, "read-only", "set SHAMMIE_CACHE"))
    assert doctor.run(argparse.Namespace()) == 1
    assert "BROKEN  cache: read-only\n        → set SHAMMIE_CACHE" in capsys.readouterr().out


@pytest.fixture
def no_smoke(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(t5x_smoke, "smoke", lambda: "2 steps")


@pytest.mark.usefixtures("no_smoke")
def test_t5x_is_told_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(t5x_contract, "missing", lambda: ["airio", "cached_property"])
    monkeypatch.setattr(t5x_contract, "commit_of", lambda name: {"t5x": "f" * 40}.get(name))
    found = {check.name: check for check in doctor._t5x()}
    assert found["t5x"].found == "commit ffffffffffff, tested with cc342d419ec3"
    assert found["jestimator"].found == "of an unknown commit, tested with 326824a477fe"
    assert [name for name, check in found.items() if not check.well] == ["airio", "cached-property"]
    assert found["airio"].cure.endswith("pip install --no-deps -r requirements-t5x.txt")
    assert "t5x.train" not in found
    monkeypatch.setattr(t5x_contract, "missing", lambda: [])
    assert {check.name: check for check in doctor._t5x()}["t5x.train"].found == "2 steps"


@pytest.mark.usefixtures("no_smoke")
def test_each_look_reports_instead_of_raising(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ValueError("two\nlines")

    assert doctor._tried("x", broken, "fine", "cure") == doctor.Check("x", False, True, "ValueError: two lines", "cure")
    names = [check.name for check in doctor.examine()]
    assert {"python", "packages", "gin library", "gin files", "cache", "disk", "default codec", "tiktoken"} <= set(
        names
    )
    here = {check.name: check.well for check in doctor.examine()}
    assert all(here[name] for name in ("python", "packages", "gin library", "cache", "jax"))


def test_each_layer_of_the_sandbox_has_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [check.name for check in doctor._sandbox()] == [f"sandbox {name}" for name in LAYERS]
    states = [
        Layer("net", "works", "no network"),
        Layer("uts", "waived", "refused"),
        Layer("pid", "missing", "refused"),
    ]
    monkeypatch.setattr(sandbox, "layers", lambda: states)
    found = [(check.well, check.needed, check.found) for check in doctor._sandbox()]
    assert found == [
        (True, False, "works: no network"),
        (True, False, "waived: refused"),
        (False, False, "missing: refused"),
    ]
    assert list(doctor._sandbox())[2].cure.endswith("SHAMMIE_SANDBOX_WAIVE=pid")

    def broken() -> list[Layer]:
        raise UserError("the sandbox does not start", "get Linux")

    monkeypatch.setattr(sandbox, "layers", broken)
    assert [(c.name, c.well, c.found) for c in doctor._sandbox()] == [
        ("sandbox", False, "the sandbox does not start; get Linux")
    ]
