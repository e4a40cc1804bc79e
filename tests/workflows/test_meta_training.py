"""Meta-training as a step: what it writes, that a killed one goes on, and what gin files say."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from models.learned_optimizers import theta_files
from models.learned_optimizers.curriculum import MetaTrainingConfig, Phase, TaskChoice
from models.learned_optimizers.face import shipped
from models.learned_optimizers.mlp import MLPConfig
from models.learned_optimizers.star import StarConfig
from models.learned_optimizers.tasks import NoisyQuadraticConfig
from models.learned_optimizers.velo import VeloConfig
from shammie.errors import UserError
from shammie.files import canonical_json
from workflows import dag, gin_config, meta_training
from workflows.meta_training import CHECKPOINT, Run, meta_training_step, read_curve, steps, theta_file

QUADRATIC = (TaskChoice("noisy_quadratic", NoisyQuadraticConfig(rows=2, columns=1, batch_size=1)),)
PHASE = Phase(tasks=QUADRATIC, iterations=4, particles=2, window=2, shortest=4, longest=4)
CONFIG = MetaTrainingConfig((PHASE,), stretch=2)
OPTIMIZER = MLPConfig(hidden_size=2, hidden_layers=1, decays=(0.9,))


def test_a_step_writes_theta_and_its_curve_and_goes_on_where_it_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = meta_training_step("mlp", OPTIMIZER, CONFIG)
    dag.run([step], str(tmp_path / "whole"))
    whole = tmp_path / "whole" / step.directory_name
    assert sorted(path.name for path in whole.iterdir()) == ["curve.json", "mlp.theta", "step.json"]
    weights = theta_files.load(str(whole / theta_file("mlp")))
    assert weights.optimizer.config == OPTIMIZER
    assert weights.made_with["meta_training"]["seed"] == CONFIG.seed
    assert weights.made_with["environment_steps"] == 2 * 2 * (4 + 2 * 4)
    curve = read_curve(str(whole))
    assert [point.iteration for point in curve] == [2, 4]
    record = json.loads((whole / "step.json").read_text())
    assert record["counters"]["loss"] == curve[-1].loss

    seen = []
    real = meta_training.meta_train

    def killed(optimizer: Any, config: Any, **words: Any) -> Any:
        def tell(point: Any) -> None:
            seen.append(point.iteration)
            if len(seen) == 1:
                raise KeyboardInterrupt

        return real(optimizer, config, **words, every_seconds=0.0, tell=tell)

    monkeypatch.setattr(meta_training, "meta_train", killed)
    with pytest.raises(KeyboardInterrupt):
        dag.run([step], str(tmp_path / "parts"))
    assert list((tmp_path / "parts").rglob(CHECKPOINT))
    dag.run([step], str(tmp_path / "parts"))
    assert seen == [2, 4]
    for name in ("mlp.theta", "curve.json"):
        assert (tmp_path / "parts" / step.directory_name / name).read_bytes() == (whole / name).read_bytes()


def test_what_decides_theta_decides_the_step() -> None:
    step = Run("star", StarConfig(), CONFIG).step()
    assert step.name == "meta_train_star"
    assert Run("star", None, CONFIG).step().identity == step.identity
    others = (
        Run("adafactor_mlp", None, CONFIG),
        Run("star", StarConfig(precondition=False), CONFIG),
        Run("star", None, replace(CONFIG, seed=1)),
        Run("star", None, replace(CONFIG, phases=(replace(PHASE, sigma=0.02),))),
    )
    assert len({step.identity, *(run.step().identity for run in others)}) == 5
    assert meta_training_step("star", None, CONFIG, step_name="meta_train_mine", lasts="1 minute").name[-4:] == "mine"


def test_bad_input() -> None:
    with pytest.raises(UserError, match="did you mean star"):
        meta_training_step("stra", None, CONFIG)
    with pytest.raises(UserError, match="unknown field of StarConfig 'lstm_size'"):
        meta_training_step("star", VeloConfig(), CONFIG)
    with pytest.raises(UserError, match=r"reads no --input \(got words\.txt\)"):
        steps(input=("words.txt",))


def test_the_weights_gin_has_one_budget_for_both() -> None:
    gin_config.parse(["gin/star/weights.gin"], modules=["workflows.meta_training"])
    star, mlp = gin_config.call(meta_training.steps)
    assert (star.name, mlp.name) == ("meta_train_star", "meta_train_adafactor_mlp")
    assert star.config["meta_training"] == mlp.config["meta_training"]
    for step in (star, mlp):  # and the weights that ship are what it makes
        told = shipped(str(step.config["optimizer"])).made_with
        assert {name: told[name] for name in step.config} == json.loads(canonical_json(dict(step.config)))


def test_velo_s_four_phases() -> None:
    """The released configs' numbers (velo.md section 3), and a theta of the released shape."""
    gin_config.parse(["gin/velo/meta_training_paper.gin"], modules=["workflows.meta_training"])
    (step,) = gin_config.call(meta_training.steps)
    told: Any = step.config
    config, phases = told["meta_training"], told["meta_training"]["phases"]
    assert [(p["shortest"], p["longest"]) for p in phases] == [
        (100, 20_000), (200, 20_000), (200, 20_000), (200, 200_000),
    ]  # fmt: skip
    assert [p["accumulate"] for p in phases] == [4, 10, 20, 20]
    assert [p["resample_every"] for p in phases] == [1000, 1000, 1000, 200]
    assert {(p["estimator"], p["sign"], p["sigma"], len(p["tasks"])) for p in phases} == {("full_es", True, 0.01, 8)}
    assert {p["inner"]["objective"] for p in phases} == {"last"}
    assert {p["inner"]["batches"] for p in phases} == {100}
    assert phases[0]["augmentation"]["evolution_gradient"] == 0.08
    assert (config["learning_rate"], config["clip_value"]) == (3e-4, 3.0)
    optimizer = theta_files.learned_optimizer("velo", **told["optimizer_config"])
    theta = jax.eval_shape(optimizer.init_theta, jax.random.key(0))
    assert sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(theta)) == 2_320_385
