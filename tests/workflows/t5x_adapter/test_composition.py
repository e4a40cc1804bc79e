"""Diffusion models under T5X: the bundled trainer's steps, rows and average. What is marked t5x needs T5X."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import flax.core
import jax
import numpy as np
import pytest

from models.composition.diffusion import parameter_count
from models.composition.diffusion_config import ConditionConfig, DiffusionConfig
from models.training import OptimizerConfig, averaged
from workflows import gin_config
from workflows.composition_training import DiffusionTrainConfig, diffusion_job
from workflows.train import exchange, train_job
from workflows.train.__main__ import MODULES
from workflows.train.compute import compute_of
from workflows.train.mesh import make_mesh

ROOT = Path(__file__).parents[3]
TINY = "gin/t5x/composition_tiny.gin"
PLANE = ["DATA='ring'", "SHAPE=(2,)", "NETWORK='mlp'", "CONDITION='none'"]
SMALL = [*PLANE, "CHECKPOINT_EVERY=2", "EVAL_EVERY=2", "LOG_EVERY=1", "KEEP=9", "AVERAGE=0.0",
         "diffusion_config.DiffusionConfig.width=8", "diffusion_config.DiffusionConfig.blocks=1"]  # fmt: skip
MODEL_CONFIG = DiffusionConfig(width=8, blocks=1, level_width=4)
STEPS = 3

MODEL = """
import sys
sys.path[:0] = [{here!r}, {root!r}]
import stand_in; stand_in.install()
import dataclasses, inspect
import jax, jax.numpy as jnp, numpy as np
from models.composition.denoising import held_out_rows, rows_of
from models.composition.diffusion_config import ConditionConfig, DiffusionConfig
from models.composition.schedule import NoiseSchedule
from shammie.errors import UserError
from workflows import t5x_checks, t5x_contract
from workflows.composition_t5x import DiffusionModel, diffusion_task

config = {config!r}
for name, asked in inspect.getmembers(t5x_contract.ModelContract, inspect.isfunction):
    if not name.startswith("_"):
        ours, wanted = (inspect.signature(one).parameters for one in (getattr(DiffusionModel, name), asked))
        assert list(ours)[: len(wanted)] == list(wanted), name

def told_of(config, data, batch):
    model = DiffusionModel(config, data, microbatches=2)
    params = model.get_initial_variables(jax.random.key(3), {{}})["params"]

    @jax.jit
    def told(params, batch):
        predicted, aux = model.predict_batch_with_aux(params, batch, rng=None)
        assert model.score_batch(params, batch, return_intermediates=True)[1] == {{}}
        scores, (loss, metrics) = model.score_batch(params, batch), model.eval_fn(params, batch)
        return predicted, aux["level"], scores, loss, model.loss_fn(params, batch, None)[0], metrics, model.ours(batch)

    found = told(params, batch)
    predicted, level, scores, loss, half, metrics, made = found
    np.testing.assert_array_equal(level, made.level_B)
    np.testing.assert_allclose(-np.mean(scores), loss, rtol=1e-5)
    np.testing.assert_allclose(half, loss / 2, rtol=1e-6)
    np.testing.assert_allclose(metrics["loss"].compute(), loss, rtol=1e-5)
    return predicted, made

rows = rows_of(5, 0, 6)
predicted, made = told_of(config, "ring", {{"targets": rows}})
assert predicted.shape == (6, 2) and made.condition is None
unet = DiffusionConfig(shape=(4, 4, 3), form="score", network="unet", widths=(4,), blocks=1, groups=2, level_width=4,
                       condition=ConditionConfig("vector", 2, width=4))
batch = {{"targets": rows, "image": np.zeros((6, 4, 4, 3), np.uint8), "condition": np.zeros((6, 2), np.float32)}}
made = jax.jit(DiffusionModel(unet, {clevr!r}).ours)(batch)
assert made.x_BX.shape == (6, 4, 4, 3) and made.condition.shape == (6, 2)
predicted, made = told_of(
    DiffusionConfig(shape=(8, 8, 1), form="classifier", network="unet", widths=(4,), blocks=1, groups=2, level_width=4,
                    condition=ConditionConfig("classes", 10)), "digits", {{"targets": rows}})
assert predicted.shape == (6,) and predicted.dtype == jnp.int32 and made.condition.shape == (6,)

import seqio
name = diffusion_task(config, "ring", seed=5, steps=2, batch_size=3)
rows_in = lambda name, split: [row["targets"] for row in seqio.get_mixture_or_task(name).get_dataset(
    split=split, sequence_length=None).as_numpy_iterator()]
np.testing.assert_array_equal(rows_in(name, "train"), rows)
np.testing.assert_array_equal(rows_in(name, "held_out")[:6], held_out_rows(6))
t5x_checks.latest_step = lambda path: 1  # a checkpoint, after which the rows go on
np.testing.assert_array_equal(rows_in(diffusion_task(config, "ring", seed=5, steps=2, batch_size=3,
                                                     checkpoints=("", "anywhere")), "train"), rows[3:])
