"""The trainer's command trains diffusion models: its gin files say so, and steps are those of the parts by hand."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.composition.denoising import denoising_loss, drawn_batch, held_out_rows, rows_of
from models.composition.diffusion import first_variables, output, parameter_count
from models.composition.diffusion_config import ConditionConfig, DiffusionConfig
from models.composition.sources import source_of
from models.composition.trained import TrainedDiffusion
from models.training import averaged, initial_state, optimizer_of, train_step
from seqio_tasks.composition_images import resident_images
from workflows import gin_config
from workflows.composition_training import DiffusionObjective, DiffusionTrainConfig, diffusion_job, trained_of
from workflows.train import loop, train_job
from workflows.train.__main__ import MODULES, kind_of_run, main

TINY = "gin/train/composition_tiny.gin"
PLANE = ["DATA='ring'", "SHAPE=(2,)", "NETWORK='mlp'", "CONDITION='none'", "STEPS=8", "LOG_EVERY=4", "EVAL_EVERY=4",
         "CHECKPOINT_EVERY=4", "EVAL_BATCHES=3", "diffusion_config.DiffusionConfig.width=8", "AVERAGE=0.5",
         "diffusion_config.DiffusionConfig.blocks=1"]  # fmt: skip
SMALL = ["STEPS=2", "diffusion_config.DiffusionConfig.widths=(4,)", "EVAL_BATCHES=1", "FORM='score'", "LOG_EVERY=1",
         "CHECKPOINT_EVERY=2", "EVAL_EVERY=2", "BATCH_SIZE=4"]  # fmt: skip


def config_of(*bindings: str, file: str = TINY) -> DiffusionTrainConfig:
    gin_config.parse([file], bindings, modules=MODULES)
    return gin_config.call(DiffusionTrainConfig)


def words_of(out: Path, *bindings: str) -> list[str]:
    return ["--gin_file", TINY, "--out", str(out), *(f"--gin.{one}" for one in bindings)]


def rows_in(out: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if not name.endswith("_per_s")} for row in rows]


def test_the_command_trains_and_validates_what_the_steps_by_hand_give(tmp_path: Path) -> None:
    assert main(words_of(tmp_path, *PLANE)) == 0
    rows = rows_in(tmp_path)
    config = config_of(*PLANE)
    model, optimizer = config.model, optimizer_of(config.optimizer, config.steps)
    batch_of = lambda rows: drawn_batch(model.schedule, source_of("ring"), (), rows)._replace(condition=None)  # noqa: E731
    one = train_step(denoising_loss(model), optimizer)
    step = jax.jit(lambda state, rows: one(state, batch_of(rows)))
    state = initial_state(first_variables(model, jax.random.key(config.seed))["params"], optimizer)
    loss = jax.jit(lambda params, rows: denoising_loss(model)(params, batch_of(rows))[0])
    losses, validation = [], []
    for number in range(8):
        state, metrics = step(state, rows_of(config.seed, 16 * number, 16))
        losses.append(float(metrics["loss"].compute()))
        params = averaged(state.optimizer_state, state.params)
        validation.append(float(loss(params, held_out_rows(48))))
    assert validation[-1] != pytest.approx(float(loss(state.params, held_out_rows(48))), rel=1e-3)
    assert [row["loss"] for row in rows] == pytest.approx([np.mean(losses[:4]), np.mean(losses[4:])], rel=1e-4)
    assert [row["validation_loss"] for row in rows] == pytest.approx(validation[3::4], rel=1e-4)
    assert [(row["step"], row["examples"]) for row in rows] == [(4, 64), (8, 128)]
    # the model of a run has the averaged parameters
    result = train_job(diffusion_job(config), str(tmp_path))
    trained = trained_of(config, result.state, loss=1.5)
    again = TrainedDiffusion.from_bytes(trained.to_bytes(), "model.bin")
    assert again.made_with == {"data": "ring", "seed": 0, "steps": 8, "batch_size": 16, "loss": 1.5}
    for a, b in zip(*map(jax.tree.leaves, (again.params, averaged(state.optimizer_state, state.params))), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_stopped_and_resumed_is_unbroken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = iter(range(1, 100))
    with monkeypatch.context() as patch:
        patch.setattr(loop, "any_asked", lambda *_, **__: next(asked) == 6)
        assert main(words_of(tmp_path / "broken", *PLANE)) == 130
    assert "train: stopped after step 6" in capsys.readouterr().err
    assert main(words_of(tmp_path / "broken", *PLANE)) == main(words_of(tmp_path / "unbroken", *PLANE)) == 0
    assert rows_in(tmp_path / "broken") == rows_in(tmp_path / "unbroken")
    job = diffusion_job(config_of(*PLANE))
    states = [train_job(job, str(tmp_path / name)).state for name in ("broken", "unbroken")]
    for a, b in zip(*map(jax.tree.leaves, states), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    for binding, words in (("DATA='bar'", "holds a run with data"), ("LEVELS=30", "holds a run with model")):
        assert main(words_of(tmp_path / "broken", *PLANE, binding)) == 2
        assert words in capsys.readouterr().err


def test_resident_digits_are_those_of_their_split() -> None:
    model = config_of().model
    objective = DiffusionObjective(model, "digits", untold=0.5)
    images = resident_images("digits", model.shape)
    quiet = dataclasses.replace(model.schedule, kind="linear", first_beta=1e-8, last_beta=1e-8)
    objective = dataclasses.replace(objective, model=dataclasses.replace(model, schedule=quiet))
    made = jax.jit(objective.batch_of)
    trained = len(images.x_MX) - int(images.held_out)
    for rows, split in ((rows_of(0, 0, 40), slice(None, trained)), (held_out_rows(40), slice(trained, None))):
        batch = made(rows, images)
        apart_BM = np.abs(np.asarray(batch.x_BX)[:, None] - images.x_MX[None, split]).max(axis=(2, 3, 4))
        assert apart_BM.min(axis=1).max() < 0.02
        np.testing.assert_array_equal(batch.condition, images.condition_M[split][apart_BM.argmin(axis=1)])
        assert 5 < int(batch.present_B.sum()) < 35
    told = dataclasses.replace(objective.model, condition=ConditionConfig())
    free = dataclasses.replace(objective, model=told)
    assert jax.eval_shape(lambda: free.batch_of(jnp.asarray(rows_of(0, 0, 4)), images)).condition is None


def clevr(folder: Path) -> str:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (40, 4, 4, 3), np.uint8)
    np.savez(folder / "clevr.npz", ims=images, coords_labels=generator.uniform(0, 1, (40, 2)))
    return f"clevr:{folder / 'clevr.npz'}"


def test_streamed_images_come_with_the_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = clevr(tmp_path)
    bindings = [*SMALL, f"DATA='{data}'", "SHAPE=(4, 4, 3)", "CONDITION='vector'", "CONDITION_SIZE=2"]
    job = diffusion_job(config_of(*bindings))
    rows = job.load(3, 1)
    spec = jax.tree.map(lambda x: (x.shape[1:], x.dtype), rows)
    assert spec == jax.tree.map(lambda x: (x.shape, x.dtype), job.objective.row)
    np.testing.assert_array_equal(rows["targets"], rows_of(0, 12, 4))
    several = job.load(2, 2)
    assert several["image"].shape == (2, 4, 4, 4, 3)
    for name, array in rows.items():
        np.testing.assert_array_equal(several[name][1], array)
    batch: Any = jax.jit(lambda rows: job.objective.batch_of(rows, ()))(rows)
    signal_B, noise_B = (one(batch.level_B)[:, None, None, None] for one in (
        job.objective.model.schedule.signal, job.objective.model.schedule.noise))  # pyright: ignore  # fmt: skip
    pixels_BX = (batch.x_BX - noise_B * batch.noise_BX) / signal_B
    clear_B = np.asarray(signal_B).reshape(-1) > 0.1
    np.testing.assert_allclose(pixels_BX[clear_B], rows["image"][clear_B] / 127.5 - 1.0, atol=1e-3)
    np.testing.assert_array_equal(batch.condition, rows["condition"])
    np.testing.assert_array_equal(job.validation[0]["targets"], held_out_rows(4))
    assert job.validation[0]["image"].shape == (4, 4, 4, 3)
    assert main(words_of(tmp_path / "run", *bindings, "EVAL_EVERY=0")) == 0
    assert np.isfinite(rows_in(tmp_path / "run")[-1]["loss"])
    capsys.readouterr()
    for binding, words in (
        ("SHAPE=(8, 8, 3)", "have shape (4, 4, 3), the model's (8, 8, 3); change model.shape"),
        ("CONDITION='classes'", "is float32 [2], but the model takes 'classes', int32 []; change model.condition"),
    ):
        assert main(words_of(tmp_path / "other", *bindings, binding)) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert words in line


@pytest.mark.parametrize(
    ("binding", "words"),
    [
        ("SHAPES=3", "unknown gin macro 'SHAPES'; did you mean SHAPE?"),
        ("diffusion_config.DiffusionConfig.wide=1", "did you mean widen or width"),
        ("FORM='daee'", "unknown form 'daee'; did you mean dae"),
        ("NOISE='cosin'", "unknown noise schedule 'cosin'; did you mean cosine?"),
        ("DATA='digit'", "unknown source 'digit'; did you mean digits?"),
        ("CONDITION_SIZE=7", "digits has a label 7, not 0 to 6; raise model.condition.size"),
        ("CONDITION='words'", "ConditionConfig.length of 'words' is 0"),
        ("SHAPE=(8, 8)", "a U-Net has points of shape (8, 8)"),
        ("DATA='ring'", "points of ring have shape (2,), the model's (8, 8, 1); change model.shape"),
        ("DATA='clevr:nowhere.npz'", "nowhere.npz is no file; give the .npz file of CLEVR positions"),
        ("UNTOLD=1.5", "DiffusionTrainConfig.untold is 1.5; give 0 to 1"),
        ("STEPS=999_999_999", "are more than 2147483647 draws; lower one"),
        ("NUM_PARTITIONS=7", "mesh_model=7 does not fit"),
        ("AVERAGE=1.0", "OptimizerConfig.average is 1.0; give 0 or a number below 1"),
    ],
)
def test_bad_values_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], binding: str, words: str) -> None:
    assert main(words_of(tmp_path, binding)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("workflows.train: ")
    assert words in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "shape", "levels", "condition", "parameters"),
    [
        ("clevr", (128, 128, 3), 100, ("vector", 2), 196_437_891),
        ("imagenet", (64, 64, 3), 1000, ("classes", 1000), 256_132_227),
    ],
)
def test_the_papers_runs(
    name: str, shape: tuple[int, ...], levels: int, condition: tuple[str, int], parameters: int
) -> None:
    config = config_of(*(["DATA='clevr:x.npz'"] if name == "clevr" else []), file=f"gin/train/composition_{name}.gin")
    model = config.model
    assert (model.shape, model.schedule.levels, model.form) == (shape, levels, "dae")
    assert (model.condition.kind, model.condition.size) == condition
    assert parameter_count(model) == parameters
    assert kind_of_run(gin_config.config_text())[0] is DiffusionTrainConfig
    objective = DiffusionObjective(model, "tfds:x")
    rows = jax.tree.map(lambda x: jax.ShapeDtypeStruct((2, *x.shape), x.dtype), objective.row)
    batch = jax.eval_shape(lambda rows: objective.batch_of(rows, ()), rows)
    assert batch.x_BX.shape == (2, *shape)
    params = jax.eval_shape(lambda: first_variables(model, jax.random.key(0)))["params"]
    found = jax.eval_shape(lambda params, batch: output(model, params, *batch[:2], *batch[3:]), params, batch)
    assert found.shape == (2, *shape)


RUN = """
import sys
from workflows.train.__main__ import main
for name, more in {runs!r}.items():
    assert main({words!r} + ["--out", {out!r} + "/" + name, *more]) == 0
"""


@pytest.mark.slow
def test_two_devices_compute_what_one_does(tmp_path: Path) -> None:
    import os
    import subprocess
    import sys

    mesh = "--gin.composition_training.DiffusionTrainConfig.mesh_data="
    runs = {"one": [mesh + "1"], "data": [mesh + "2"], "model": ["--gin.NUM_PARTITIONS=2"]}
    words = ["--gin_file", TINY, *(f"--gin.{one}" for one in (*SMALL, "FORM='dae'"))]
    code = RUN.format(runs=runs, words=words, out=str(tmp_path))
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    one = rows_in(tmp_path / "one")
    for name in ("data", "model"):
        for row, same in zip(rows_in(tmp_path / name), one, strict=True):
            assert {**row, **same} == pytest.approx({**same, **row}, rel=1e-3), name


def test_a_config_is_known_by_all_it_says() -> None:
    model = DiffusionConfig()
    assert DiffusionTrainConfig(model=model).to_json()["model"]["form"] == "dae"
    assert "average" not in DiffusionTrainConfig(model=model).to_json()["optimizer"]
