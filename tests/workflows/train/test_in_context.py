"""The trainer's command meta-trains an in-context learner: its gin files say so, and no other kind is loaded."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from models.in_context.contexts import contexts_of
from models.in_context.judging import judged_rows
from models.in_context.learner import first_params, network_of, parameter_count
from models.in_context.learner_config import KINDS
from models.in_context.objective import in_context_loss
from models.in_context.tasks import UNSEEN, Mixture, rows_of
from models.training import initial_state, optimizer_of, train_step
from seqio_tasks.base_sets import bank_for
from workflows import gin_config
from workflows.gin_config import gin_files
from workflows.in_context_settings import Settings
from workflows.in_context_training import EVAL_CONTEXTS, MetaTrainConfig, in_context_job, unseen_evaluation
from workflows.train import loop
from workflows.train.__main__ import MODULES, kind_of_run, main
from workflows.train.export import trained_state

TINY, PAPER = "gin/train/in_context_tiny.gin", "gin/train/in_context_paper.gin"
SMALL = ["learner_config.LearnerConfig.width=8", "learner_config.LearnerConfig.head_width=4", "BATCH_SIZE=4", "STEPS=8",
         "learner_config.LearnerConfig.mlp_width=8", "learner_config.LearnerConfig.examples=10", "LOG_EVERY=4",
         "EVAL_EVERY=4", "CHECKPOINT_EVERY=4", "RATE=1e-2", "training.OptimizerConfig.warmup_steps=1"]  # fmt: skip


def config_of(*bindings: str, file: str = TINY) -> MetaTrainConfig:
    gin_config.parse([file], bindings, modules=MODULES)
    return gin_config.call(MetaTrainConfig)


def words_of(out: Path, *bindings: str) -> list[str]:
    return ["--gin_file", TINY, "--out", str(out), *(f"--gin.{one}" for one in (*SMALL, *bindings))]


def rows_in(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def without_speeds(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if not name.endswith("_per_s")} for row in rows]


def by_hand(config: MetaTrainConfig) -> tuple[Any, list[float], dict[str, float]]:
    """The parameters after the run, the loss of each step, and the scores on unseen tasks."""
    learner, mixture = config.learner, config.mixture
    network = network_of(learner)
    sizes: Any = {"examples": learner.examples, "classes": learner.classes}
    bank = bank_for([(one.data, "train") for one in mixture.distributions], learner.features)
    optimizer = optimizer_of(config.optimizer, config.steps)
    begin = jax.jit(lambda key: initial_state(first_params(network, key), optimizer))
    state = begin(jax.random.key(config.seed))
    one = train_step(in_context_loss(network), optimizer)
    step = jax.jit(lambda state, rows: one(state, contexts_of(mixture, bank, rows, **sizes)))
    losses = []
    for number in range(config.steps):
        rows = rows_of(mixture, config.seed, number * config.batch_size, config.batch_size)
        state, metrics = step(state, rows)
        losses.append(float(metrics["loss"].compute()))
    unseen = unseen_evaluation(mixture)
    held_out = bank_for([(unseen.distribution.data, "test")], learner.features)
    rows = judged_rows([unseen], EVAL_CONTEXTS)[0]
    assert (rows[:, 1] >= UNSEEN).all()
    contexts = jax.jit(lambda rows: contexts_of(Mixture([unseen.distribution]), held_out, rows, **sizes))(rows)
    loss, _ = in_context_loss(network)(state.params, contexts)
    logits: Any = network.apply({"params": state.params}, *contexts)
    right = np.asarray(logits.argmax(-1) == contexts.labels_BN)
    return state.params, losses, {"unseen_loss": float(loss), "unseen_last_accuracy": float(right[:, -1:].mean())}


def test_the_command_trains_and_judges_what_the_steps_by_hand_give(
    kit: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words_of(tmp_path)) == 0
    rows = rows_in(tmp_path)
    assert capsys.readouterr().out == f"{tmp_path}: 8 steps, loss {rows[-1]['loss']:.4f}, 32 tasks\n"
    config = config_of(*SMALL)
    params, losses, scores = by_hand(config)
    assert [(row["step"], row["tasks"]) for row in rows] == [(4, 16), (8, 32)]
    assert [row["loss"] for row in rows] == pytest.approx([np.mean(losses[:4]), np.mean(losses[4:])], rel=1e-4)
    assert {name: rows[-1][name] for name in scores} == pytest.approx(scores, rel=1e-3)
    job = in_context_job(config)
    kept = trained_state(job.objective, config, run=str(tmp_path), resident=job.resident)
    for a, b in zip(kit.leaves(kept.params), kit.leaves(params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-5)


def test_stopped_and_resumed_is_unbroken(
    kit: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = iter(range(1, 100))
    with monkeypatch.context() as patch:
        patch.setattr(loop, "any_asked", lambda *_, **__: next(asked) == 6)
        assert main(words_of(tmp_path / "broken")) == 130
    assert "train: stopped after step 6" in capsys.readouterr().err
    assert main(words_of(tmp_path / "broken")) == main(words_of(tmp_path / "unbroken")) == 0
    assert without_speeds(rows_in(tmp_path / "broken")) == without_speeds(rows_in(tmp_path / "unbroken"))
    job = in_context_job(config_of(*SMALL))
    one, other = (
        trained_state(job.objective, job.config, run=str(tmp_path / name), resident=job.resident)
        for name in ("broken", "unbroken")
    )
    kit.assert_same_bytes(one, other)
    for binding, words in (
        ("TASKS=16", "holds a run with mixture"),
        ("learner_config.LearnerConfig.kind='lstm'", "holds a run with learner"),
    ):
        assert main(words_of(tmp_path / "broken", binding)) == 2
        assert words in capsys.readouterr().err


RUN = """
import sys
from workflows.train.__main__ import main
for name, more in {runs!r}.items():
    assert main({words!r} + ["--out", {out!r} + "/" + name, *more]) == 0
