"""What a run computes and writes, against the same steps by hand."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from beam_jobs import tfrecord
from models.lm import DecoderLM
from models.lm.flops import training_flops_per_token
from models.training import initial_state, lm_loss, optimizer_of, schedule_of, train_step
from seqio_tasks.token_files import open_tokens
from seqio_tasks.windows import Windows
from workflows.train import train
from workflows.train.loop import calls


def by_hand(config):
    """Every step's metrics as floats, and the last state."""
    network, optimizer = DecoderLM(config.model), optimizer_of(config.optimizer, config.steps)
    params = jax.jit(network.init)(jax.random.key(config.seed), jnp.zeros((1, 2), jnp.int32))["params"]
    state = initial_state(params, optimizer)
    step = jax.jit(train_step(lm_loss(network, config.z_loss), optimizer))
    windows = Windows(open_tokens(config.data, "train").ids, config.length)
    found = []
    for number in range(config.steps):
        state, metrics = step(state, {"targets": windows.batch(config.seed, number, config.batch_size)})
        found.append({name: float(metric.compute()) for name, metric in metrics.items()})
    return found, state


def test_rows_hold_what_the_steps_by_hand_give(config, tmp_path: Path) -> None:
    run = config(steps=10, log_every=4, eval_every=5, eval_batches=3, seed=3)
    seen = []
    result = train(run, str(tmp_path), seen.append)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows == result.rows == seen
    assert result.steps_done == int(result.state.step) == 10
    assert [row["step"] for row in rows] == [4, 5, 8, 10]
    steps, state = by_hand(run)
    for a, b in zip(jax.tree.leaves(result.state.params), jax.tree.leaves(state.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    before = 0
    for row in rows:
        part = steps[before : row["step"]]
        for name in ("loss", "z_loss", "accuracy", "gradient_norm"):
            assert row[name] == pytest.approx(np.mean([one[name] for one in part]), rel=1e-4)
        assert row["tokens"] == row["step"] * 4 * 16
        assert row["flops"] == row["tokens"] * training_flops_per_token(run.model, 16)
        assert row["learning_rate"] == pytest.approx(np.asarray(schedule_of(run.optimizer, 10)(row["step"] - 1)))
        assert row["tokens_per_s"] == pytest.approx(row["steps_per_s"] * 64)
        before = row["step"]
    assert ["validation_loss" in row for row in rows] == [False, True, False, True]
    windows = Windows(open_tokens(run.data, "validation").ids, 16)
    loss = jax.jit(lm_loss(DecoderLM(run.model), run.z_loss))
    metrics = loss(state.params, {"targets": windows.take(np.arange(12))})[1]
    assert rows[-1]["validation_loss"] == pytest.approx(float(metrics["loss"].compute()), rel=1e-4)
    assert rows[-1]["validation_accuracy"] == pytest.approx(float(metrics["accuracy"].compute()), abs=0.01)
    assert json.loads((tmp_path / "config.json").read_text())["steps"] == 10


def test_event_files_hold_the_same_numbers(config, tmp_path: Path) -> None:
    result = train(config(steps=6, log_every=2), str(tmp_path))
    (path,) = (tmp_path / "tensorboard").iterdir()
    data = np.fromfile(path, np.uint8)
    found = tfrecord.scan(data)
    assert found.state == tfrecord.GOOD
    scalars = {}
    for start, end in zip(found.starts, found.ends, strict=True):
        event = event_pb2.Event.FromString(  # pyright: ignore[reportAttributeAccessIssue]
            data[start:end].tobytes()
        )
        for value in event.summary.value:
            scalars[event.step, value.tag] = value.simple_value
    for row in result.rows:
        for name, value in row.items():
            if name != "step":
                assert scalars.pop((row["step"], name)) == pytest.approx(value, rel=1e-6)
    assert not scalars


def test_many_steps_in_a_call_are_the_same_steps(config, tmp_path: Path) -> None:
    one = train(config(steps=10, log_every=4), str(tmp_path / "one"))
    many = train(config(steps=10, log_every=4, steps_per_call=4), str(tmp_path / "many"))
    assert [row["step"] for row in many.rows] == [4, 8, 10]
    for a, b in zip(one.rows, many.rows, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-5)
        assert b["gradient_norm"] == pytest.approx(a["gradient_norm"], rel=1e-4)
    for a, b in zip(jax.tree.leaves(one.state), jax.tree.leaves(many.state), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_calls_are_aligned_so_that_a_resumed_run_has_the_same(config) -> None:
    run = config(steps=11, log_every=4, steps_per_call=4)
    assert list(calls(run, 0)) == [(0, 4), (4, 4), (8, 1), (9, 1), (10, 1)]
    assert list(calls(run, 4)) == list(calls(run, 0))[1:]
    assert list(calls(run, 2)) == [(2, 1), (3, 1), (4, 4), (8, 1), (9, 1), (10, 1)]
    assert list(calls(run, 11)) == []


def test_two_microbatches_are_the_whole_batch(config, tmp_path: Path) -> None:
    whole = train(config(), str(tmp_path / "whole"))
    parts = train(config(microbatches=2), str(tmp_path / "parts"))
    for a, b in zip(whole.rows, parts.rows, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-5)
        assert b["gradient_norm"] == pytest.approx(a["gradient_norm"], rel=1e-4)  # Adam hides a wrong scale
    for a, b in zip(jax.tree.leaves(whole.state.params), jax.tree.leaves(parts.state.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_an_evaluation_of_ones_own_stands_in_for_the_validation_split(config, kit, tmp_path: Path) -> None:
    kit.write_split(str(tmp_path / "data"), "train", 60)  # and no validation split
    run = config(data=str(tmp_path / "data"), steps=6, log_every=4, eval_every=3)
    size = lambda params: {"parameters": float(sum(leaf.size for leaf in jax.tree.leaves(params)))}  # noqa: E731
    result = train(run, str(tmp_path / "out"), evaluate=size)
    count = sum(leaf.size for leaf in jax.tree.leaves(result.state.params))
    assert [(row["step"], row.get("parameters")) for row in result.rows] == [(3, count), (4, None), (6, count)]


def test_the_toy_is_learned(config, tmp_path: Path) -> None:
    result = train(config(steps=150, log_every=50, eval_every=150), str(tmp_path))
    # steps of 1 or 2 at equal odds: ln 2 nats, and the rare ends
    assert result.rows[-1]["loss"] < 1.8 < 3.0 < result.rows[0]["loss"]
    assert result.rows[-1]["validation_loss"] == pytest.approx(result.rows[-1]["loss"], rel=0.2)


def test_a_run_ends_at_the_evaluation_that_says_so_saved_and_as_far_as_it_got(config, tmp_path: Path) -> None:
    told = []

    def enough(row) -> bool:
        told.append(row["step"])
        return row["step"] >= 6

    run = config(steps=12, log_every=2, eval_every=3, checkpoint_every=0)
    result = train(run, str(tmp_path / "a"), evaluate=lambda params: {"reward": 1.0}, until=enough)
    assert told == [3, 6]
    assert result.steps_done == int(result.state.step) == 6
    assert result.rows[-1]["reward"] == 1.0
    going_on = train(run, str(tmp_path / "a"))  # from where it was saved
    whole = train(run, str(tmp_path / "b"))
    for a, b in zip(jax.tree.leaves(going_on.state.params), jax.tree.leaves(whole.state.params), strict=True):
        np.testing.assert_array_equal(a, b)
