"""Grids of small trainings: what a cell is, and that many at a time are the same as one by one."""

import functools
from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from models.parameterization import text
from models.parameterization.byte_mlp import ByteMLP, ByteMLPConfig, byte_mlp_roles, draw_byte_mlp, product
from models.parameterization.grid import Shape, Training
from models.parameterization.group_training import (
    batches,
    curve,
    final_loss,
    first_values,
    inputs_and_targets,
    losses_of,
)
from models.parameterization.parameterized import Parameterized
from models.parameterization.scaling import ParameterizationConfig
from models.training import OptimizerConfig, cross_entropy, optimizer_of
from shammie.errors import UserError

SMALL = Shape(width=8, batch=4, steps=24, warmup_steps=5)


def _training(
    name: str = "standard", shape: Shape = SMALL, log2_rate: float = -5.0, seed: int = 0, **more: object
) -> Training:
    scaled = ParameterizationConfig(name, shape.optimizer, base_width=2, **more)  # pyright: ignore[reportArgumentType]
    return Training(shape, scaled, log2_rate, seed, text.text_digest())


def test_symbols_are_letters_without_case_and_six_classes() -> None:
    assert text.symbols_of("aZ \n7'(.é").tolist() == [0, 25, 26, 27, 28, 29, 30, 31, 31]
    whole = text.topic_symbols()
    assert len(whole) > 400_000
    assert set(np.unique(whole)) == set(range(32))


def test_windows_are_of_the_text_and_fresh_for_each_seed() -> None:
    found = text.windows(3, 5, 2, 7)
    assert (found.shape, found.dtype) == ((5, 2, 7), np.uint8)
    assert found[4, 1].tobytes() in text.topic_symbols().tobytes()
    assert np.array_equal(found, text.windows(3, 5, 2, 7))
    assert not np.array_equal(found, text.windows(4, 5, 2, 7))
    assert len({one.tobytes() for one in found.reshape(10, 7)}) > 5


def test_another_text_is_refused() -> None:
    text.check_text(text.text_digest())
    with pytest.raises(UserError, match="over text 0123"):
        text.check_text("0123")
    with pytest.raises(UserError, match="over text 0123"):
        losses_of([replace(_training(), text="0123")], "loop")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "mpl"}, "unknown model 'mpl'; did you mean mlp"),
        ({"model": "lm", "width": 40}, "the width 40 is not a multiple of the head width 16; give 32 or 48"),
        ({"optimizer": "adma"}, "unknown optimizer 'adma'"),
        ({"steps": 0}, "a training's steps is 0"),
        ({"symbols": 31}, "a training's symbols are 31"),
        ({"schedule": "cosine"}, "unknown learning rate factor 'cosine'"),
    ],
)
def test_shapes_that_cannot_be_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Shape(**settings)  # pyright: ignore[reportArgumentType]


def test_rates_of_another_optimizer_are_refused() -> None:
    with pytest.raises(UserError, match="rates are for 'sgd', and the optimizer is 'adam'"):
        Training(SMALL, ParameterizationConfig("standard", "sgd"), 0.0, 0, text.text_digest())


def test_a_training_and_its_json_are_the_same() -> None:
    one = _training("mup", alignment="none", per_layer=False, epsilon="per_layer", rates=(1.0, 2.0, 0.5))
    plain = one.to_json()
    assert Training.from_json({**plain, "more": 1}) == one
    assert all(isinstance(value, bool | int | float | str | list) for value in plain.values())
    assert (plain["parameterization"], plain["optimizer"], plain["width"]) == ("mup", "adam", 8)


def test_first_values_are_drawn_as_the_network_draws_them() -> None:
    config = ByteMLPConfig(places=3, width=64, hidden=2)
    own = ByteMLP(config).init(jax.random.key(0), jnp.zeros((1, 3), jnp.int32))["params"]
    drawn = draw_byte_mlp(config, 0)
    assert jax.tree.map(np.shape, own) == jax.tree.map(np.shape, drawn)
    assert jax.tree.structure(byte_mlp_roles(config)) == jax.tree.structure(drawn)
    for a, b in zip(jax.tree.leaves(own), jax.tree.leaves(drawn), strict=True):
        assert (b.dtype, np.abs(b.mean()) < 0.02) == (np.float32, True)
        assert np.asarray(a).std() == pytest.approx(float(b.std()), rel=0.05)
    assert not np.array_equal(drawn["readout"]["kernel"], draw_byte_mlp(config, 1)["readout"]["kernel"])
    assert Shape(width=64).parameters() == sum(one.size for one in jax.tree.leaves(drawn))


def test_mean_field_draws_hidden_layers_of_size_1_and_counts_widths_from_the_base() -> None:
    hidden = first_values(_training("mean_field"))["hidden_0"]["kernel"]
    plain = first_values(_training("standard"))["hidden_0"]["kernel"]
    np.testing.assert_array_equal(hidden, plain * 2)  # (8 / 2)^(1/2)


