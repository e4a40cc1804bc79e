"""Baseline curves in the reference's JSON format."""

import json
from pathlib import Path

import numpy as np
import pytest

from models.learned_optimizers.baseline_files import baseline_of, from_bytes, read_baselines, to_bytes
from models.learned_optimizers.speedup import speedup
from shammie.errors import UserError

# as the reference writes it: a line a task, [steps, losses]
SAMPLE = '{\n"Conv_Cifar10_32x64x64":[[0.0, 50.0, 100.0], [2.5, 1.5, 1.0]],\n"VIT_Cifar100":[[0.0, 9.0], [4.0, 2.0]]\n}'


def test_a_file_of_the_reference_is_read_and_scores(tmp_path: Path) -> None:
    path = tmp_path / "speedup.json"
    path.write_text(SAMPLE)
    found = read_baselines(str(path))
    assert sorted(found) == ["Conv_Cifar10_32x64x64", "VIT_Cifar100"]
    curve = baseline_of(found, "Conv_Cifar10_32x64x64")
    np.testing.assert_array_equal(curve.steps_P, [0.0, 50.0, 100.0])
    assert speedup(curve, 1.25, 25) == 3.0


def test_what_is_written_is_read_again_and_equal_curves_give_equal_bytes() -> None:
    found = from_bytes(SAMPLE.encode())
    data = to_bytes(dict(reversed(found.items())))
    assert data == to_bytes(found)
    assert json.loads(data) == json.loads(SAMPLE)


def test_a_raw_curve_that_rises_becomes_what_was_reached() -> None:
    found = from_bytes(b'{"t": [[0, 1, 2], [3, 1, 2]]}')["t"]
    np.testing.assert_array_equal(found.losses_P, [3, 1, 1])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nonsense", "is no JSON"),
        ("[]", "holds no tasks"),
        ("{}", "holds no tasks"),
        ('{"t": 3}', "t in the file is no pair"),
        ('{"t": [[1, 2], [1, 2], [1, 2]]}', "t in the file is no pair"),
        ('{"t": [["a"], [1]]}', "t in the file is no pair"),
        ('{"t": [[1, 2], [1]]}', r"\(2,\) steps and \(1,\) losses"),
        ('{"t": [[2, 1], [1, 1]]}', "steps that do not rise"),
        ('{"t": [[1, 2], [1, NaN]]}', "not finite"),
    ],
)
def test_other_files_are_refused_with_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        from_bytes(text.encode())


def test_a_missing_file_or_task_is_named() -> None:
    with pytest.raises(UserError, match=r"no baselines at /nowhere\.json"):
        read_baselines("/nowhere.json")
    with pytest.raises(UserError, match="did you mean VIT_Cifar100"):
        baseline_of(from_bytes(SAMPLE.encode()), "VIT_Cifar10")
