"""The cells on the sweep engine."""

from pathlib import Path

import numpy as np
import pytest

from beam_jobs.evolution.cells import LEARNING, LEARNING_ADDRESS, MOMENTS, MOMENTS_ADDRESS
from beam_jobs.sweep.job import read_cells, run_sweep
from beam_jobs.sweep.kinds import load_kind
from models.evolution.learning import Learning, learn
from models.evolution.moments import Moments

RUN = Learning(
    "quadratic", {"horizon": 10}, particles=2, window=5, sigma=0.1, learning_rate=0.1, iterations=4, points=2, pairs=4
)


def test_addresses_name_the_kinds() -> None:
    assert load_kind(LEARNING_ADDRESS) is LEARNING
    assert load_kind(MOMENTS_ADDRESS) is MOMENTS


def test_seeds_are_one_group_and_longer_runs_cost_more() -> None:
    config = RUN.to_json()
    assert LEARNING.group_key({**config, "seed": 7}) == LEARNING.group_key(config)
    assert LEARNING.group_key({**config, "window": 1}) != LEARNING.group_key(config)
    assert LEARNING.cost({**config, "iterations": 10**6}) > LEARNING.cost(config) > 0
    assert LEARNING.cost({**config, "problem": "optimizer", "options": {}}) > LEARNING.cost(config)
    assert LEARNING.row_bytes(config) > 8 * 5 * 3
    moments = Moments(episodes=10).to_json()
    assert MOMENTS.group_key({**moments, "seed": 7}) == MOMENTS.group_key(moments)
    assert MOMENTS.cost({**moments, "episodes": 10**7}) > MOMENTS.cost(moments) > 0


def test_a_sweep_makes_each_run_once_and_rows_are_the_runs(tmp_path: Path) -> None:
    configs = [{**RUN.to_json(), "seed": seed} for seed in (1, 2)]
    outcome = run_sweep(str(tmp_path), LEARNING_ADDRESS, [*configs, configs[0]], what="cells")
    assert (outcome.ran, outcome.failed) == (2, 0)
    rows = read_cells(str(tmp_path), LEARNING_ADDRESS, configs).to_pylist()
    for config, row in zip(configs, rows, strict=True):
        seen = learn(Learning.from_json(config))
        assert row["loss"] == pytest.approx(seen.loss.tolist())
        assert row["environment_steps"] == [40, 80, 120]  # burn-in of 2 pairs over 10 steps, then 2 updates of 5
        assert row["theta"] == seen.theta.tolist()
    assert rows[0]["loss"][0] == rows[1]["loss"][0]
    assert rows[0]["loss"][1] != rows[1]["loss"][1]
    again = run_sweep(str(tmp_path), LEARNING_ADDRESS, configs, what="cells")
    assert again.ran == 0


def test_a_run_that_diverges_is_a_result(tmp_path: Path) -> None:
    config = {**RUN.to_json(), "learning_rate": 1e30}
    assert run_sweep(str(tmp_path), LEARNING_ADDRESS, [config], what="cells").failed == 0
    (row,) = read_cells(str(tmp_path), LEARNING_ADDRESS, [config]).to_pylist()
    assert np.isfinite(row["loss"][0])
    assert not np.isfinite(row["loss"][-1])
