"""The trainer trains what is no language model: rows made by a formula, arrays that every step reads, own measures."""

import json
import socket
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import optax
import pytest
import regression_job as regression

from models.training import OptimizerConfig, optimizer_of
from shammie.errors import UserError
from workflows.train import NotFinite, RunConfig, TrainConfig, loop, rows_by_formula, train_job
from workflows.train.compute import compute_of
from workflows.train.export import trained_state
from workflows.train.mesh import axes_of, make_mesh
from workflows.train.run_config import check_devices

SPEEDS = ("steps_per_s", "examples_per_s")
RUN = """
import sys, jax, numpy as np
sys.path.insert(0, {tests!r})
import regression_job as regression
from workflows.train import train_job
from workflows.train.__main__ import join_processes
join_processes({address!r}, {count!r}, {index!r})
for name, settings in {runs!r}.items():
    config = regression.config_of(eval_every=4, eval_batches=2, checkpoint_every=8, **settings)
    result = train_job(regression.job_of(config), {out!r} + "/" + name)
    again = train_job(regression.job_of(config), {out!r} + "/" + name)  # from the checkpoint
    kernel, same = result.state.params["kernel"], again.state.params["kernel"]
    assert kernel.sharding == same.sharding
    parts = [np.asarray(one.data) for one in kernel.addressable_shards]
    assert [x.tobytes() for x in parts] == [np.asarray(one.data).tobytes() for one in same.addressable_shards]
    assert parts[0].shape == (4, 2 // settings.get("mesh_model", 1)), parts[0].shape
    whole = np.concatenate(parts, axis=1) if settings.get("mesh_model") else parts[0]
    if jax.process_index() == 0:
        np.save({out!r} + "/" + name + ".npy", whole)
"""


def without_speeds(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in SPEEDS} for row in rows]


def x_of(seed: int, number: int) -> np.ndarray:
    return np.asarray(jax.random.normal(jax.random.fold_in(jax.random.key(seed), number), (4,)), np.float64)


def by_hand(config: regression.RegressionConfig) -> tuple[np.ndarray, list[float], list[float]]:
    """The map, and each step's loss and worst error: gradients by the closed form, in float64."""
    optimizer = optimizer_of(config.optimizer, config.steps)
    variables: Any = regression.Linear(2).init(jax.random.key(config.seed), np.zeros((1, 4), np.float32))
    params = {"kernel": np.asarray(variables["params"]["kernel"], np.float64)}
    state: Any = optimizer.init(params)
    losses, worst = [], []
    for step in range(config.steps):
        x = np.stack([x_of(config.seed, step * config.batch_size + n) for n in range(config.batch_size)])
        error = x @ (params["kernel"] - regression.TRUTH)
        losses.append(np.square(error).sum(1).mean())
        worst.append(np.square(error).sum(1).max())
        gradient = {"kernel": 2 * x.T @ error / config.batch_size}
        updates, state = optimizer.update(gradient, state, params)
        params = jax.tree.map(np.asarray, optax.apply_updates(params, updates))
    return params["kernel"], losses, worst


