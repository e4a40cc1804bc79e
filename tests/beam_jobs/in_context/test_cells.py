"""The cells on the sweep engine."""

import functools
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pyarrow as pa
import pytest
from jax.core import Tracer

from beam_jobs.in_context import cells
from beam_jobs.in_context.cells import (
    BASELINE,
    BASELINE_ADDRESS,
    META_TRAINING,
    META_TRAINING_ADDRESS,
    Judged,
    baseline_config,
    meta_training_config,
)
from beam_jobs.sweep.job import read_cells, run_sweep
from beam_jobs.sweep.kinds import load_kind
from beam_jobs.sweep.ways import Ways
from models.in_context.baselines import ridge
from models.in_context.contexts import contexts_of
from models.in_context.judging import Evaluation
from models.in_context.learner import parameter_count, state_size
from models.in_context.learner_config import LearnerConfig
from models.in_context.meta_training import MetaTraining, meta_train, program_of
from models.in_context.tasks import Mixture, TaskDistribution, unseen_rows
from models.training import OptimizerConfig
from seqio_tasks.base_sets import bank_for, digest_of
from shammie.errors import UserError

N, F = 5, 16
TRAINING = MetaTraining(
    LearnerConfig(features=F, examples=N, width=8, layers=1, heads=1, head_width=4, mlp_width=8),
    Mixture([TaskDistribution(), TaskDistribution(data="random", repeat=True)]),
    OptimizerConfig(warmup_steps=2),
    batch=4,
    steps=6,
    points=2,
    evaluations=[Evaluation("unseen"), Evaluation("random", TaskDistribution(data="random", repeat=True))],
    contexts=8,
)
CONFIG = meta_training_config(TRAINING)
JUDGED = Judged("ridge", Evaluation("unseen"), features=F, examples=12, contexts=100)


def test_addresses_name_the_kinds() -> None:
    assert load_kind(META_TRAINING_ADDRESS) is META_TRAINING
    assert load_kind(BASELINE_ADDRESS) is BASELINE


def test_a_config_names_each_data_set_that_is_read() -> None:
    expected = [("digits", "test"), ("digits", "train"), ("random", "test"), ("random", "train")]
    assert CONFIG["data"] == {f"{name} {split}": digest_of(name, split, F) for name, split in expected}
    assert baseline_config(JUDGED)["data"] == {"digits test": digest_of("digits", "test", F)}


def test_groups_and_costs() -> None:
    kind: Any = META_TRAINING
    same = [
        replace(TRAINING, seed=7),
        replace(TRAINING, optimizer=replace(TRAINING.optimizer, learning_rate=0.1)),
        replace(TRAINING, mixture=Mixture([TaskDistribution(tasks=4), TRAINING.mixture.distributions[1]])),
    ]
    for one in same:
        assert kind.group_key(meta_training_config(one)) == kind.group_key(CONFIG)
    others = [replace(TRAINING, batch=8), replace(TRAINING, learner=replace(TRAINING.learner, width=16))]
    for one in others:
        assert kind.group_key(meta_training_config(one)) != kind.group_key(CONFIG)
    assert kind.group_key({**CONFIG, "data": {"digits train": "other"}}) != kind.group_key(CONFIG)
    assert kind.cost({**CONFIG, "steps": 6 * 10**6}) > 1000 * kind.cost(CONFIG) / 2 > 0
    assert kind.cost({**CONFIG, "learner": {**CONFIG["learner"], "kind": "lstm"}, "steps": 1000}) > kind.cost(
        {**CONFIG, "steps": 1000}
    )
    assert kind.row_bytes(CONFIG) >= 4 * (2 + 2 * 2 * 2 * N)
    assert BASELINE.cost(baseline_config(replace(JUDGED, contexts=10**5))) > BASELINE.cost(baseline_config(JUDGED)) > 0


