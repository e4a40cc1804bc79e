"""Meta-training: it learns, goes on with the same bits, counts, and refuses what does not fit."""

import functools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from models.evolution.estimator import Estimator
from models.learned_optimizers.curriculum import MetaTrainingConfig, Phase, TaskChoice
from models.learned_optimizers.interface import LearnedOptimizer
from models.learned_optimizers.meta_optimizer import held, meta_optimizer_of, schedule_of
from models.learned_optimizers.meta_training import Point, Trained, first_theta, meta_train
from models.learned_optimizers.mlp import MLPConfig
from models.learned_optimizers.star import StarConfig, star
from models.learned_optimizers.tasks import NO_AUGMENTATION, AugmentationConfig, Task
from models.learned_optimizers.velo import VeloConfig, velo
from shammie.errors import UserError

# A task and an optimizer that compile fast; with real ones each test would mostly compile.
BOWL = Task(
    name="bowl",
    draw=lambda key: jax.random.uniform(key, (3,), minval=0.5, maxval=2.0),
    init=lambda world, key: {"x": jnp.ones(3)},
    batch=lambda world, key: 0.1 * jax.random.normal(key, (1, 3)),
    loss=lambda h_D, params, center_BD: jnp.sum(h_D * jnp.square(params["x"] - center_BD[0])),
    first_loss=3.75,
    batch_size=1,
)
OPTIMIZER = LearnedOptimizer(
    "mlp",
    MLPConfig(),
    lambda key: {"w0": jnp.log(0.02) + 0.1 * jax.random.normal(key, (1,))},
    lambda theta, num_steps, **_: optax.with_extra_args_support(optax.sgd(jnp.exp(theta["w0"][0]))),
)


class Bowl(TaskChoice):
    """A choice that no catalogue has."""

    def task(self) -> Task:
        return BOWL


BOWLS = (Bowl("noisy_quadratic"),)
PHASE = Phase(tasks=BOWLS, iterations=6, particles=2, window=2, shortest=4, longest=4)
CONFIG = MetaTrainingConfig((PHASE,), stretch=2, seed=3)


def _same(a: Any, b: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_it_learns() -> None:
    phase = replace(PHASE, iterations=100, particles=16, window=5, shortest=10, longest=20, sigma=0.1)
    trained = meta_train(OPTIMIZER, replace(CONFIG, phases=(phase,), learning_rate=0.03, stretch=25))
    losses = [point.loss for point in trained.curve]
    assert losses[-1] < 0.7 * losses[0]
    assert trained.curve[-1].skipped == 0


def test_what_is_counted() -> None:
    curve = meta_train(OPTIMIZER, CONFIG).curve
    assert [point.iteration for point in curve] == [2, 4, 6]
    # pairs * window steps an iteration; burn-in makes the steps of a whole training first
    assert [point.environment_steps for point in curve] == [2 * 2 * (4 + 2 * done) for done in (2, 4, 6)]
    assert all(point.gradient_norm and point.gradient_norm > 0 for point in curve)
    assert all(0 < point.loss <= 1.5 for point in curve)


class Killed(Exception):
    """What ends a run in a test."""


@pytest.mark.parametrize("at", [pytest.param(2, marks=pytest.mark.slow), 6, pytest.param(9, marks=pytest.mark.slow)])
def test_a_killed_run_goes_on_to_the_same_bits(at: int, tmp_path: Path) -> None:
    """Through two phases, the second of full ES with lengths and tasks that are drawn anew."""
    scaled = replace(NO_AUGMENTATION, scale_levels=("global",), scale_ranges=((0.5, 2.0),))
    second = replace(
        PHASE, estimator="full_es", shortest=2, longest=4, lengths=2, iterations=4, resample_every=3,
        augmentation=scaled, accumulate=2, sign=True,
    )  # fmt: skip
    config = replace(CONFIG, phases=(PHASE, second), final_share=0.1, stretch=1)
    whole = _whole(config)
    path, seen = str(tmp_path / "state"), []

    def kill(point: Point) -> None:
        seen.append(point)
        if point.iteration == at:
            raise Killed

    with pytest.raises(Killed):
        meta_train(OPTIMIZER, config, checkpoint=path, every_seconds=0, tell=kill)
    rest = meta_train(OPTIMIZER, config, checkpoint=path, every_seconds=0, tell=seen.append)
    _same(rest.theta, whole.theta)
    assert rest.curve == whole.curve == seen
    assert [point.phase for point in rest.curve] == [0] * 6 + [1] * 4
    again = meta_train(OPTIMIZER, config, checkpoint=path, tell=lambda point: pytest.fail("nothing is left to do"))
    _same(again.theta, whole.theta)


@functools.cache
def _whole(config: MetaTrainingConfig) -> Trained:
    """The unbroken run, made once."""
    return meta_train(OPTIMIZER, config)


def test_checkpoints_of_others_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    meta_train(OPTIMIZER, CONFIG, checkpoint=str(path))
    with pytest.raises(UserError, match=r"other settings; remove .*state"):
        meta_train(OPTIMIZER, replace(CONFIG, seed=4), checkpoint=str(path))
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(UserError, match="damaged"):
        meta_train(OPTIMIZER, CONFIG, checkpoint=str(path))
    path.write_bytes(b"words")
    with pytest.raises(UserError, match="no checkpoint"):
        meta_train(OPTIMIZER, CONFIG, checkpoint=str(path))


def test_gradients_that_are_not_finite_are_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Phase.estimator_of

    def sometimes(self: Phase, *arguments: Any) -> Estimator:
        one = real(self, *arguments)

        def gradient(theta: Any, workers: Any, key: Any) -> Any:
            found, workers, info = one.gradient(theta, workers, key)
            bad = jax.random.bernoulli(key, 0.5)
            return jax.tree.map(lambda x: jnp.where(bad, jnp.nan, x), found), workers, info

        return replace(one, gradient=gradient)

    monkeypatch.setattr(Phase, "estimator_of", sometimes)
    trained = meta_train(OPTIMIZER, replace(CONFIG, phases=(replace(PHASE, iterations=20),)))
    assert 4 <= trained.curve[-1].skipped <= 16
    assert [point.skipped for point in trained.curve] == sorted(point.skipped for point in trained.curve)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(trained.theta))
    first = first_theta(OPTIMIZER, CONFIG, jax.random.key(0))
    assert any((a != b).any() for a, b in zip(jax.tree.leaves(trained.theta), jax.tree.leaves(first), strict=True))


