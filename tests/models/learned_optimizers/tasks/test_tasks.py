"""The small tasks: their data, their first losses in closed form, and that Adam makes them fall."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from models.learned_optimizers.tasks import (
    TASKS,
    ImageConfig,
    ImageTaskConfig,
    NoisyQuadraticConfig,
    RNNConfig,
    SequenceConfig,
    Task,
    TransformerConfig,
    autoencoder,
    begin,
    evaluate,
    image_conv,
    image_mlp,
    loss_and_gradient,
    noisy_quadratic,
    normalized,
    rnn_lm,
    task_named,
    transformer_lm,
)
from models.learned_optimizers.tasks.image_tasks import HalvingConvolution
from models.learned_optimizers.tasks.images import images, patterns
from models.learned_optimizers.tasks.sequences import sequences, transitions
from shammie.errors import UserError

KEY = jax.random.key(1)


def quickly(function: Any) -> Any:
    """The function compiled without optimisation, which costs a third of the time and runs briefly all the same."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


def _losses(task: Task, steps: int, learning_rate: float, worlds: int = 1) -> np.ndarray:
    """The losses of training with Adam; [worlds, steps], each before its update."""
    optimizer = optax.adam(learning_rate)

    def train(key: Any) -> jax.Array:
        training = begin(task, key)

        def step(carry: Any, key: Any) -> Any:
            training, state = carry
            loss, gradient, training = loss_and_gradient(task, training, key)
            updates, state = optimizer.update(gradient, state, training.params)
            return (training._replace(params=optax.apply_updates(training.params, updates)), state), loss

        keys = jax.random.split(jax.random.fold_in(key, 1), steps)
        return jax.lax.scan(step, (training, optimizer.init(training.params)), keys)[1]

    run = quickly(jax.vmap(train) if worlds > 1 else lambda keys: train(keys[0])[None])
    return np.asarray(run(jax.random.split(KEY, worlds)))


FAST = ("image_mlp", "noisy_quadratic")


MARKS = {name: () if name in FAST else pytest.mark.slow for name in TASKS}


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks) for name, marks in MARKS.items()])
def test_losses_begin_at_their_closed_form_and_fall(name: str) -> None:
    task = task_named(name)
    worlds = 16 if name == "noisy_quadratic" else 1  # a quadratic's first loss is random, in the mean it is not
    loss = _losses(task, 31, 0.03, worlds).mean(axis=0)
    assert loss[0] == pytest.approx(task.first_loss, rel=0.25 if worlds > 1 else 0.05)
    assert loss[-3:].mean() < 0.95 * loss[0]
    if name not in ("autoencoder", "noisy_quadratic"):
        classes = 10 if name.startswith("image") else 8
        assert task.first_loss == pytest.approx(math.log(classes))


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["vanilla", "lstm"])
def test_other_cells(cell: Any) -> None:
    loss = _losses(rnn_lm(RNNConfig(cell=cell)), 31, 0.03)[0]
    assert loss[0] == pytest.approx(math.log(8), rel=0.05)
    assert loss[-3:].mean() < 0.95 * loss[0]


def test_shapes_and_counts_of_parameters() -> None:
    data, text = ImageConfig(side=4, classes=3), SequenceConfig(vocabulary=5)
    tasks = {
        image_mlp(ImageTaskConfig(data, (7,))): 16 * 7 + 7 + 7 * 3 + 3,
        image_conv(ImageTaskConfig(data, (4, 6))): 9 * 4 + 4 + 36 * 6 + 6 + 6 * 3 + 3,
        autoencoder(ImageTaskConfig(data, (5, 2, 5))): 16 * 5 + 5 + 5 * 2 + 2 + 2 * 5 + 5 + 5 * 16 + 16,
        rnn_lm(RNNConfig(text, 4, "vanilla")): 5 * 4 + 2 * 16 + 4 + 4 * 5 + 5,
        transformer_lm(TransformerConfig(text, 4, 1, 2, 6)): 2 * 5 * 4 + 3 * 4 + 4 * 16 + 3 * 4 * 6 + 12 * 2,
        noisy_quadratic(NoisyQuadraticConfig(rows=3, columns=2)): 6,
    }
    for task, count in tasks.items():
        params = jax.eval_shape(functools.partial(begin, task), KEY).params
        assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params)) == count, task.name
    kernel = jax.eval_shape(functools.partial(begin, image_conv()), KEY).params["convolution_1"]["kernel"]
    assert kernel.shape == (3, 3, 8, 16)
    assert image_mlp() is task_named("image_mlp")