@pytest.mark.parametrize(
    "optimizer", ["adam", *(pytest.param(one, marks=pytest.mark.slow) for one in ("sgd", "adafactor"))]
)
def test_a_group_a_loop_and_a_plain_optax_loop_agree(optimizer: str) -> None:
    shape = replace(SMALL, optimizer=optimizer)
    cells = [
        _training(name, shape, rate, seed)
        for name in ("standard", "mean_field")
        for rate in (-6, -3)
        for seed in (0, 1)
    ]
    group, loop = losses_of(cells, "group"), losses_of(cells, "loop")
    np.testing.assert_allclose(group, loop, rtol=2e-4)
    for place in (3, 4):  # of each parameterization one, of each seed one
        np.testing.assert_allclose(loop[place], _plain(cells[place]), rtol=2e-4)
    assert (loop[:, -1] != loop[:, 0]).all()
    assert len({one.tobytes() for one in loop}) == len(cells)


def _plain(cell: Training) -> np.ndarray:
    """The training as one would write it: a network, an Optax optimizer with a schedule, a loop."""
    shape = cell.shape
    roles, own = shape.roles()
    network = Parameterized(shape.network(), cell.parameterization, width=shape.width, roles=roles, own=own)
    config = OptimizerConfig(
        shape.optimizer,  # pyright: ignore[reportArgumentType]
        2.0**cell.log2_learning_rate,
        shape.schedule,
        shape.warmup_steps,
        min_learning_rate=0.0,
        weight_decay=0.0,
        clip_norm=0.0,
        factor_from=1,
    )
    optimizer = optimizer_of(config, shape.steps, network.scales)
    params = jax.tree.map(jnp.asarray, first_values(cell))
    state, losses = optimizer.init(params), []

    @functools.partial(jax.value_and_grad)
    def loss_of(params: object, inputs: jax.Array, targets: jax.Array) -> jax.Array:
        return jnp.mean(cross_entropy(network.apply({"params": params}, inputs), targets)[0])

    @jax.jit
    def step(params: object, state: object, window: jax.Array) -> tuple[object, object, jax.Array]:
        loss, gradient = loss_of(params, *inputs_and_targets(shape, window))
        updates, state = optimizer.update(gradient, state, params)  # pyright: ignore[reportArgumentType]
        return optax.apply_updates(params, updates), state, loss  # pyright: ignore[reportArgumentType]

    for window in batches(shape, cell.seed):
        params, state, loss = step(params, state, window)
        losses.append(float(loss))
    return np.array(losses)


def test_the_product_has_the_gradient_of_a_product() -> None:
    x, kernel = (np.random.default_rng(size).normal(size=(size, 3)) for size in (5, 3))

    def gradients(times: Callable[..., jax.Array]) -> tuple[jax.Array, jax.Array]:
        return jax.grad(lambda x, w: jnp.sum(jnp.sin(times(x, w))), argnums=(0, 1))(x, kernel)

    for own, plain in zip(gradients(product), gradients(jnp.matmul), strict=True):
        np.testing.assert_allclose(own, plain, rtol=1e-5)


def test_equivalent_parameterizations_are_equal_bit_by_bit_in_one_program() -> None:
    cells = [
        replace(_training(name, replace(SMALL, eps=0.0)), log2_learning_rate=-4.0)
        for name in ("standard", "ntk", "mup", "mean_field")
    ]
    standard, ntk, mup, mean_field = losses_of(cells, "group")
    np.testing.assert_array_equal(standard, ntk)
    np.testing.assert_array_equal(mup, mean_field)
    assert not np.array_equal(standard, mup)


def test_a_part_of_the_steps_is_the_start_of_all() -> None:
    whole, part = (losses_of([_training()], "loop", steps=steps) for steps in (None, 7))
    np.testing.assert_array_equal(part[0, :7], whole[0, :7])
    assert not part[0, 7:].any()
    assert whole[0].all()


def test_a_chunk_that_is_not_full_gives_what_a_full_one_does() -> None:
    cells = [_training(log2_rate=rate) for rate in np.linspace(-8, -2, SMALL.lanes() + 1)]
    whole = losses_of(cells, "group")
    assert whole.shape == (SMALL.lanes() + 1, SMALL.steps)
    np.testing.assert_array_equal(losses_of(cells[-1:], "group")[0], whole[-1])


@pytest.mark.slow
def test_a_language_model_trains_too() -> None:
    shape = Shape("lm", 32, 1, 8, batch=2, steps=6, warmup_steps=1)
    loop = losses_of([_training("mup", shape, -6.0)], "loop")[0]
    assert np.isfinite(loop).all()
    assert loop[0] == pytest.approx(np.log(32), abs=0.7)


def test_fewer_cells_at_a_time_where_they_are_larger() -> None:
    lanes = [Shape(width=width).lanes() for width in (8, 16, 32, 512)]
    assert lanes == sorted(lanes, reverse=True)
    assert lanes[0] > lanes[-1] > 1


def test_the_final_loss_is_the_mean_of_the_last_eighth() -> None:
    losses = np.arange(64, dtype=np.float32)
    assert final_loss(losses) == np.mean(losses[56:])
    assert np.isnan(final_loss(np.array([1.0, np.nan], np.float32)))
    assert curve(losses).tolist() == [2 * place + 0.5 for place in range(32)]
    assert curve(losses[:3]).tolist() == [0, 1, 2]
