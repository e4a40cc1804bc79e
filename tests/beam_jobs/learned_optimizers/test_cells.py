"""The benchmark's trainings as cells."""

import hashlib
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from beam_jobs.learned_optimizers.cells import TRAINING, TRAINING_ADDRESS
from beam_jobs.sweep.cells import identity_of
from beam_jobs.sweep.job import read_cells, run_sweep
from beam_jobs.sweep.ways import Ways
from models.learned_optimizers import theta_files
from models.learned_optimizers.star import StarConfig, star
from models.learned_optimizers.suite import baseline, suite_task
from models.learned_optimizers.suite_training import train
from shammie.errors import UserError
from shammie.xla import IN_ORDER

SHARED = {"task": "quadratic", "steps": 20, "every": 5}


def _adam(rate: float, seed: int) -> dict[str, Any]:
    return {"optimizer": "adam", "learning_rate": rate, "seed": seed, **SHARED}


def _weights(path: Path) -> dict[str, Any]:
    optimizer = star(StarConfig(hidden_size=2))
    theta_files.save(str(path), optimizer, optimizer.init_theta(jax.random.key(3)))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"optimizer": "star", "weights": str(path), "sha256": digest, **SHARED}


def test_cells_of_all_rates_and_seeds_are_one_group_and_have_their_own_curves(tmp_path: Path) -> None:
    configs = [_adam(rate, seed) for rate in (0.01, 0.1) for seed in (0, 1)]
    assert len({str(TRAINING.group_key(config)) for config in configs}) == 1
    outcome = run_sweep(str(tmp_path), TRAINING_ADDRESS, configs, what="cells")
    assert (outcome.done, outcome.failed) == (4, 0)
    rows = read_cells(str(tmp_path), TRAINING_ADDRESS, configs)["losses"].to_pylist()
    rates = np.array([0.01, 0.01, 0.1, 0.1], np.float32)
    plain = train(suite_task("quadratic"), baseline("adam"), [0, 1, 0, 1], rates, steps=20, every=5)
    np.testing.assert_array_equal(np.array(rows, np.float32), plain)


def test_a_learned_optimizer_trains_by_the_weights_that_its_cell_names(tmp_path: Path) -> None:
    config = _weights(tmp_path / "star.theta")
    weights = theta_files.load(config["weights"])
    rows = TRAINING.run([{**config, "seed": seed} for seed in (4, 5)], Ways())
    theta = jax.tree.map(lambda x: np.stack([x, x]), weights.theta)
    plain = train(suite_task("quadratic"), lambda t: weights.optimizer.optax(t, 20), [4, 5], theta, steps=20, every=5)
    np.testing.assert_allclose([row["losses"] for row in rows], plain, rtol=1e-4)


def test_weights_that_changed_or_are_anothers_fail(tmp_path: Path) -> None:
    config = {**_weights(tmp_path / "star.theta"), "seed": 0}
    with pytest.raises(UserError, match="have changed: sha256"):
        TRAINING.run([{**config, "sha256": "0" * 64}], Ways())
    with pytest.raises(UserError, match="has weights of star"):
        TRAINING.run([{**config, "optimizer": "velo"}], Ways())
    with pytest.raises(UserError, match="no learned optimizer's weights at"):
        TRAINING.run([{**config, "weights": str(tmp_path / "none")}], Ways())


def test_a_job_sets_the_flags_without_which_it_may_never_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "")
    run_sweep(str(tmp_path), TRAINING_ADDRESS, [_adam(0.01, 0)], what="cells")
    assert os.environ["XLA_FLAGS"].split() == list(IN_ORDER)


def test_moved_weights_are_the_same_cell(tmp_path: Path) -> None:
    config = {**_weights(tmp_path / "star.theta"), "seed": 0}
    moved = {**config, "weights": str(tmp_path / "moved.theta")}
    assert identity_of(TRAINING, config) == identity_of(TRAINING, moved)
    assert identity_of(TRAINING, config) != identity_of(TRAINING, {**config, "sha256": "0" * 64})


def test_a_training_that_diverges_is_a_result(tmp_path: Path) -> None:
    config = {"optimizer": "momentum", "learning_rate": 1e4, "seed": 0, "task": "quadratic", "steps": 100, "every": 5}
    outcome = run_sweep(str(tmp_path), TRAINING_ADDRESS, [config], what="cells")
    assert outcome.failed == 0
    assert not np.isfinite(read_cells(str(tmp_path), TRAINING_ADDRESS, [config])["losses"].to_pylist()[0][-1])
