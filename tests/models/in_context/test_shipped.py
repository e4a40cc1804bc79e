"""The learner that ships: it is there, its limits are those it says, and it learns."""

import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from models.in_context import shipped
from models.in_context.shipped import Limits, shipped_learner, shipped_limits
from models.in_context.tabular import classify, most_examples
from shammie.errors import UserError


def test_it_is_there_with_the_limits_that_help_tells() -> None:
    trained = shipped_learner()
    assert shipped_limits() == (trained.config.features, trained.config.classes, most_examples(trained.config))
    assert json.loads(json.dumps(trained.made_with)) == trained.made_with
    assert trained.made_with, "its gin, seed and scores are told"


def test_it_tells_clouds_apart_that_it_has_never_seen() -> None:
    """Three Gaussian clouds five deviations apart; chance is a third."""
    random = np.random.default_rng(0)
    labels_M = np.arange(90) % 3
    x_MF = random.standard_normal((90, 6)) + 5 * np.eye(3, 6)[labels_M]
    found = classify(shipped_learner(), x_MF[:60], labels_M[:60], x_MF[60:])
    assert (found.argmax(axis=1) == labels_M[60:]).mean() >= 0.95


def test_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "FOLDER", "nowhere")
    for look in (shipped_learner, shipped_limits):
        with pytest.raises(UserError, match=r"no nowhere/learner\.bin, the learner that ships; install .* or give"):
            look()


@pytest.mark.parametrize("data", [b"", b"\x00", b"[]\n", b'{"config": {}}\n', b'{"config": {"features": "x"}}'])
def test_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/learner.bin").write_bytes(data)
    monkeypatch.setattr(resources, "files", lambda _: tmp_path)
    with pytest.raises(UserError, match=r"learner\.bin of this package is damaged; install shammie again"):
        shipped_limits()
    with pytest.raises(UserError, match=r"learner\.bin is not a meta-trained learner"):
        shipped_learner()


def test_limits_leave_a_position_for_the_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights").mkdir()
    line = b'{"config": {"features": 5, "classes": 3, "examples": 9}}\n\xff'
    (tmp_path / "weights/learner.bin").write_bytes(line)
    monkeypatch.setattr(resources, "files", lambda _: tmp_path)
    assert shipped_limits() == Limits(5, 3, 8)