def test_a_sweep_makes_each_training_once_and_rows_are_the_trainings(tmp_path: Path) -> None:
    trainings = [TRAINING, replace(TRAINING, seed=3, optimizer=replace(TRAINING.optimizer, learning_rate=0.05))]
    configs = [meta_training_config(one) for one in trainings]
    outcome = run_sweep(str(tmp_path), META_TRAINING_ADDRESS, [*configs, configs[0]], what="cells")
    assert (outcome.ran, outcome.failed) == (2, 0)
    rows = read_cells(str(tmp_path), META_TRAINING_ADDRESS, configs).to_pylist()
    train, test = (bank_for([("digits", split), ("random", split)], F) for split in ("train", "test"))
    program = program_of(TRAINING, train, test)
    for training, row in zip(trainings, rows, strict=True):
        own = meta_train(training, program)
        assert row["losses"] == pytest.approx(own.losses_P.tolist(), rel=1e-4)
        assert row["accuracy"] == pytest.approx(own.accuracy_EPN.ravel().tolist(), abs=0.126)
        assert row["nats"] == pytest.approx(own.nats_EPN.ravel().tolist(), rel=1e-3)
        assert len(row["nats"]) == 2 * 2 * N
        assert row["state_size"] == state_size(training.learner) == 2 * 4 * N + F
        assert row["parameters"] == parameter_count(training.learner)
    assert rows[0]["losses"] != rows[1]["losses"]
    assert run_sweep(str(tmp_path), META_TRAINING_ADDRESS, configs, what="cells").ran == 0


def test_data_that_changed_is_refused() -> None:
    for kind, config in ((META_TRAINING, CONFIG), (BASELINE, baseline_config(JUDGED))):
        changed = {**config, "data": {**config["data"], "digits test": "0" * 64}}
        with pytest.raises(UserError, match="digits test is not the one"):
            kind.run([config, changed], Ways())


def test_a_baseline_is_judged_on_the_learners_contexts() -> None:
    (row,) = BASELINE.run([baseline_config(JUDGED)], Ways())
    make = jax.jit(functools.partial(contexts_of, Mixture(), examples=12, classes=10))
    contexts = make(bank_for([("digits", "test")], F), unseen_rows(JUDGED.contexts))
    guess_BN = np.argmax(ridge(contexts.x_BNF, contexts.labels_BN, 10, range(12)), axis=-1)
    expected_N = (guess_BN == np.asarray(contexts.labels_BN)).mean(axis=0)
    assert row["accuracy"].dtype == np.float32
    np.testing.assert_allclose(row["accuracy"][1:], expected_N[1:], atol=0.011)
    assert row["accuracy"][0] == pytest.approx(0.1)  # nothing is told yet
    assert row["accuracy"][-1] > 0.3


def test_a_baselines_data_set_is_no_constant_of_its_program(monkeypatch: pytest.MonkeyPatch) -> None:
    banks = []

    def told(mixture: Any, bank: Any, *rest: Any, **sizes: Any) -> Any:
        banks.append(bank)
        return contexts_of(mixture, bank, *rest, **sizes)

    monkeypatch.setattr(cells, "contexts_of", told)
    BASELINE.run([baseline_config(replace(JUDGED, contexts=2))], Ways())
    assert banks
    assert all(isinstance(bank.x_MF, Tracer) for bank in banks)


def test_an_unknown_baseline_is_named() -> None:
    with pytest.raises(UserError, match="ridgee"):
        replace(JUDGED, baseline="ridgee")


@pytest.mark.parametrize(
    ("kind", "address", "configs"),
    [
        (META_TRAINING, META_TRAINING_ADDRESS, [{**CONFIG, "batch": size} for size in (4, 5, 6)]),
        (BASELINE, BASELINE_ADDRESS, [baseline_config(replace(JUDGED, contexts=size)) for size in (1, 2, 3)]),
    ],
    ids=["meta-trainings", "baselines"],
)
def test_a_process_runs_one_program_at_a_time(
    kind: Any, address: str, configs: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two at a time can hang for good."""
    lock, met = threading.Lock(), []

    def run(configs: Any, ways: Ways) -> list[dict[str, Any]]:
        met.append(not lock.acquire(blocking=False))
        time.sleep(0.2)
        if not met[-1]:
            lock.release()
        row = {one.name: 0 if pa.types.is_integer(one.type) else [] for one in kind.schema}
        return [row for _ in configs]

    monkeypatch.setattr(kind, "run", run)
    run_sweep(str(tmp_path), address, configs, what="cells")
    assert met == [False, False, False]