def test_the_learning_rate_rises_and_falls() -> None:
    config = replace(CONFIG, phases=(replace(PHASE, iterations=100),), learning_rate=2.0, final_share=0.1, warmup=10)
    rate = schedule_of(config)
    np.testing.assert_allclose(rate(0), 0.2, rtol=1e-6)
    np.testing.assert_allclose(rate(50), 2 * (0.1 + 0.9 / 2), rtol=1e-6)
    np.testing.assert_allclose([rate(100), rate(200)], 0.2, rtol=1e-6)
    np.testing.assert_allclose(schedule_of(CONFIG)(5), CONFIG.learning_rate, rtol=1e-6)


def test_a_held_optimizer_moves_nothing() -> None:
    rule: Any = meta_optimizer_of(replace(CONFIG, theta_decay=0.1))
    theta = {"w0": jnp.ones(2)}
    state = rule.init(theta)
    updates, after = rule.update(theta, held(state), theta)
    np.testing.assert_array_equal(updates["w0"], 0)
    _same(after, held(state))
    updates, after = rule.update(theta, state, theta)
    # Adam's first step is the learning rate, and the decay comes to it
    np.testing.assert_allclose(updates["w0"], -1e-3 * 1.1, rtol=1e-4)


def test_theta_decays_by_the_learning_rate() -> None:
    """With a gradient bounded to nothing, only the decay moves theta."""
    config = replace(CONFIG, learning_rate=0.1, theta_decay=0.5, clip_value=1e-30)
    first = jax.tree.map(np.asarray, first_theta(OPTIMIZER, config, jax.random.fold_in(jax.random.key(3), 0)))
    last = meta_train(OPTIMIZER, config).theta
    np.testing.assert_allclose(last["w0"], first["w0"] * 0.95**6, rtol=1e-5)


def test_the_first_theta() -> None:
    rule, key = star(StarConfig()), jax.random.key(0)
    whole, none = (first_theta(rule, replace(CONFIG, last_layer_scale=s), key)["network"] for s in (1.0, 0.0))
    assert np.abs(whole["w2"]).max() > 0
    np.testing.assert_array_equal(none["w2"], 0)
    np.testing.assert_array_equal(none["w1"], whole["w1"])
    with pytest.raises(UserError, match=r"last_layer_scale is 0\.5 for velo"):
        first_theta(velo(VeloConfig(lstm_size=2, bank_size=2)), replace(CONFIG, last_layer_scale=0.5), key)


