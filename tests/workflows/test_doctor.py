import argparse

import pytest

from workflows import doctor


def test_exit_code_is_that_of_what_is_needed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [doctor.Check("peer", False, False, "not installed", "pip install peer")]
    monkeypatch.setattr(doctor, "examine", lambda: iter(found))
    assert doctor.run(argparse.Namespace()) == 0
    found.append(doctor.Check("cache", False, True, "read-only", "set SHAMMIE_CACHE"))
    assert doctor.run(argparse.Namespace()) == 1
    assert "BROKEN  cache: read-only\n        → set SHAMMIE_CACHE" in capsys.readouterr().out


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