def test_rows_hold_what_the_steps_by_hand_give(tmp_path: Path) -> None:
    config = regression.config_of(seed=3, eval_every=6, eval_batches=3)
    result = train_job(regression.job_of(config, flops_per_unit=100.0), str(tmp_path))
    kernel, losses, worst = by_hand(config)
    np.testing.assert_allclose(np.asarray(result.state.params["kernel"]), kernel, rtol=1e-4, atol=1e-6)
    assert [row["step"] for row in result.rows] == [4, 6, 8, 12]
    assert result.rows == [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    before = 0
    for row in result.rows:
        assert row["loss"] == pytest.approx(np.mean(losses[before : row["step"]]), rel=1e-4)
        assert row["worst"] == pytest.approx(np.mean(worst[before : row["step"]]), rel=1e-4)
        assert row["examples"] == 4 * row["step"]
        assert row["flops"] == 400.0 * row["step"]
        assert row["examples_per_s"] == pytest.approx(4 * row["steps_per_s"])
        assert not row.keys() & {"tokens", "tokens_per_s", "accuracy"}
        before = row["step"]
    seen = [tuple(name for name in row if name.startswith("validation")) for row in result.rows]
    assert seen == [(), ("validation_loss", "validation_worst"), (), ("validation_loss", "validation_worst")]
    x = np.stack([x_of(1000, n) for n in range(12)])
    squared = np.square(x @ (kernel - regression.TRUTH)).sum(1)
    assert result.rows[-1]["validation_loss"] == pytest.approx(squared.mean(), rel=1e-4)
    assert result.rows[-1]["validation_worst"] == pytest.approx(squared.reshape(3, 4).max(1).mean(), rel=1e-4)
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize(("per_call", "stop_at"), [(1, 6), (3, 6)])
def test_stopped_and_resumed_is_unbroken(
    kit: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, per_call: int, stop_at: int
) -> None:
    settings = {"log_every": 9, "steps": 16, "eval_every": 9, "steps_per_call": per_call}
    job = regression.job_of(regression.config_of(**settings))
    asked = iter(range(1, 100))
    with monkeypatch.context() as patch:
        patch.setattr(loop, "any_asked", lambda *_, **__: next(asked) * per_call == stop_at)
        with pytest.raises(KeyboardInterrupt):
            train_job(job, str(tmp_path / "broken"))
    assert [path.name for path in (tmp_path / "broken" / "checkpoints").iterdir()] == [str(stop_at)]
    resumed, unbroken = train_job(job, str(tmp_path / "broken")), train_job(job, str(tmp_path / "unbroken"))
    kit.assert_same_bytes(resumed.state, unbroken.state)
    assert without_speeds(resumed.rows) == without_speeds(unbroken.rows)
    state = trained_state(job.objective, job.config, run=str(tmp_path / "broken"), resident=job.resident)
    kit.assert_same_bytes(state, unbroken.state)


def test_a_run_is_told_by_its_config_and_hashes(tmp_path: Path) -> None:
    config, out = regression.config_of(note="one"), str(tmp_path)
    train_job(regression.job_of(config), out)
    assert config.identity(truth_sha256="abc", empty="")["truth_sha256"] == "abc"
    assert not config.identity(empty="").keys() & {"empty", "measure_every", "eval_every"}
    with pytest.raises(UserError, match=r"holds a run with truth_sha256='abc', not 'def'; choose another --out"):
        train_job(regression.job_of(config, hashes={"truth_sha256": "def"}), out)
    with pytest.raises(UserError, match=r"holds a run with note='one', not 'two'"):
        train_job(regression.job_of(replace(config, note="two")), out)
    train_job(regression.job_of(replace(config, measure_every=4)), out)


def test_runs_share_what_is_compiled_but_not_what_they_read(tmp_path: Path) -> None:
    config, mesh = regression.config_of(), make_mesh(1, 1)
    first = compute_of(regression.Regression(), config, mesh, {"truth": regression.TRUTH})
    other = replace(config, seed=5, log_every=2, keep=1)
    assert compute_of(regression.Regression(), other, mesh, {"truth": np.zeros((4, 2))}) is first
    assert compute_of(regression.Regression(), other, mesh, {"truth": np.zeros((4, 2), np.int32)}) is not first
    found = [
        train_job(regression.job_of(config, truth), str(tmp_path / str(n))).rows[0]["loss"]
        for n, truth in enumerate((regression.TRUTH, 10 * regression.TRUTH))
    ]
    assert found[1] > 10 * found[0]


def test_an_evaluation_of_its_own_and_measurements(tmp_path: Path) -> None:
    config = regression.config_of(eval_every=6, measure_every=3, log_every=12)
    told: list[Any] = []
    size = lambda weights: told.append(jax.device_get(weights)) or {"size": float(weights["kernel"].size)}  # noqa: E731
    job = regression.job_of(config, evaluate=size, validation=())
    result = train_job(job, str(tmp_path / "own"))
    assert [(row["step"], row.get("size"), "moved" in row) for row in result.rows] == [
        (3, None, True), (6, 8.0, True), (9, None, True), (12, 8.0, True),
    ]  # fmt: skip
    first: Any = regression.Linear(2).init(jax.random.key(0), np.zeros((1, 4), np.float32))
    for row, weights in zip(result.rows[1::2], told, strict=True):
        moved = np.asarray(weights["kernel"]) - np.asarray(first["params"]["kernel"])
        assert row["moved"] == pytest.approx(float(np.linalg.norm(moved)), rel=1e-5)
        assert row["input"] == pytest.approx(sum(x_of(0, n).sum() for n in range(4)), rel=1e-5)
        assert "none" not in row
    given = train_job(job, str(tmp_path / "given"), evaluate=lambda weights: {"given": 1.0})
    assert given.rows[-1]["given"] == 1.0
    assert "size" not in given.rows[-1]
    some = regression.config_of(eval_every=12, eval_batches=1)
    result = train_job(regression.job_of(some, validated=("worst",)), str(tmp_path / "some"))
    assert [name for name in result.rows[-1] if "validation" in name] == ["validation_worst"]
    with pytest.raises(UserError, match=r"eval_every=6, but this run has nothing to evaluate on; set eval_every=0"):
        train_job(regression.job_of(config, validation=()), str(tmp_path / "nothing"))


def test_a_run_may_begin_with_weights(tmp_path: Path) -> None:
    steady = OptimizerConfig("sgd", learning_rate=1e-30, min_learning_rate=0.0, factors="constant")
    given = np.arange(8.0).reshape(4, 2)
    job = regression.job_of(
        regression.config_of(optimizer=steady, measure_every=12),
        start=lambda shapes: jax.tree.map(lambda shape: given.reshape(shape.shape), shapes),
    )
    result = train_job(job, str(tmp_path))
    np.testing.assert_allclose(np.asarray(result.state.params["kernel"]), given, atol=1e-25)
    assert result.rows[-1]["moved"] < 1e-25


def test_a_loss_that_is_not_finite_names_its_step(tmp_path: Path) -> None:
    class Breaking(regression.Regression):
        def batch_of(self, rows: Any, resident: Any) -> dict[str, jax.Array]:
            batch = super().batch_of(rows, resident)
            bad = (rows[:, 1] >= 20).any()  # from step 6 on
            return {**batch, "y": jax.numpy.where(bad, jax.numpy.nan, batch["y"])}

    job = regression.job_of(regression.config_of(checkpoint_every=4), objective=Breaking())
    with pytest.raises(NotFinite, match=rf"not finite at step 6 \(checkpoint 4 in {tmp_path} is the last good one\)"):
        train_job(job, str(tmp_path))


def test_microbatches_are_the_whole_batch(tmp_path: Path) -> None:
    whole, parts = (
        train_job(regression.job_of(regression.config_of(microbatches=n)), str(tmp_path / str(n))) for n in (1, 2)
    )
    for a, b in zip(whole.rows, parts.rows, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-5)
        assert b["gradient_norm"] == pytest.approx(a["gradient_norm"], rel=1e-4)
        assert b["worst"] < a["worst"]  # the mean of two halves' worst: they were computed one by one


def test_rows_may_be_trees_and_parameters_without_names(tmp_path: Path) -> None:
    class Named(regression.Regression):
        @property
        def row(self) -> Any:
            scalar = jax.ShapeDtypeStruct((), np.int32)
            return {"image": jax.ShapeDtypeStruct((4,), np.float32), "label": scalar}

        def init(self, key: jax.Array) -> Any:
            return {"params": super().init(key)["params"]}

        def batch_of(self, rows: Any, resident: Any) -> dict[str, jax.Array]:
            y = rows["image"] @ resident["truth"]
            return {"x": rows["image"], "y": y + rows["label"][:, None]}

    def rows(first: int, count: int) -> dict[str, np.ndarray]:
        x = np.stack([x_of(0, n) for n in range(first, first + count)]).astype(np.float32)
        return {"image": x, "label": np.zeros(count, np.int32)}

    config = regression.config_of(steps_per_call=2)
    found = train_job(
        regression.job_of(config, objective=Named(), load=rows_by_formula(rows, 4)), str(tmp_path / "tree")
    )
    same = train_job(regression.job_of(config), str(tmp_path / "same"))
    for a, b in zip(found.rows, same.rows, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
    shapes: Any = jax.eval_shape(lambda: Named().init(jax.random.key(0)))
    assert axes_of(shapes) == {"kernel": (None, None)}
    assert axes_of(jax.eval_shape(lambda: regression.Regression().init(jax.random.key(0)))) == {
        "kernel": ("embed", "mlp")
    }


def test_rows_by_formula_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    load = rows_by_formula(lambda first, count: regression.rows_of(7, first, count), 4)
    np.testing.assert_array_equal(load(5, 1), regression.rows_of(7, 20, 4))
    np.testing.assert_array_equal(load(5, 3), regression.rows_of(7, 20, 12).reshape(3, 4, 2))
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    parts = []
    for host in range(2):
        monkeypatch.setattr(jax, "process_index", lambda host=host: host)
        assert load(5, 1).tolist() == [[7, 20 + host], [7, 22 + host]]
        parts.append(load(5, 3))
    assert sorted(np.concatenate(parts, axis=1)[..., 1].ravel()) == list(range(20, 32))


def test_settings_are_checked_under_the_configs_own_name() -> None:
    with pytest.raises(UserError, match=r"RegressionConfig.width is 0; give a whole number of 1 or more"):
        regression.config_of(width=0)
    with pytest.raises(UserError, match=r"RunConfig.steps is True; give a whole number of 1"):
        RunConfig(steps=True)
    with pytest.raises(UserError, match=r"measure_every=4 is no multiple of steps_per_call=3"):
        regression.config_of(measure_every=4, steps_per_call=3, log_every=3)
    with pytest.raises(UserError, match=r"^width=3 is no multiple of mesh_model=2; give 4 or another mesh_model"):
        check_devices(regression.config_of(width=3, mesh_model=2), devices=2)
    assert check_devices(RunConfig(mesh_model=2), devices=4) == (2, 2)


def test_a_language_models_settings_are_those_that_they_were() -> None:
    assert set(TrainConfig(data="x").to_json()) == {
        "model", "optimizer", "data", "tokenizer", "length", "batch_size", "steps", "seed", "start_from",
        "start_params", "z_loss", "predicted_from", "microbatches", "mesh_data", "mesh_model", "steps_per_call",
        "checkpoint_every", "keep", "log_every", "eval_every", "eval_batches", "alignment_every",
    }  # fmt: skip
    assert set(TrainConfig(data="x").identity(tokens_sha256="h")) == {
        "model", "optimizer", "tokenizer", "length", "batch_size", "steps", "seed", "z_loss", "predicted_from",
        "tokens_sha256",
    }  # fmt: skip


def run_text(out: Path, runs: dict[str, Any], address: Any = None, count: Any = None, index: Any = None) -> str:
    tests = str(Path(__file__).parent)
    return RUN.format(tests=tests, out=str(out), runs=runs, address=address, count=count, index=index)


def assert_alike(out: Path, one: str, other: str) -> None:
    np.testing.assert_allclose(np.load(out / f"{one}.npy"), np.load(out / f"{other}.npy"), rtol=1e-3, atol=1e-5)
    rows = [
        [json.loads(line) for line in (out / name / "metrics.jsonl").read_text().splitlines()] for name in (one, other)
    ]
    assert [row["step"] for row in rows[0]] == [4, 8, 12]
    for a, b in zip(*rows, strict=True):
        assert a.keys() == b.keys()
        for name in a.keys() - set(SPEEDS):
            assert a[name] == pytest.approx(b[name], rel=1e-4, abs=1e-6)


def test_two_devices_compute_what_one_does(kit: SimpleNamespace, tmp_path: Path) -> None:
    runs = {
        "one": {"mesh_data": 1},
        "data": {"mesh_data": 2, "steps_per_call": 2},
        "model": {"mesh_data": 1, "mesh_model": 2},
    }
    process = kit.start(run_text(tmp_path, runs), devices=2)
    _, told = process.communicate()
    assert process.returncode == 0, told
    for name in ("data", "model"):
        assert_alike(tmp_path, "one", name)


@pytest.mark.slow
def test_two_processes_compute_what_one_does(kit: SimpleNamespace, tmp_path: Path) -> None:
    with socket.socket() as chosen:
        chosen.bind(("localhost", 0))
        address = f"localhost:{chosen.getsockname()[1]}"
    two = {"two": {}, "calls": {"steps_per_call": 2}}
    processes = [kit.start(run_text(tmp_path, two, address, 2, index)) for index in range(2)]
    alone = kit.start(run_text(tmp_path, {"one": {}}))
    for process in (*processes, alone):
        _, told = process.communicate()
        assert process.returncode == 0, told
    for name in two:
        assert_alike(tmp_path, "one", name)
