"""Meta-training on two clusters and their mirror image: what a tiny learner learns in seconds."""

import functools
import json
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.in_context.base_data import Bank, Examples, bank_of
from models.in_context.contexts import contexts_of
from models.in_context.judging import Evaluation, judged_rows
from models.in_context.learner import first_params, network_of
from models.in_context.learner_config import LearnerConfig
from models.in_context.meta_training import MetaTraining, Program, from_json, meta_train, program_of, shape_of
from models.in_context.objective import in_context_loss, position_scores
from models.in_context.tasks import Mixture, TaskDistribution, rows_of
from models.training import OptimizerConfig, initial_state, optimizer_of, train_step
from shammie.configs import plain
from shammie.errors import UserError

F, N, C = 4, 10, 2
LEARNER = LearnerConfig(
    features=F, classes=C, examples=N, width=16, layers=1, heads=2, head_width=8, mlp_width=16, near=4, shifted=True
)
TRAINING = MetaTraining(
    LEARNER,
    Mixture([TaskDistribution(tasks=2**20)]),
    OptimizerConfig(learning_rate=0.02, warmup_steps=20),
    batch=32,
    steps=200,
    points=4,
    evaluations=[
        Evaluation("unseen"),
        Evaluation("seen", TaskDistribution(tasks=2**20), seen=True, split="train"),
        Evaluation("rotated", TaskDistribution(projection="orthogonal")),
        Evaluation("shuffled", TaskDistribution(label_noise=1.0)),
    ],
)


@functools.cache
def data(seed: int) -> Examples:
    rng = np.random.default_rng(seed)
    labels_M = np.arange(200, dtype=np.int32) % C
    x_MF = np.where(labels_M == 0, 1.0, -1.0)[:, None] + 0.3 * rng.standard_normal((200, F))
    return Examples(x_MF.astype(np.float32), labels_M)


def banks(training: MetaTraining) -> tuple[Bank, Bank]:
    trained = [data(0)] * len(training.mixture.distributions)
    return bank_of(trained, F), bank_of([data(1)] * len(training.evaluations), F)


@functools.cache
def program() -> Program:
    return program_of(TRAINING, *banks(TRAINING))


def test_a_learner_learns_to_learn() -> None:
    """Unseen tasks of other examples end near 1; without a label told, or with none that is true, it is at chance."""
    scores = meta_train(TRAINING, program())
    assert scores.losses_P.shape == (4,)
    assert (scores.accuracy_EPN.shape, scores.nats_EPN.shape) == ((4, 4, N), (4, 4, N))
    assert scores.losses_P[0] > 1.5 * scores.losses_P[-1]
    unseen, seen, rotated, shuffled = scores.accuracy_EPN[:, -1]
    assert min(unseen[1:].min(), seen[1:].min(), rotated[1:].min()) > 0.95
    assert scores.nats_EPN[0, -1, 1:].max() < 0.2
    assert unseen[0] == pytest.approx(1 / C, abs=4 * 0.5 / 256**0.5)
    assert scores.nats_EPN[:3, -1, 0] == pytest.approx(np.log(C), abs=0.1)
    assert shuffled.mean() == pytest.approx(1 / C, abs=0.05)
    assert scores.nats_EPN[3, -1, 1:].mean() > 1.5  # and it is sure all the same


def test_each_context_of_a_training_is_met_once_in_order() -> None:
    """The rows of all points are those of `rows_of`, as a program that only keeps them tells."""
    told: list[Any] = []
    zeros = jnp.zeros((4, N)), jnp.zeros((4, N))
    state = initial_state(jnp.zeros(1), optimizer_of(TRAINING.optimizer, 1))
    keeping = Program(
        lambda seed: state,
        lambda state, rows, rate: (told.append((rows, rate)), (state, jnp.zeros(())))[1],
        lambda *_: zeros,
    )
    training = replace(TRAINING, seed=9)
    meta_train(training, keeping)
    assert [rows.shape for rows, _ in told] == [(50, 32, 3)] * 4
    every = np.concatenate([rows for rows, _ in told]).reshape(-1, 3)
    assert np.array_equal(every, rows_of(training.mixture, 9, 0, 200 * 32))
    assert [float(rate) for _, rate in told] == pytest.approx([0.02] * 4)


def test_scores_are_those_of_the_contexts() -> None:
    made = first_params(network_of(LEARNER), jax.random.key(3))
    rows_ER3 = judged_rows(TRAINING.evaluations, TRAINING.contexts)
    assert rows_ER3.shape == (4, 256, 3)
    assert rows_ER3[:, 0, 0].tolist() == [0, 1, 2, 3]
    accuracy_EN, nats_EN = program().score(made, jnp.asarray(rows_ER3))
    for which in (2, 3):
        one = TRAINING.evaluations[which]
        make = functools.partial(contexts_of, Mixture([one.distribution]), examples=N, classes=C)
        contexts = jax.jit(make)(bank_of([data(1)], F), jnp.asarray(one.rows(256)))
        accuracy_N, nats_N = position_scores(network_of(LEARNER), made, contexts)
        np.testing.assert_allclose(nats_EN[which], nats_N, rtol=1e-4)
        np.testing.assert_allclose(accuracy_EN[which], accuracy_N, atol=2 / 256)


