"""The training step: what it computes, against Optax by hand, and that it learns."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from models.lm import DecoderLM, LMConfig
from models.training import (
    Metrics,
    OptimizerConfig,
    average,
    cross_entropy,
    initial_state,
    lm_loss,
    optimizer_of,
    scan_steps,
    train_step,
)

CONFIG = LMConfig(vocab_size=17, width=16, layers=2, heads=2, head_width=8, mlp_width=32, max_distance=4)
NETWORK = DecoderLM(CONFIG)
TARGETS = jax.random.randint(jax.random.key(1), (4, 12), 1, 17)


def _squares(params: jax.Array, batch: jax.Array) -> tuple[jax.Array, Metrics]:
    loss = jnp.mean(jnp.sum((params[None] - batch) ** 2, axis=1))
    return loss, {"loss": average(loss * batch.shape[0], batch.shape[0])}


def _state(optimizer: optax.GradientTransformation) -> Any:
    return initial_state(NETWORK.init(jax.random.key(0), TARGETS)["params"], optimizer)


def test_a_step_is_the_optimizers_update_of_the_gradient() -> None:
    optimizer = optax.sgd(0.1)
    step = jax.jit(train_step(_squares, optimizer))
    state, metrics = step(initial_state(jnp.array([1.0, 2.0]), optimizer), jnp.array([[0.0, 4.0]]))
    assert float(metrics["loss"].compute()) == 5.0
    assert float(metrics["gradient_norm"].compute()) == pytest.approx(np.hypot(2.0, 4.0))
    np.testing.assert_allclose(state.params, [1.0 - 0.1 * 2.0, 2.0 + 0.1 * 4.0], rtol=1e-6)
    assert int(state.step) == 1


def test_microbatches_sum_to_the_whole_batch() -> None:
    optimizer = optax.sgd(0.5)
    whole, parts = (train_step(lm_loss(NETWORK, 1e-3), optimizer, microbatches=n) for n in (1, 4))
    one, of_whole = jax.jit(whole)(_state(optimizer), {"targets": TARGETS})
    other, of_parts = jax.jit(parts)(_state(optimizer), {"targets": TARGETS})
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), one.params, other.params)
    for name in ("loss", "z_loss", "accuracy", "gradient_norm"):
        assert float(of_whole[name].compute()) == pytest.approx(float(of_parts[name].compute()), rel=1e-4), name


def test_scanned_steps_are_single_steps() -> None:
    optimizer = optimizer_of(OptimizerConfig(learning_rate=1e-2), 5)
    step = train_step(lm_loss(NETWORK), optimizer)
    batches = {"targets": jax.random.randint(jax.random.key(5), (3, 4, 12), 1, 17)}
    scanned, metrics = jax.jit(scan_steps(step))(_state(optimizer), batches)
    single, losses = _state(optimizer), []
    for number in range(3):
        single, told = jax.jit(step)(single, {"targets": batches["targets"][number]})
        losses.append(float(told["loss"].compute()))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), scanned.params, single.params)
    np.testing.assert_allclose(metrics["loss"].total / metrics["loss"].count, losses, rtol=1e-5)


def test_the_pinned_step() -> None:
    """One AdamW step from key 0 on a fixed batch: a change of network, loss or optimizer shows here first."""
    optimizer = optimizer_of(OptimizerConfig(learning_rate=1e-2, warmup_steps=1, factors="constant"), 10)
    targets = (jnp.arange(48).reshape(4, 12) * 7) % 16 + 1
    state, metrics = jax.jit(train_step(lm_loss(NETWORK, 1e-4), optimizer))(_state(optimizer), {"targets": targets})
    norm = lambda tree: float(optax.tree.norm(tree))  # noqa: E731
    assert float(metrics["loss"].compute()) == pytest.approx(PINNED["loss"], rel=1e-4)
    assert float(metrics["gradient_norm"].compute()) == pytest.approx(PINNED["gradient_norm"], rel=1e-3)
    assert norm(state.params) == pytest.approx(PINNED["params"], rel=1e-4)
    assert norm(state.params["mlp_1"]) == pytest.approx(PINNED["mlp_1"], rel=1e-4)


PINNED = {"loss": 3.490107, "gradient_norm": 2.988545, "params": 20.05389, "mlp_1": 8.77564}


@pytest.mark.parametrize("rows", [1, 4])
def test_one_batch_is_learned_by_heart(rows: int) -> None:
    """To zero, but for what cannot be known: which of the rows it is costs log(rows) once a row of 12 tokens."""
    optimizer = optimizer_of(OptimizerConfig(learning_rate=2e-2, warmup_steps=10, weight_decay=0.0), 200)
    batches = {"targets": jnp.broadcast_to(TARGETS[:rows], (200, rows, 12))}
    _, metrics = jax.jit(scan_steps(train_step(lm_loss(NETWORK), optimizer)))(_state(optimizer), batches)
    losses = np.asarray(jax.vmap(lambda metric: metric.compute())(metrics["loss"]))
    assert losses[0] > 2.5
    assert losses[-1] == pytest.approx(np.log(rows) / 12, abs=2e-3)


def test_padding_weighs_nothing() -> None:
    params = _state(optax.sgd(0.1)).params
    loss = lm_loss(NETWORK)
    padded, metrics = loss(params, {"targets": jnp.pad(TARGETS, ((0, 0), (0, 5)))})
    whole, _ = loss(params, {"targets": TARGETS})
    assert float(padded) == pytest.approx(float(whole), rel=1e-5)
    assert float(metrics["loss"].count) == TARGETS.size  # pyright: ignore[reportAttributeAccessIssue]


def test_the_z_loss_is_the_squared_log_normaliser() -> None:
    params = _state(optax.sgd(0.1)).params
    plain, _ = lm_loss(NETWORK)(params, {"targets": TARGETS})
    with_z, metrics = lm_loss(NETWORK, 0.1)(params, {"targets": TARGETS})
    logits: Any = NETWORK.apply({"params": params}, jnp.pad(TARGETS[:, :-1], ((0, 0), (1, 0))))
    expected = 0.1 * np.mean(np.asarray(jax.nn.logsumexp(logits, -1)) ** 2)
    assert float(with_z - plain) == pytest.approx(expected, rel=1e-4)
    assert float(metrics["z_loss"].compute()) == pytest.approx(expected, rel=1e-4)
    assert float(metrics["loss"].compute()) == pytest.approx(float(plain), rel=1e-5)


def test_the_loss_of_uniform_logits_is_the_log_of_the_vocabulary() -> None:
    for vocab_size in (2, 256, 4096):
        nats, log_z = cross_entropy(jnp.zeros((3, vocab_size)), jnp.array([0, 1, vocab_size - 1]))
        np.testing.assert_allclose(nats, np.log(vocab_size), rtol=1e-6)
        np.testing.assert_allclose(log_z, np.log(vocab_size), rtol=1e-6)
