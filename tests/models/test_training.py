"""The training step: what it computes, against optax by hand, and that it learns."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from models.training import adamw_with_cosine, initial_state, next_token_loss, train_step


def test_a_step_is_the_optimizers_update_of_the_gradient() -> None:
    optimizer = optax.sgd(0.1)
    step = train_step(lambda params, batch: jnp.sum((params - batch) ** 2), optimizer)
    state, loss = step(initial_state(jnp.array([1.0, 2.0]), optimizer), jnp.array([0.0, 4.0]))
    assert float(loss) == 5.0
    np.testing.assert_allclose(state.params, [1.0 - 0.1 * 2.0, 2.0 + 0.1 * 4.0], rtol=1e-6)
    assert int(state.step) == 1


def test_the_schedule_rises_then_falls_to_a_tenth() -> None:
    optimizer = adamw_with_cosine(peak_learning_rate=1e-2, warmup_steps=10, steps=100)
    state = initial_state(jnp.zeros(1), optimizer)
    step = train_step(lambda params, batch: jnp.sum(params * batch), optimizer)
    moved = []
    for _ in range(100):
        before = float(state.params[0])
        state, _ = step(state, jnp.ones(1))
        moved.append(before - float(state.params[0]))
    # Adam moves by the learning rate where the gradient is constant (weight decay adds up to 1% of |params|).
    assert moved[0] == pytest.approx(0.0, abs=1e-9)
    assert max(moved) == pytest.approx(1e-2, rel=0.05)
    assert moved[-1] == pytest.approx(1e-3, rel=0.1)


def test_the_loss_of_uniform_logits_is_the_log_of_the_vocabulary() -> None:
    for vocab_size in (2, 256, 4096):
        loss = next_token_loss(jnp.zeros((3, vocab_size)), jnp.array([0, 1, vocab_size - 1]))
        assert float(loss) == pytest.approx(np.log(vocab_size), rel=1e-6)


def test_one_batch_is_learned_by_heart() -> None:
    optimizer = adamw_with_cosine(peak_learning_rate=0.3, warmup_steps=5, steps=200)
    targets = jnp.array([3, 1, 2, 0])
    step = train_step(lambda params, batch: next_token_loss(params, batch), optimizer)
    state = initial_state(jnp.zeros((4, 5)), optimizer)
    losses = []
    for _ in range(200):
        state, loss = step(state, targets)
        losses.append(float(loss))
    assert losses[-1] < 0.02 < losses[0]
    assert jax.tree.leaves(state.params)[0].shape == (4, 5)