name = diffusion_task(unet, {clevr!r}, seed=5, steps=2, batch_size=3)
row = next(seqio.get_mixture_or_task(name).get_dataset(split="train", sequence_length=None).as_numpy_iterator())
assert row["image"].shape == (4, 4, 3) and row["condition"].shape == (2,)
try:
    DiffusionModel(config, "digits")
except UserError as error:
    print(error)
"""


def clevr(folder: Path) -> str:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (40, 4, 4, 3), np.uint8)
    np.savez(folder / "clevr.npz", ims=images, coords_labels=generator.uniform(0, 1, (40, 2)))
    return f"clevr:{folder / 'clevr.npz'}"


def test_points_predictions_and_scores(tmp_path: Path) -> None:
    """Beside T5X's stand-in, so in a process of its own."""
    code = MODEL.format(here=str(Path(__file__).parent), root=str(ROOT), config=MODEL_CONFIG, clevr=clevr(tmp_path))
    quick = {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env=quick, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told = "images of digits are asked for as (2,); set model.shape to"
    assert done.stdout.splitlines()[-1].startswith(told)


@pytest.mark.parametrize("real", [False, pytest.param(True, marks=pytest.mark.t5x)])
def test_gin_files_configure_the_bundled_trainers_runs(parse, request, tmp_path: Path, real: bool) -> None:
    if real:
        request.getfixturevalue("t5x")
    images = np.zeros((40, 128, 128, 3), np.uint8)
    np.savez(tmp_path / "clevr.npz", ims=images, coords_labels=np.zeros((40, 2)))
    scenes = f"DATA = 'clevr:{tmp_path}/clevr.npz'"
    run = lambda name, *more: {  # noqa: E731
        "script": "train", "files": [f"gin/t5x/composition_{name}.gin"], "bindings": ["MODEL_DIR = 'x'", *more]
    }  # fmt: skip
    plane = [one.replace("=", " = ", 1) for one in PLANE]
    jobs = [run("tiny"), run("clevr", scenes), run("imagenet", "DATA = 'scenes:64'", "CONDITION = 'none'",
            "SHAPE = (64, 64, 1)"), run("tiny", *plane)]  # fmt: skip
    jobs += [run("tiny", "NUM_PARTITIONS = 2"), run("tiny", "DATA = 'nowhere'"), run("clevr"), run("imagenet")]
    *good, devices, nowhere, required, unprepared = parse(jobs, real=real, devices=1)
    for name, found in zip(("tiny", "clevr", "imagenet", "tiny"), good, strict=True):
        gin_config.parse([f"gin/train/composition_{name}.gin"], ["DATA = 'x'"], modules=MODULES)
        config = gin_config.call(DiffusionTrainConfig)
        assert "error" not in found, found
        assert (found["total_steps"], found["batch_size"]) == (config.steps, config.batch_size)
        assert found["task_feature_lengths"] == {"targets": 2}
        assert found["save_dataset"] is False
    gin_config.parse(["gin/train/composition_clevr.gin"], [scenes], modules=MODULES)
    config = DiffusionConfig.from_json(good[1]["config"])
    assert config == gin_config.call(DiffusionTrainConfig).model
    assert parameter_count(config) == 196_437_891
    for told, words in (
        (devices, "NUM_PARTITIONS=2: on processors T5X shares matrices over all 1 devices"),
        (nowhere, "unknown source 'nowhere'"),
        (required, "DATA must be set"),
        (unprepared, "tfds:imagenet_resized/64x64 is not prepared in"),
    ):
        assert words in told["error"]
        assert "\n" not in told["error"]


@pytest.mark.t5x
@pytest.mark.usefixtures("t5x")
@pytest.mark.parametrize(("data", "microbatches"), [("ring", 1), ("ring", 2), ("digits", 1), ("clevr", 1)])
def test_steps_are_the_bundled_trainers(data: str, microbatches: int, tmp_path: Path) -> None:
    from t5x import partitioning, train_state, trainer  # pyright: ignore[reportMissingImports]

    from workflows import t5x_adapter
    from workflows.composition_t5x import DiffusionModel

    unet: dict[str, Any] = {"network": "unet", "widths": (4, 8), "blocks": 1, "groups": 2, "level_width": 4}
    models = {
        "ring": MODEL_CONFIG,
        "digits": DiffusionConfig(shape=(8, 8, 1), condition=ConditionConfig("classes", 10, width=4), **unet),
        "clevr": DiffusionConfig(shape=(4, 4, 3), condition=ConditionConfig("vector", 2, width=4), **unet),
    }
    config = DiffusionTrainConfig(
        model=models[data],
        data=clevr(tmp_path) if data == "clevr" else data,
        optimizer=OptimizerConfig("adam", 1e-2, warmup_steps=1, average=0.9),
        batch_size=4,
        steps=STEPS,
        log_every=1,
        eval_every=0,
        checkpoint_every=0,
        microbatches=microbatches,
    )
    job = diffusion_job(config)
    ours = train_job(job, str(tmp_path / "ours"))
    parts = None if microbatches == 1 else microbatches
    model = DiffusionModel(config.model, config.data, config.optimizer, steps=STEPS, microbatches=parts)
    begun, _ = compute_of(job.objective, config, make_mesh(1, 1), job.resident).start(config.seed)
    params = flax.core.freeze(jax.device_get(begun.params))
    variables = model.get_initial_variables(jax.random.key(1), {})
    state: Any = train_state.FlaxOptimTrainState.create(model.optimizer_def, variables).replace_params(params)
    # the average begins with the parameters too
    optimizer = state._optimizer.replace(state=model.optimizer_def.init_state(params))
    state = state.replace(_optimizer=optimizer)
    rules = partitioning.standard_logical_axis_rules(additional_rules=[("features", None), ("classes", None)])
    partitioner = t5x_adapter.partitioner(config.model, num_partitions=1, logical_axis_rules=rules)
    theirs = trainer.Trainer(
        model=model,
        train_state=state,
        partitioner=partitioner,
        eval_names=[],
        summary_dir=None,
        train_state_axes=partitioner.get_mesh_axes(state),
        rng=jax.random.key(2),
        learning_rate_fn=t5x_adapter.learning_rate(config.optimizer, steps=STEPS),
        num_microbatches=parts,
    )
    for step, row in enumerate(ours.rows):
        rows = job.load(step, 1)
        told = theirs.train(iter([rows if isinstance(rows, dict) else {"targets": rows}]), 1).result()
        assert told["loss"].value == pytest.approx(row["loss"], rel=1e-5)
    kept = averaged(theirs.train_state._optimizer.state.param_states, None)
    mine = averaged(ours.state.optimizer_state, None)
    pairs = ((theirs.train_state.params, ours.state.params), (kept, mine))
    for one, other in pairs:
        for a, b in zip(*map(jax.tree.leaves, (flax.core.unfreeze(one), other)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-4)
    # what T5X saves of such a run is what the trainer's state becomes
    path = exchange.write(ours.state, str(tmp_path / "t5x"))
    places = compute_of(job.objective, config, make_mesh(1, 1), job.resident).places[0]
    for a, b in zip(*map(jax.tree.leaves, (exchange.read(path, places), ours.state)), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.t5x
@pytest.mark.usefixtures("t5x")
def test_a_run_resumes_and_changes_trainers(tmp_path: Path, launch, losses) -> None:
    def held_out_of(log: str) -> dict[int, float]:
        found = re.findall(r"\[(\d+)\] collection=training_eval/\S+ .*\bloss=([\d.e+-]+)", log)
        return {int(step): float(loss) for step, loss in found}

    given = [*SMALL, f"MODEL_DIR='{tmp_path}/t5x'"]
    assert sorted(losses(launch("train", [TINY], [*given, "STEPS=2"]))) == [1, 2]
    resumed = launch("train", [TINY], [*given, "STEPS=4"])
    theirs = losses(resumed)
    assert sorted(theirs) == [3, 4]

    # the bundled trainer goes on from T5X's checkpoint: the same rows, losses and scores
    start = f"START_FROM='{tmp_path}/t5x/checkpoint_2'"
    gin_config.parse(["gin/train/composition_tiny.gin"], [*SMALL, start, "STEPS=4"], modules=MODULES)
    ours = train_job(diffusion_job(gin_config.call(DiffusionTrainConfig)), str(tmp_path / "ours"))
    assert {row["step"]: row["loss"] for row in ours.rows} == pytest.approx(theirs, rel=1e-5)
    assert held_out_of(resumed)[4] == pytest.approx(ours.rows[-1]["validation_loss"], rel=1e-4)

    for bindings, words in (
        (["DATA='nowhere'"], "unknown source 'nowhere'"),
        (["LENGTH=3"], "unknown gin macro 'LENGTH'"),
        (["diffusion_config.DiffusionConfig.width=16"], "the checkpoint is another model's"),
    ):
        line = launch("train", [TINY], [*given, "STEPS=6", *bindings], well=False).splitlines()[-1]
        assert line.startswith("t5x: ")
        assert words in line


@pytest.mark.t5x
@pytest.mark.usefixtures("t5x")
def test_devices_share_the_matrices(tmp_path: Path, launch, losses, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    tiny = [*SMALL, "AVERAGE=0.5", "STEPS=2"]
    for name, devices, more in (("1", 1, []), ("2x2", 4, ["NUM_PARTITIONS=None", "SUBMESH=(1, 2, 1, 1)"])):
        monkeypatch.setenv("XLA_FLAGS", f"--xla_force_host_platform_device_count={devices}")
        found.append(losses(launch("train", [TINY], [*tiny, f"MODEL_DIR='{tmp_path}/{name}'", *more])))
    assert found[1] == pytest.approx(found[0], rel=1e-4)
    assert len(found[0]) == 2
