"""In-context learners under T5X: the bundled trainer's steps, rows and scores. What is marked t5x needs T5X."""

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

from models.in_context.learner import parameter_count
from models.in_context.learner_config import LearnerConfig
from models.in_context.tasks import Mixture, TaskDistribution
from models.training import OptimizerConfig
from workflows import gin_config
from workflows.in_context_training import EVAL_CONTEXTS, MetaTrainConfig, in_context_job
from workflows.train import exchange, train_job
from workflows.train.__main__ import MODULES
from workflows.train.compute import compute_of
from workflows.train.mesh import make_mesh

ROOT = Path(__file__).parents[3]
TINY, PAPER = "gin/t5x/in_context_tiny.gin", "gin/t5x/in_context_paper.gin"
SMALL = ["CHECKPOINT_EVERY=2", "EVAL_EVERY=2", "LOG_EVERY=1", "KEEP=9", "TASKS=64"]
LEARNER = LearnerConfig(width=16, layers=1, heads=2, head_width=8, mlp_width=16, examples=12)
MIXTURE = Mixture(
    [TaskDistribution(tasks=9), TaskDistribution(tasks=9, classes=2, projection="orthogonal")], (2.0, 1.0)
)
STEPS = 3

MODEL = """
import sys
sys.path[:0] = [{here!r}, {root!r}]
import stand_in; stand_in.install()
import inspect
import jax, jax.numpy as jnp, numpy as np
from models.in_context.contexts import contexts_of
from models.in_context.learner import first_params, network_of
from models.in_context.learner_config import LearnerConfig
from models.in_context.objective import in_context_loss
from models.in_context.tasks import Mixture, TaskDistribution, rows_of, unseen_rows
from seqio_tasks.base_sets import bank_for
from shammie.errors import UserError
from workflows import t5x_checks, t5x_contract
from workflows.in_context_t5x import InContextLearner, in_context_task

learner, mixture = {learner!r}, {mixture!r}
for name, asked in inspect.getmembers(t5x_contract.ModelContract, inspect.isfunction):
    if not name.startswith("_"):
        ours, wanted = (inspect.signature(one).parameters for one in (getattr(InContextLearner, name), asked))
        assert list(ours)[: len(wanted)] == list(wanted), name
model = InContextLearner(learner, mixture, microbatches=2)
assert model.FEATURE_CONVERTER_CLS.__name__ == "PassThroughFeatureConverter"
sizes = dict(examples=learner.examples, classes=learner.classes)
network = network_of(learner)
variables = model.get_initial_variables(jax.random.key(3), {{}})
params = first_params(network, jax.random.key(3))
assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), variables["params"].unfreeze(), params))

rows, unseen = rows_of(mixture, 5, 0, 6), unseen_rows(6)
assert set(rows[:, 0]) == {{0, 1}}
train = bank_for([(one.data, "train") for one in mixture.distributions], learner.features)
test = bank_for([(mixture.distributions[0].data, "test")], learner.features)
# the model's contexts: of seen tasks those of the training, of unseen ones those over held-out images
plain = Mixture([TaskDistribution(mixture.distributions[0].data)])
made = lambda mixture, bank, rows: jax.jit(lambda rows: contexts_of(mixture, bank, rows, **sizes))(rows)
expected = [made(mixture, train, rows), made(plain, test, unseen)]
mixed = np.stack([rows, unseen], axis=1).reshape(-1, 3)
x, labels = jax.jit(lambda rows: model.ours({{"targets": rows}}))(mixed)
for place, (x_BNF, labels_BN) in enumerate(expected):
    np.testing.assert_array_equal(labels[place::2], labels_BN)
    np.testing.assert_allclose(x[place::2], x_BNF, rtol=1e-5, atol=1e-5)
assert np.abs(x[1::2] - made(mixture, train, unseen).x_BNF).max() > 0.5

@jax.jit
def told_of(params, rows):
    batch = {{"targets": rows}}
    guesses, aux = model.predict_batch_with_aux(params, batch, rng=None)
    scores, (loss, metrics) = model.score_batch(params, batch), model.eval_fn(params, batch)
    assert model.score_batch(params, batch, return_intermediates=True)[1] == {{}}
    return guesses, aux["log_probabilities"], scores, loss, metrics, model.loss_fn(params, batch, None)[0]

for (x, labels), these in zip(expected, (rows, unseen)):
    log_p = jax.nn.log_softmax(network.apply({{"params": params}}, x, labels))
    told = np.take_along_axis(np.asarray(log_p), np.asarray(labels)[..., None], axis=-1)[..., 0]
    guesses, log_probabilities, scores, loss, metrics, half = told_of(variables["params"], these)
    assert guesses.shape == (6, learner.examples) and guesses.dtype == jnp.int32
    np.testing.assert_array_equal(guesses, log_p.argmax(-1))
    np.testing.assert_allclose(log_probabilities, told, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(scores, told.sum(1), rtol=1e-4)
    np.testing.assert_allclose(loss, -told.mean(), rtol=1e-4)
    np.testing.assert_allclose(metrics["accuracy"].compute(), np.mean(guesses == labels), rtol=1e-5)
    np.testing.assert_allclose(half, loss / 2, rtol=1e-6)

import seqio
name = in_context_task(mixture, seed=5, steps=2, batch_size=3)
found = seqio.get_mixture_or_task(name).get_dataset(split="train", sequence_length=None).as_numpy_iterator()
np.testing.assert_array_equal([row["targets"] for row in found], rows)
t5x_checks.latest_step = lambda path: 1  # a checkpoint, after which the rows go on
resumed = in_context_task(mixture, seed=5, steps=2, batch_size=3, checkpoints=("", "anywhere"))
found = seqio.get_mixture_or_task(resumed).get_dataset(split="train", sequence_length=None).as_numpy_iterator()
np.testing.assert_array_equal([row["targets"] for row in found], rows[3:])
found = seqio.get_mixture_or_task(name).get_dataset(split="unseen", sequence_length=None).as_numpy_iterator()
np.testing.assert_array_equal([row["targets"] for row in found][:6], unseen)
try:
    InContextLearner(LearnerConfig(classes=5), mixture)
except UserError as error:
    print(error)
"""


