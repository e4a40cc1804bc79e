import sys
from pathlib import Path

import pytest

from shammie import packages
from shammie.errors import UserError


def test_ours_are_ours(repository: Path) -> None:
    assert packages.foreign_packages() == {}
    packages.check_packages_are_ours()
    assert Path(packages.home()) == repository
    assert packages.checkout() == str(repository)


def test_a_stranger_in_front_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "seqio_tasks").mkdir()
    (tmp_path / "seqio_tasks/__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "seqio_tasks"]:
        monkeypatch.delitem(sys.modules, name)
    assert packages.foreign_packages() == {"seqio_tasks": str(tmp_path / "seqio_tasks")}
    with pytest.raises(UserError, match="package 'seqio_tasks' leads to"):
        packages.check_packages_are_ours()


def test_another_owner_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    owners = {"models": ["shammie", "tf-models"], "workflows": ["shammie"], "numpy": ["numpy"]}
    monkeypatch.setattr(packages.metadata, "packages_distributions", lambda: owners)
    assert packages.other_owners() == {"models": ["tf-models"]}
    with pytest.raises(UserError, match="package 'models' also belongs to tf-models; pip uninstall tf-models"):
        packages.check_packages_are_ours()