def test_images_are_shifted_patterns_under_noise() -> None:
    config = ImageConfig(side=6, classes=3, shift=1, noise=0.6, batch_size=2000)
    world = np.asarray(quickly(functools.partial(patterns, config))(KEY))
    draw = quickly(functools.partial(images, config))
    np.testing.assert_allclose(world.mean(axis=(1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose((world**2).mean(axis=(1, 2)), 1, rtol=1e-5)
    seen = jax.tree.map(np.asarray, draw(world, KEY))
    counts = np.bincount(seen.labels, minlength=3)
    assert counts.shape == (3,)
    assert np.all(np.abs(counts - 2000 / 3) < 4 * math.sqrt(2000 * 2 / 9))
    # all shifts of all patterns, of which the one of its label explains an image but for noise of 0.6
    shifts = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    moved = np.stack([np.roll(world, shift, (1, 2)) for shift in shifts], 1)  # [classes, shifts, S, S]
    error = np.mean((seen.pixels[:, None, :, :, 0] - 0.8 * moved[seen.labels]) ** 2, axis=(2, 3))
    assert error.min(axis=1).mean() == pytest.approx(0.36, rel=0.05)
    used = np.bincount(error.argmin(axis=1), minlength=9)
    assert np.all(used > 2000 / 9 / 2)
    assert np.mean(seen.pixels**2) == pytest.approx(1, rel=0.02)
    np.testing.assert_array_equal(draw(world, KEY).pixels, seen.pixels)
    assert np.any(np.asarray(draw(world, jax.random.key(2)).pixels) != seen.pixels)


def test_sequences_follow_their_table() -> None:
    config = SequenceConfig(vocabulary=3, length=10, order=2, batch_size=4000)
    table = quickly(functools.partial(transitions, config))(KEY)
    tokens = np.asarray(quickly(functools.partial(sequences, config))(table, KEY))
    assert tokens.shape == (4000, 11)
    counts = np.zeros((3, 3, 3))
    np.add.at(counts, (tokens[:, :-2].ravel(), tokens[:, 1:-1].ravel(), tokens[:, 2:].ravel()), 1)
    probabilities = np.diff(np.asarray(table, np.float64), prepend=0, axis=-1)
    seen = counts.sum(axis=-1, keepdims=True)
    error = np.sqrt(probabilities * (-probabilities + 1) / seen)
    assert np.all(np.abs(counts / seen - probabilities) < 5 * error + 1e-6)
    assert np.abs(probabilities[0] - probabilities[1]).max() > 0.1  # the token before the last matters


def test_the_convolution_is_a_convolution() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(2, 5, 5, 3)).astype(np.float32)
    params = {"kernel": random.normal(size=(3, 3, 3, 4)), "bias": np.arange(4.0)}
    apply: Any = quickly(HalvingConvolution(4).apply)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::2, ::2]
    expected = np.einsum("bijcyx,yxcd->bijd", windows, params["kernel"]) + params["bias"]
    np.testing.assert_allclose(apply({"params": params}, x), expected, rtol=1e-4, atol=1e-4)


def test_quadratics_have_their_closed_forms() -> None:
    config = NoisyQuadraticConfig(rows=3, columns=2, condition=(100.0, 100.0), noise=0.5, start=0.2, batch_size=4)
    task = noisy_quadratic(config)
    assert task.first_loss == pytest.approx((1 + 0.04 + 0.25) / 2)

    def look(key: Any) -> Any:
        training = begin(task, key)
        world = training.world
        best = {"x": (world.axes.T @ world.minimum).reshape(3, 2)}
        at_best = evaluate(task, training._replace(params=best), key, batches=4)
        return evaluate(task, training, key, batches=4), at_best, world

    first, at_best, world = jax.tree.map(np.asarray, quickly(jax.vmap(look))(jax.random.split(KEY, 2000)))
    for found, expected in ((first, task.first_loss), (at_best, 0.25 / 2)):
        assert found.mean() == pytest.approx(expected, abs=4 * float(found.std()) / math.sqrt(2000))
    np.testing.assert_allclose(world.curvatures.mean(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(world.curvatures.max(axis=1) / world.curvatures.min(axis=1), 100, rtol=1e-4)
    squares = np.einsum("nij,nkj->nik", world.axes, world.axes)
    np.testing.assert_allclose(squares, np.broadcast_to(np.eye(6), squares.shape), atol=1e-5)


def test_normalised_losses() -> None:
    task = image_mlp()
    losses = jnp.asarray([task.first_loss, 0.0, 0.5 * task.first_loss, 1e9, jnp.nan, jnp.inf, -jnp.inf])
    np.testing.assert_allclose(normalized(task, losses), [1, 0, 0.5, 1.5, 1.5, 1.5, 1.5], rtol=1e-6)


def test_bad_tasks_are_named() -> None:
    with pytest.raises(UserError, match=r"image_mpl.*image_mlp"):
        task_named("image_mpl")
    cases = [
        (lambda: ImageConfig(noise=2.0), "2.0"),
        (lambda: ImageTaskConfig(widths=(0,)), r"\(0,\)"),
        (lambda: SequenceConfig(order=3), "order is 3"),
        (lambda: TransformerConfig(width=6, heads=4), "6 with 4 heads"),
        (lambda: NoisyQuadraticConfig(condition=(0.5, 2.0)), r"\(0.5, 2.0\)"),
        (lambda: RNNConfig(width=0), "width is 0"),
    ]
    for make, text in cases:
        with pytest.raises(UserError, match=text):
            make()