def config_of(*bindings: str) -> MetaTrainConfig:
    gin_config.parse(["gin/train/in_context_tiny.gin"], [*SMALL, *bindings], modules=MODULES)
    return gin_config.call(MetaTrainConfig)


def test_contexts_predictions_and_scores() -> None:
    """Beside T5X's stand-in, so in a process of its own."""
    code = MODEL.format(here=str(Path(__file__).parent), root=str(ROOT), learner=LEARNER, mixture=MIXTURE)
    quick = {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env=quick, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told = "tasks of 10 classes of digits, but the learner has 5; raise LearnerConfig.classes"
    assert done.stdout.splitlines()[-1].startswith(told)


@pytest.mark.parametrize("real", [False, pytest.param(True, marks=pytest.mark.t5x)])
def test_gin_files_configure_the_bundled_trainers_runs(parse, request, real: bool) -> None:
    if real:
        request.getfixturevalue("t5x")
    run = lambda file, *bindings: {"script": "train", "files": [file], "bindings": ["MODEL_DIR = 'x'", *bindings]}  # noqa: E731
    jobs = [run(TINY), run(PAPER, "DATA = 'digits'"), run(TINY, "NUM_PARTITIONS = 2")]
    jobs += [run(TINY, "DATA = 'nowhere'"), run(TINY, "TASKS = -1"), {**run(TINY), "bindings": []}]
    tiny, paper, *bad = parse(jobs, real=real, devices=1)
    for file, found in (("gin/train/in_context_tiny.gin", tiny), ("gin/train/in_context_paper.gin", paper)):
        gin_config.parse([file], modules=MODULES)
        config = gin_config.call(MetaTrainConfig)
        assert LearnerConfig(**found["config"]) == config.learner
        assert (found["total_steps"], found["batch_size"]) == (config.steps, config.batch_size)
        assert found["task_feature_lengths"] == {"targets": 3}
        assert found["save_dataset"] is False
    assert parameter_count(LearnerConfig(**paper["config"])) == 5_000_960
    for run, words in zip(
        bad,
        (
            "NUM_PARTITIONS=2: on processors T5X shares matrices over all 1 devices",
            "unknown data 'nowhere'; there are: digits",
            "TaskDistribution.tasks is -1; give 1 to",
            "MODEL_DIR must be set",
        ),
        strict=True,
    ):
        assert words in run["error"]
        assert "\n" not in run["error"]


@pytest.mark.t5x
@pytest.mark.usefixtures("t5x")
@pytest.mark.parametrize(("kind", "microbatches"), [("transformer", 1), ("transformer", 2), ("linear_recurrence", 1)])
def test_steps_are_the_bundled_trainers(kind: Any, microbatches: int, tmp_path: Path) -> None:
    from t5x import partitioning, train_state, trainer  # pyright: ignore[reportMissingImports]

    from workflows import t5x_adapter
    from workflows.in_context_t5x import InContextLearner

    learner = LearnerConfig(**{**vars(LEARNER), "kind": kind})
    config = MetaTrainConfig(
        learner=learner,
        mixture=MIXTURE,
        optimizer=OptimizerConfig("adam", 1e-2, warmup_steps=1),
        batch_size=4,
        steps=STEPS,
        log_every=1,
        eval_every=0,
        checkpoint_every=0,
        microbatches=microbatches,
    )
    job = in_context_job(config)
    ours = train_job(job, str(tmp_path / "ours"))
    parts = None if microbatches == 1 else microbatches
    model = InContextLearner(learner, MIXTURE, config.optimizer, steps=STEPS, microbatches=parts)
    begun, _ = compute_of(job.objective, config, make_mesh(1, 1), job.resident).start(config.seed)
    params = flax.core.freeze(jax.device_get(begun.params))
    variables = model.get_initial_variables(jax.random.key(1), {})
    state: Any = train_state.FlaxOptimTrainState.create(model.optimizer_def, variables).replace_params(params)
    rules = partitioning.standard_logical_axis_rules(additional_rules=[("features", None), ("classes", None)])
    partitioner = t5x_adapter.partitioner(learner, num_partitions=1, logical_axis_rules=rules)
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
        told = theirs.train(iter([{"targets": job.load(step, 1)}]), 1).result()
        assert told["loss"].value == pytest.approx(row["loss"], rel=1e-5)
        assert told["accuracy"].value == pytest.approx(row["accuracy"], rel=1e-6)
    after, first = theirs.train_state.params.unfreeze(), begun.params
    for a, b, start in zip(*map(jax.tree.leaves, (after, ours.state.params, first)), strict=True):
        change = np.asarray(b) - np.asarray(start)
        assert np.abs(change).max() > 0
        np.testing.assert_allclose(np.asarray(a) - np.asarray(start), change, rtol=2e-2, atol=1e-4)
    # what T5X saves of such a run is what the trainer's state becomes
    path = exchange.write(ours.state, str(tmp_path / "t5x"))
    places = compute_of(job.objective, config, make_mesh(1, 1), job.resident).places[0]
    for a, b in zip(*map(jax.tree.leaves, (exchange.read(path, places), ours.state)), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.t5x
@pytest.mark.usefixtures("t5x")
def test_a_run_resumes_and_changes_trainers(tmp_path: Path, launch, losses) -> None:
    def unseen_of(log: str) -> dict[int, tuple[float, float]]:
        pattern = r"\[(\d+)\] collection=training_eval/\S+ .*last_accuracy=([\d.e+-]+), loss=([\d.e+-]+)"
        return {int(step): (float(loss), float(right)) for step, right, loss in re.findall(pattern, log)}

    given = [*SMALL, f"MODEL_DIR='{tmp_path}/t5x'"]
    begun = launch("train", [TINY], [*given, "STEPS=2"])
    assert sorted(losses(begun)) == [1, 2]
    resumed = launch("train", [TINY], [*given, "STEPS=4", "training.OptimizerConfig.factors='constant'"])
    theirs = losses(resumed)
    assert sorted(theirs) == [3, 4]

    # the bundled trainer goes on from T5X's checkpoint: the same rows, losses and scores
    start = [f"START_FROM='{tmp_path}/t5x/checkpoint_2'", "STEPS=4", "training.OptimizerConfig.factors='constant'"]
    ours = train_job(in_context_job(config_of(*start)), str(tmp_path / "ours"))
    assert {row["step"]: row["loss"] for row in ours.rows} == pytest.approx(theirs, rel=1e-5)
    last = ours.rows[-1]
    config = config_of()
    assert 32 * config.batch_size == EVAL_CONTEXTS  # EVAL_BATCHES of the gin file: the same contexts
    assert unseen_of(resumed)[4] == pytest.approx((last["unseen_loss"], last["unseen_last_accuracy"]), rel=1e-4)

    for bindings, words in (
        (["DATA='nowhere'"], "unknown data 'nowhere'; there are: digits"),
        (["LENGTH=3"], "unknown gin macro 'LENGTH'"),
        (["learner_config.LearnerConfig.width=16"], "the checkpoint is another model's"),
    ):
        line = launch("train", [TINY], [*given, "STEPS=6", *bindings], well=False).splitlines()[-1]
        assert line.startswith("t5x: ")
        assert words in line
    assert "Finished" in launch("train", [TINY], [*given, "STEPS=4"])  # nothing is left to do


@pytest.mark.t5x
@pytest.mark.usefixtures("t5x")
def test_devices_share_the_matrices(tmp_path: Path, launch, losses, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    monkeypatch.setenv("JAX_USE_SIMPLIFIED_JAXPR_CONSTANTS", "1")  # the data sets are no part of what is compiled
    for name, devices, more in (("1", 1, []), ("2x2", 4, ["NUM_PARTITIONS=None", "SUBMESH=(1, 2, 1, 1)"])):
        monkeypatch.setenv("XLA_FLAGS", f"--xla_force_host_platform_device_count={devices}")
        found.append(losses(launch("train", [TINY], [*SMALL, f"MODEL_DIR='{tmp_path}/{name}'", "STEPS=2", *more])))
    assert found[1] == pytest.approx(found[0], rel=1e-4)
    assert len(found[0]) == 2
