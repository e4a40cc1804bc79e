"""Configs, identities, kinds by their address."""

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import sweep_kinds

from beam_jobs.sweep.cells import cells_of, identity_of, row_bytes, table_of
from beam_jobs.sweep.kinds import load_kind
from shammie.errors import UserError

KIND: Any = sweep_kinds.SQUARES


def test_an_identity_is_kind_version_and_config() -> None:
    identity = identity_of(KIND, {"x": 1, "y": [1, 2]})
    assert identity == identity_of(KIND, {"y": (1, 2), "x": 1}), "order and tuples are no difference"
    others = [
        identity_of(KIND, {"x": 1.0, "y": [1, 2]}),
        identity_of(sweep_kinds.HUGE, {"x": 1, "y": [1, 2]}),
        identity_of(type("Later", (sweep_kinds.Squares,), {"version": 2})(), {"x": 1, "y": [1, 2]}),
    ]
    assert len({identity, *others}) == 4


def test_where_a_file_lies_is_no_part_of_an_identity() -> None:
    placed: Any = type("Placed", (sweep_kinds.Squares,), {"places": ("file",)})()
    here, there = ({"x": 1, "file": f"{folder}/w", "sha256": "a"} for folder in ("here", "there"))
    assert identity_of(placed, here) == identity_of(placed, there) == identity_of(placed, {"x": 1, "sha256": "a"})
    assert identity_of(placed, {**here, "sha256": "b"}) != identity_of(placed, here)
    assert identity_of(KIND, here) != identity_of(KIND, there)


def test_equal_configs_are_one_cell() -> None:
    found = cells_of(KIND, [{"x": 1, "y": 2}, {"x": 0}, {"y": 2, "x": 1}])
    assert [cell.config for cell in found] == [{"x": 1, "y": 2}, {"x": 0}]


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"x": float("nan")}, "cell 1: x=nan is not plain JSON"),
        ({"a": {"b": [1, float("inf")]}}, "cell 1: a.b[1]=inf is not plain JSON"),
        ({"x": np.int64(3)}, "cell 1: x=np.int64(3) is not plain JSON"),
        ({"x": np.ones(2)}, "cell 1: x=array([1., 1.]) is not plain JSON"),
        ({"a": {1: 2}}, "cell 1: name 1 in a is not plain JSON"),
        ({"x": b"bytes"}, "cell 1: x=b'bytes' is not plain JSON"),
        ([1, 2], "cell 1 is [1, 2], not an object of settings"),
    ],
)
def test_a_config_is_plain_json(config: Any, problem: str) -> None:
    with pytest.raises(UserError, match=re.escape(problem)):
        cells_of(KIND, [{"x": 1}, config])


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("sweep_kinds", "kind 'sweep_kinds' is no address; give module:ATTRIBUTE"),
        ("sweep_kinds:SQARES", "unknown kind 'sweep_kinds:SQARES'; did you mean sweep_kinds:SQUARES"),
        ("sweep_kinds:NUMBER", "sweep_kinds:NUMBER is no kind of cell"),
        ("sweep_kinds:Squares", "sweep_kinds:Squares is no kind of cell"),
        ("sweep_kinds:CLASH", "column 'config' is the engine's own"),
        ("beam_jobs.sweep.cels:X", "unknown kind 'beam_jobs.sweep.cels:X'; did you mean beam_jobs.sweep.cells"),
        ("beam_jobs.swep.cells:X", "did you mean beam_jobs.sweep.cells"),
        ("no_such_package.cells:X", "unknown kind 'no_such_package.cells:X'; there are none"),
    ],
)
def test_an_address_that_leads_nowhere_says_where_it_may_have_meant_to(address: str, problem: str) -> None:
    with pytest.raises(UserError, match=re.escape(problem)):
        load_kind(address)


def test_a_kind_that_needs_what_is_not_there_says_so(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needy_kind.py").write_text("import surely_not_installed\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match="'needy_kind:X' needs 'surely_not_installed', which is not installed"):
        load_kind("needy_kind:X")


def test_a_kind_that_is_there_is_found() -> None:
    assert load_kind("sweep_kinds:SQUARES") is sweep_kinds.SQUARES


def test_rows_must_be_as_many_as_cells() -> None:
    with pytest.raises(ValueError, match="kind squares returned 1 rows for 2 cells"):
        table_of(KIND, cells_of(KIND, [{"x": 0}, {"x": 1}]), [{"y": 0.0, "mates": [], "way": ""}])


def test_array_scalars_and_arrays_are_fine_in_rows() -> None:
    row = {"y": np.float32(0.5), "mates": np.arange(2.0), "way": "loop"}
    found = table_of(KIND, cells_of(KIND, [{"x": 0}]), [row]).to_pylist()[0]
    assert (found["y"], found["mates"]) == (0.5, [0.0, 1.0])


def test_the_size_of_a_row_is_guessed_from_its_columns() -> None:
    (cell,) = cells_of(KIND, [{"x": 0}])
    config = len('{"x":0}') + 64
    assert row_bytes(KIND, cell) == 8 + 32 * 8 + 32 + config
    assert row_bytes(sweep_kinds.HUGE, cell) == 10**16 + config
    schema = pa.schema([("a", pa.list_(pa.float32(), 100)), ("b", pa.bool_()), ("c", pa.int16())])
    fixed: Any = type("Fixed", (sweep_kinds.Squares,), {"schema": schema})()
    assert row_bytes(fixed, cell) == 400 + 1 + 2 + config
