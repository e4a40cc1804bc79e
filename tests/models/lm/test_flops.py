"""Our FLOP accounting against the compiler's own."""

import jax
import jax.numpy as jnp
import pytest

from models.lm import DecoderLM, LMConfig
from models.lm.flops import forward_flops_per_token, steps_for, training_flops_per_token
from models.training import OptimizerConfig, initial_state, lm_loss, optimizer_of, train_step

CONFIGS = [
    (LMConfig(vocab_size=4098, width=96, layers=2, heads=3, head_width=32, mlp_width=384), 256, 8),
    (LMConfig(vocab_size=258, width=96, layers=2, heads=3, head_width=32, mlp_width=384), 256, 8),
    (LMConfig(vocab_size=1026, width=64, layers=3, heads=2, head_width=32, mlp_width=256), 128, 16),
]


@pytest.mark.parametrize(("config", "length", "batch"), CONFIGS)
def test_flops_are_the_compilers_within_five_per_cent(config: LMConfig, length: int, batch: int) -> None:
    network, tokens = DecoderLM(config), jax.ShapeDtypeStruct((batch, length), jnp.int32)
    optimizer = optimizer_of(OptimizerConfig(), 100)
    state = jax.eval_shape(lambda t: initial_state(network.init(jax.random.key(0), t)["params"], optimizer), tokens)
    forward = jax.jit(lambda params, t: network.apply({"params": params}, t)).lower(state.params, tokens)
    training = jax.jit(train_step(lm_loss(network), optimizer)).lower(state, {"targets": tokens})
    for lowered, ours in ((forward, forward_flops_per_token), (training, training_flops_per_token)):
        counted = (lowered.compile().cost_analysis() or {})["flops"]
        assert ours(config, length) * batch * length == pytest.approx(counted, rel=0.05)


def test_steps_are_what_the_budget_pays() -> None:
    config, length, batch = CONFIGS[0]
    a_step = training_flops_per_token(config, length) * length * batch
    assert steps_for(config, training_flops=100.4 * a_step, batch_size=batch, length=length) == 100
    assert steps_for(config, training_flops=1.0, batch_size=batch, length=length) == 1