def test_phases_in_numbers() -> None:
    assert replace(PHASE, iterations=7, resample_every=3).segments() == [3, 3, 1]
    full = replace(PHASE, estimator="full_es", shortest=10, longest=1000, lengths=3)
    assert full.horizons() == [10, 100, 1000]
    assert not full.drawn
    assert full.steps_per_iteration() == 2 * 2 * 370
    assert replace(full, lengths=0).drawn
    np.testing.assert_allclose(replace(full, lengths=0).steps_per_iteration(), 4 * 990 / np.log(100))
    assert replace(PHASE, tasks=BOWLS * 3, accumulate=5).steps_per_iteration() == 2 * 2 * 2 * 3 * 5
    assert replace(PHASE, estimator="truncated_es").steps_per_iteration() == 3 * 2 * 2
    assert (PHASE.burn_in(), replace(PHASE, longest=5, window=2, accumulate=2).burn_in(), full.burn_in()) == (2, 2, 0)


def test_tasks_are_drawn_anew_by_their_key() -> None:
    phase = replace(PHASE, augmentation=AugmentationConfig(reduced_batch=1.0), tasks=BOWLS * 2)
    names = {tuple(task.name for task in phase.tasks_of(jax.random.key(n))) for n in range(6)}
    assert len(names) > 1
    assert [task.name for task in PHASE.tasks_of(jax.random.key(0))] == ["bowl"]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: TaskChoice("image_mpl"), "did you mean image_mlp"),
        (lambda: replace(PHASE, estimator="nrse"), "did you mean nres"),
        (lambda: replace(PHASE, tasks=()), "tasks is empty"),
        (lambda: replace(PHASE, shortest=5), "Phase.shortest is 5 and Phase.longest 4"),
        (lambda: replace(PHASE, window=8), "window is 8 and the problem's horizon 4"),
        (lambda: replace(PHASE, lengths=2), "Phase.lengths is 2 with nres"),
        (lambda: replace(PHASE, iterations=0), "Phase.iterations is 0"),
        (lambda: replace(PHASE, iterations=2.5), "Phase.iterations is 2.5; give a whole number"),
        (lambda: replace(PHASE, shortest=0), "Phase.shortest is 0"),
        (lambda: replace(PHASE, sigma=0.0), "sigma is 0.0"),
        (lambda: replace(CONFIG, phases=()), "phases is empty"),
        (lambda: replace(CONFIG, learning_rate=0.0), "learning_rate is 0.0"),
        (lambda: replace(CONFIG, theta_decay=-1.0), "theta_decay is -1.0"),
        (lambda: replace(CONFIG, stretch=0), "stretch is 0"),
    ],
)
def test_bad_settings(make: Any, text: str) -> None:
    with pytest.raises(UserError, match=text):
        make()


SPREAD = """
import jax, numpy as np
from dataclasses import replace
from models.learned_optimizers import meta_training
from tests.models.learned_optimizers import test_meta_training as here
seen = []
real = meta_training.advance
def watched(estimator, optimizer, state, *rest, **words):
    seen.append(len(jax.tree.leaves(state.workers)[0].sharding.device_set))
    return real(estimator, optimizer, state, *rest, **words)
meta_training.advance = watched
config = replace(here.CONFIG, phases=(replace(here.PHASE, tasks=here.BOWLS * 2),))
found = meta_training.meta_train(here.OPTIMIZER, config)
assert set(seen) == {jax.device_count()}, seen
print([float(point.gradient_norm) for point in found.curve])
"""


@pytest.mark.slow  # processes of their own, with one device and with two
def test_workers_spread_over_devices() -> None:
    norms = []
    for devices in (1, 2):
        code = f"import os\nos.environ['XLA_FLAGS'] = '--xla_force_host_platform_device_count={devices}'\n" + SPREAD
        root = Path(__file__).parents[3]
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=root)
        assert done.returncode == 0, done.stderr
        norms.append([float(x) for x in done.stdout.strip().strip("[]").split(",")])
    np.testing.assert_allclose(norms[0], norms[1], rtol=1e-3)
    assert min(norms[0]) > 0
