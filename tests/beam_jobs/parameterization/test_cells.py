"""The cells on the sweep engine."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from beam_jobs.parameterization.cells import OBSERVED, OBSERVED_ADDRESS, TRAINING, TRAINING_ADDRESS, chosen_way
from beam_jobs.sweep.job import read_cells, run_sweep
from beam_jobs.sweep.kinds import load_kind
from beam_jobs.sweep.ways import Ways
from models.parameterization.grid import Training
from models.parameterization.group_training import losses_of
from shammie.errors import UserError
from workflows.parameterization_settings import Look, Sizes, Sweep

SIZES = Sizes(widths=(4, 8), batch=2)
SWEEP = Sweep(sizes=SIZES, log2_learning_rates=(-5, -3), steps=12, warmup_steps=2, variants=("full",))
LOOK = Look(sizes=SIZES, parameterizations=("mup",), variants=("full",), at_steps=(1, 3))


def test_addresses_name_the_kinds() -> None:
    assert load_kind(TRAINING_ADDRESS) is TRAINING
    assert load_kind(OBSERVED_ADDRESS) is OBSERVED


def test_a_width_and_an_optimizer_are_one_group_whatever_else_differs() -> None:
    configs = SWEEP.configs()
    keys = {
        config["width"]: {str(TRAINING.group_key(one)) for one in configs if one["width"] == config["width"]}
        for config in configs
    }
    assert [len(found) for found in keys.values()] == [1, 1]
    assert keys[4] != keys[8]
    size, lanes = TRAINING.group_size(configs[0]), Training.from_json(configs[0]).shape.lanes()
    assert size % lanes == 0
    assert TRAINING.group_size({**configs[0], "width": 4096, "steps": 10_000}) == 4
    assert TRAINING.cost({**configs[0], "width": 64}) > TRAINING.cost(configs[0]) > 0


def test_a_sweep_runs_each_cell_once_and_its_rows_are_the_trainings(tmp_path: Path) -> None:
    configs = SWEEP.configs()
    outcome = run_sweep(str(tmp_path), TRAINING_ADDRESS, configs, what="cells")
    assert (outcome.ran, outcome.failed) == (2 + 4 * 2, 0)
    table = read_cells(str(tmp_path), TRAINING_ADDRESS, configs)
    assert table.schema.names == ["cell", "config", "final_loss", "loss_curve"]
    cell = Training.from_json(configs[-1])
    losses = losses_of([cell], "loop")[0]
    assert table["final_loss"][-1].as_py() == pytest.approx(losses[-1], rel=1e-4)
    np.testing.assert_allclose(table["loss_curve"][-1].as_py(), losses, rtol=1e-4)
    more = Sweep(**{**SWEEP.__dict__, "log2_learning_rates": (-5, -4, -3)}).configs()
    assert run_sweep(str(tmp_path), TRAINING_ADDRESS, more, what="cells").ran == 5


def test_a_training_that_diverges_is_a_result(tmp_path: Path) -> None:
    sweep = Sweep(sizes=SIZES, log2_learning_rates=(126,), steps=12, warmup_steps=2, variants=("full",))
    config = sweep.training("standard", "full", 8, 126, 0)
    assert run_sweep(str(tmp_path), TRAINING_ADDRESS, [config], what="cells").failed == 0
    assert not math.isfinite(read_cells(str(tmp_path), TRAINING_ADDRESS, [config])["final_loss"][0].as_py())


def test_a_text_that_is_not_there_is_a_dead_letter(tmp_path: Path) -> None:
    config = {**SWEEP.configs()[0], "text": "0123"}
    for address, given in ((TRAINING_ADDRESS, config), (OBSERVED_ADDRESS, {**config, "at_steps": [1]})):
        with pytest.raises(UserError, match="1 of 1 cells failed, the first: the grid is over text 0123"):
            run_sweep(str(tmp_path), address, [given], what="cells")


def test_observations_have_a_column_for_everything(tmp_path: Path) -> None:
    configs = LOOK.configs()
    assert run_sweep(str(tmp_path), OBSERVED_ADDRESS, configs, what="cells").failed == 0
    row: dict[str, Any] = read_cells(str(tmp_path), OBSERVED_ADDRESS, configs).to_pylist()[0]
    assert len(row["layers"]) == 4
    assert len(row["losses"]) == 3
    assert len(row["change_rms"]) == len(row["alpha"]) == 2 * 4
    assert len(row["alone_rms"]) == len(row["output_rms"]) == 4
    assert len(row["below"]) % 4 == 0
    stored = sum(value.nbytes for value in read_cells(str(tmp_path), OBSERVED_ADDRESS, configs).columns)
    assert OBSERVED.row_bytes(configs[0]) * len(configs) == pytest.approx(stored, rel=1.0)


class _Fixed(Ways):
    """Times what it is given by a table."""

    def __init__(self, seconds: dict[str, float]) -> None:
        super().__init__()
        self.seconds, self.keys = seconds, []

    def choose(self, key: Any, candidates: Any) -> str:
        self.keys.append(key)
        assert set(candidates) == {"group", "loop"}
        for run in candidates.values():
            assert run() > 0
        return min(self.seconds, key=self.seconds.__getitem__)


@pytest.mark.parametrize("fastest", ["group", "loop"])
def test_the_way_is_what_the_store_chose_for_the_shape(fastest: str) -> None:
    cells = [Training.from_json(config) for config in SWEEP.configs()]
    other = [one for one in cells if one.shape.width == 8]
    ways = _Fixed({"group": 2.0, "loop": 2.0, fastest: 1.0})
    assert chosen_way(other, ways) == fastest
    assert ways.keys[0]["shape"]["width"] == 8
    rows = TRAINING.run([one.to_json() for one in other[:2]], ways)
    pa.Table.from_pylist(rows, TRAINING.schema)
    expected = losses_of(other[:2], fastest)[:, -1:].mean(axis=1, dtype=np.float64)
    assert [row["final_loss"] for row in rows] == expected.tolist()