def test_seen_tasks_are_those_met_by_each_point() -> None:
    told: list[Any] = []
    zeros = jnp.zeros((2, N)), jnp.zeros((2, N))
    state = initial_state(jnp.zeros(1), optimizer_of(TRAINING.optimizer, 1))
    keeping = Program(lambda seed: state, lambda *_: (state, jnp.zeros(())), lambda _, r: (told.append(r), zeros)[1])
    evaluations = [Evaluation("unseen"), Evaluation("seen", TaskDistribution(tasks=2**20), met=True)]
    training = replace(TRAINING, evaluations=evaluations, seed=4, batch=2, steps=40, contexts=64)
    assert shape_of(training) == shape_of(replace(training, evaluations=[evaluations[0], Evaluation("seen")]))
    meta_train(training, keeping)
    every = rows_of(training.mixture, 4, 0, 80)[:, 1].tolist()
    assert len({*every}) == 80
    for point, rows_ER3 in enumerate(told):
        met = every[: 20 * (point + 1)]
        ids = rows_ER3[1, :, 1].tolist()
        assert {*ids} == {*met} if point < 3 else len({*ids}) == 64 and {*ids} <= {*met}
        assert np.array_equal(rows_ER3[0, :, 2], rows_ER3[1, :, 2])
    assert len(told) == 4


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"seed": 5, "learning_rate": 0.003, "tasks": 8},
        {"learning_rate": 0.01, "curriculum_from": 2, "curriculum_draws": 100},
    ],
)
def test_the_groups_program_is_each_trainings_own(changed: dict[str, Any]) -> None:
    """One program for all seeds, learning rates and numbers of tasks gives what a plain loop of steps gives."""
    changed = dict(changed)
    training = replace(
        TRAINING,
        seed=changed.pop("seed", 0),
        optimizer=replace(TRAINING.optimizer, learning_rate=changed.pop("learning_rate", 0.02)),
        mixture=Mixture([replace(TRAINING.mixture.distributions[0], **changed)]),
    )
    assert shape_of(training) == shape_of(TRAINING)
    size = 50
    state = program().start(training.seed)
    rows = rows_of(training.mixture, training.seed, 0, size * training.batch).reshape(size, training.batch, 3)
    network, optimizer = network_of(LEARNER), optimizer_of(training.optimizer, training.steps)
    step = jax.jit(train_step(in_context_loss(network), optimizer))
    make = jax.jit(functools.partial(contexts_of, training.mixture, banks(training)[0], examples=N, classes=C))
    own, losses = initial_state(first_params(network, jax.random.key(training.seed)), optimizer), []
    for rows_B3 in rows:
        own, metrics = step(own, make(rows_B3))
        losses.append(float(metrics["loss"].compute()))
    state, loss = program().train(state, jnp.asarray(rows), jnp.float32(training.optimizer.learning_rate))
    assert int(state.step) == size
    assert float(loss) == pytest.approx(np.mean(losses), rel=1e-3)
    moved = 0.0
    for one, other, first in zip(
        *map(jax.tree.leaves, (state.params, own.params, program().start(training.seed).params)), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=5e-3 * float(jnp.abs(other - first).max()) + 1e-6)
        moved = max(moved, float(jnp.abs(other - first).max()))
    assert moved > 0.01


@pytest.mark.parametrize(
    "changed",
    [
        {"batch": 16},
        {"steps": 400},
        {"learner": replace(LEARNER, width=32)},
        {"optimizer": replace(TRAINING.optimizer, weight_decay=0.1)},
        {"optimizer": replace(TRAINING.optimizer, warmup_steps=10)},
        {"mixture": Mixture([TaskDistribution(biased_share=0.5)])},
        {"mixture": Mixture([TaskDistribution(seed=1)])},
        {"evaluations": TRAINING.evaluations[:2]},
        {"contexts": 64},
    ],
)
def test_other_trainings_have_another_shape(changed: dict[str, Any]) -> None:
    other = replace(TRAINING, **changed)
    assert shape_of(other) != shape_of(TRAINING)
    assert hash(shape_of(other)) != hash(shape_of(TRAINING))


def test_plain_json_is_the_training() -> None:
    mixed = Mixture([TaskDistribution(), TaskDistribution(data="random", repeat=True, classes=3)], [1.0, 2.5])
    for one in (MetaTraining(), TRAINING, replace(TRAINING, mixture=mixed)):
        assert from_json(json.loads(json.dumps(plain(one)))) == one
    told = plain(TRAINING)
    told["mixture"]["distributions"][0]["biased_share"] = 2
    with pytest.raises(UserError, match="biased_share is 2"):
        from_json(told)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"batch": 0}, "batch is 0"),
        ({"steps": 0}, "steps is 0"),
        ({"steps": 101}, "101 steps with 4 points"),
        ({"contexts": 65}, "contexts is 65"),
        ({"evaluations": [Evaluation("same"), Evaluation("same")]}, "same, same"),
        ({"optimizer": OptimizerConfig(name="star")}, "star"),
        ({"optimizer": OptimizerConfig(factors="linear_warmup * rsqrt_decay")}, "factors"),
    ],
)
def test_bad_trainings_are_named(changed: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        replace(TRAINING, **changed)


def test_data_that_does_not_fit_is_named_before_anything_is_compiled() -> None:
    many = Examples(data(0).x_MF, np.arange(200, dtype=np.int32) % 3)
    bank, judging = banks(TRAINING)
    with pytest.raises(UserError, match="tasks of 3 classes"):
        program_of(TRAINING, bank_of([many], F), judging)
    with pytest.raises(UserError, match="tasks of 3 classes"):
        program_of(TRAINING, bank, bank_of([data(0), data(0), many, data(0)], F))
