"""What is looked at before T5X begins."""

import sys
from pathlib import Path
from typing import Any

import gin
import pytest

from models.lm import LMConfig
from shammie.errors import UserError
from workflows import t5x_checks

MODEL = LMConfig(vocab_size=128, heads=4, mlp_width=64)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"num_partitions": 3},
            r"^NUM_PARTITIONS: 3 does not divide 8 devices; choose a divisor: --gin",
        ),
        ({"num_partitions": 8}, r"^model.heads=4 is no multiple of the 8 devices that share a matrix; make it 8, or"),
        ({"submesh": (3, 1, 1, 1)}, r"^SUBMESH: 3 does not divide 8 devices; choose a divisor: --gin.SUBMESH"),
        (
            {"num_partitions": 4, "submesh": (2, 2, 1, 1)},
            r"^NUM_PARTITIONS=4 has no effect beside SUBMESH=\(2",
        ),
        ({"num_partitions": 3, "fixed": 8}, r"^NUM_PARTITIONS=3: on processors T5X shares matrices over all 8 devices"),
        ({"num_partitions": 1, "fixed": 8}, r"^model.heads=4 is no multiple of the 8 devices"),
    ],
)
def test_partitions_that_do_not_divide_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        t5x_checks.check_partitions(MODEL, **{"num_partitions": None, "submesh": None, "devices": 8, **settings})


def test_partitions_that_divide_are_taken() -> None:
    for settings in ({"num_partitions": 4}, {"submesh": (2, 2, 1, 1)}, {"submesh": (1, 2, 1, 1), "fixed": 8}):
        t5x_checks.check_partitions(MODEL, **{"num_partitions": None, "submesh": None, "devices": 8, **settings})


def test_rows_go_on_behind_the_newest_whole_checkpoint(tmp_path: Path) -> None:
    for name in ("checkpoint_20/state", "checkpoint_3/state", "checkpoint_40.orbax-checkpoint-tmp-1/state", "train"):
        (tmp_path / name).mkdir(parents=True)
    assert t5x_checks.latest_step(str(tmp_path)) == 20
    assert t5x_checks.latest_step(f"{tmp_path}/checkpoint_3") == 3
    assert t5x_checks.latest_step(f"{tmp_path}/train") is None
    assert t5x_checks.latest_step(f"{tmp_path}/nowhere") is None


def test_a_macro_that_nothing_uses_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    gin.clear_config()
    try:
        gin.parse_config("STEPS = 3\nBATCHES = 2\nmacro.value = %STEPS")
        monkeypatch.setattr(sys, "argv", ["t5x.train", "--gin_file=x", "--gin.STEPS=3"])
        t5x_checks.refuse_unused_macros()
        monkeypatch.setattr(sys, "argv", ["t5x.train", "--gin.STEPS=3", "--gin.STEPZ=4"])
        with pytest.raises(UserError, match=r"unknown gin macro 'STEPZ'; did you mean STEPS\?"):
            t5x_checks.refuse_unused_macros()
    finally:
        gin.clear_config()