"""


@pytest.mark.slow
def test_two_devices_compute_what_one_does(kit: SimpleNamespace, tmp_path: Path) -> None:
    mesh = "--gin.in_context_training.MetaTrainConfig.mesh_data="
    runs = {"one": [mesh + "1"], "data": [mesh + "2"], "model": ["--gin.NUM_PARTITIONS=2"]}
    words = ["--gin_file", TINY, *(f"--gin.{one}" for one in SMALL)]
    process = kit.start(RUN.format(runs=runs, words=words, out=str(tmp_path)), devices=2)
    _, told = process.communicate()
    assert process.returncode == 0, told
    one = rows_in(tmp_path / "one")
    for name in ("data", "model"):
        for row, same in zip(rows_in(tmp_path / name), one, strict=True):
            assert row.keys() == same.keys()
            for key in ("loss", "unseen_loss", "gradient_norm"):
                assert row[key] == pytest.approx(same[key], rel=1e-3), (name, key)


@pytest.mark.parametrize(
    ("binding", "words"),
    [
        ("LEARNERS=3", "unknown gin macro 'LEARNERS'; did you mean LEARNER?"),
        ("tasks.TaskDistribution.noize=0.1", "did you mean noise?"),
        ("tasks.TaskDistribution.noise=-1", "TaskDistribution.noise is -1; give 0 or more"),
        ("learner_config.LearnerConfig.kind='gru'", "unknown learner 'gru'; there are: transformer"),
        ("DATA='nowhere'", "unknown data 'nowhere'; there are: digits"),
        ("learner_config.LearnerConfig.classes=5", "tasks of 10 classes of digits, but the learner has 5; raise"),
        ("learner_config.LearnerConfig.features=60", "60 features are no square image"),
        ("learner_config.LearnerConfig.examples=400", "a context of 400 examples, but 10 classes of digits may have"),
        ("BATCH_SIZE=0", "MetaTrainConfig.batch_size is 0; give a whole number of 1 or more"),
        ("NUM_PARTITIONS=7", "mesh_model=7 does not fit"),
        ("train.TrainConfig.z_loss=1.0", "the gin files configure TrainConfig and MetaTrainConfig; give the files of"),
    ],
)
def test_bad_values_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], binding: str, words: str) -> None:
    assert main(words_of(tmp_path, binding)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("workflows.train: ")
    assert words in line
    assert list(tmp_path.iterdir()) == []


def test_the_kind_of_a_run_is_what_its_files_bind() -> None:
    kinds = {name: kind_of(name) for name in gin_files() if name.startswith("gin/train/")}
    assert (
        {name for name, kind in kinds.items() if kind == ("MetaTrainConfig", "in_context_job")}
        == {name for name in kinds if "in_context" in name}
        != set()
    )
    assert set(kinds.values()) == {
        ("TrainConfig", "language_model_job"),
        ("MetaTrainConfig", "in_context_job"),
        ("DiffusionTrainConfig", "diffusion_job"),
    }
    assert kind_of_run("")[0].__name__ == "TrainConfig"


def kind_of(name: str) -> tuple[str, str]:
    """Of a file that nothing calls yet: required macros may be missing."""
    import gin

    gin.clear_config()
    gin_config._search_our_files()
    gin.parse_config_file(name)
    config_class, job_of = kind_of_run(gin_config.config_text())
    return config_class.__name__, job_of.__name__


def test_a_language_models_run_loads_no_learner() -> None:
    code = (
        "import sys; from workflows.train.__main__ import main; "
        "assert main(['--gin_file', 'gin/train/equal_info_tiny.gin', '--out', '/nowhere', \"--gin.DATA='/no/data'\"]);"
        "print([name for name in sys.modules if 'in_context' in name or name == 'tensorflow'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "/no/data holds neither token files nor a dataset" in done.stderr


def test_the_papers_run_is_that_of_the_papers_experiment() -> None:
    config = config_of(file=PAPER)
    gin_config.parse(["gin/in_context/paper.gin"], modules=["workflows.in_context"])
    settings = gin_config.call(Settings)
    assert config.learner == settings.learner
    theirs = settings.recipe.mixture(settings.data, settings.tasks)
    np.testing.assert_array_equal(rows_of(config.mixture, 0, 0, 9), rows_of(theirs, 0, 0, 9))
    (one,), (other,) = config.mixture.distributions, theirs.distributions
    assert one == replace(other, curriculum_draws=one.curriculum_draws)  # of no account without a curriculum
    assert other.curriculum_from == 0
    assert config.optimizer == settings.recipe.optimizer()
    assert (config.steps, config.batch_size, config.seed) == (settings.steps, settings.recipe.batch, settings.seed)
    assert (config.steps, config.batch_size, config.learner.examples, config.learner.features) == (
        50_000, 128, 100, 32 * 32 * 3,
    )  # fmt: skip
    told = (Path(gin_config.gin_root()) / "gin/in_context/paper.gin").read_text()
    for name in (PAPER, "gin/t5x/in_context_paper.gin"):
        header = (Path(gin_config.gin_root()) / name).read_text()
        for target in ("73.7", "62.2", "53.4"):
            assert target in header, (name, target)
            assert target in told


def test_the_papers_learners_have_their_sizes() -> None:
    """Counted from shapes: no data is read, nothing allocated."""
    gin_config.parse(["gin/in_context/paper.gin"], modules=["workflows.in_context"])
    learners = {(one.kind, one.width): one for grid in gin_config.call(Settings).grids for one in grid.learners}
    assert set(learners) >= {("transformer", 64), ("transformer", 256), ("transformer", 512), ("lstm", 1024)}
    assert {kind for kind, _ in learners} == set(KINDS)
    for (kind, _), one in learners.items():
        d, f, c = one.width, one.features, one.classes
        if kind == "transformer":  # by blocks: attention, its distances, a gated MLP, two norms
            assert one.heads * one.head_width == one.mlp_width // 4 == d
            block = 4 * d * d + one.near * one.head_width + 3 * d * one.mlp_width + 2 * d
            assert parameter_count(one) == one.layers * block + (f + 2 * c) * d + d
        elif kind == "lstm":  # an encoder of two layers, four gates of it and of the layer itself, logits
            encoder, gates = (f + c + 1) * d + (d + 1) * d, 4 * (d + 1) * d + 4 * d * d
            assert parameter_count(one) == encoder + gates + (d + 1) * c
        elif kind == "maml":  # what it begins each task from, and its step size
            assert parameter_count(one) >= (f + 1) * one.mlp_width + (one.mlp_width + 1) * c
        elif kind == "vsml":  # shared by all synapses: it does not grow with examples or classes
            assert parameter_count(one) == parameter_count(replace(one, features=64, classes=2))
        else:  # each reads examples and labels, and ends in logits
            assert parameter_count(one) > (f + 2 * c) * d
