"""The decoder's laws: no look-ahead, order matters, sizes as the paper counts them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.lm import DecoderLM, LMConfig

TINY = LMConfig(vocab_size=11, width=8, layers=2, heads=2, head_width=4, mlp_width=16, max_distance=6)


@pytest.mark.parametrize(
    ("width", "heads", "layers", "mlp_width", "millions"),
    [(256, 4, 3, 1024, 3.15), (512, 8, 6, 2048, 25.2), (768, 12, 12, 3072, 113.2), (1024, 16, 24, 4096, 402.7)],
)
def test_block_parameters_are_the_papers(width: int, heads: int, layers: int, mlp_width: int, millions: float) -> None:
    """arXiv:2404.03626 Table 4, which only a gated MLP of three matrices explains."""
    config = LMConfig(width=width, heads=heads, layers=layers, mlp_width=mlp_width)
    assert config.block_parameters() / 1e6 == pytest.approx(millions, abs=0.05)


def test_block_parameters_are_those_of_the_network() -> None:
    shapes = jax.eval_shape(DecoderLM(TINY).init, jax.random.key(0), jnp.zeros((1, 4), jnp.int32))["params"]
    blocks = {
        name: part for name, part in shapes.items() if name.startswith(("attention_", "mlp_")) and "norm" not in name
    }
    matrices = sum(
        leaf.size
        for path, leaf in jax.tree_util.tree_leaves_with_path(blocks)
        if "distance" not in jax.tree_util.keystr(path)
    )
    assert matrices == TINY.block_parameters()


def test_no_token_sees_a_later_one() -> None:
    model = DecoderLM(TINY)
    tokens = jax.random.randint(jax.random.key(1), (1, 9), 0, 11)
    params = model.init(jax.random.key(2), tokens)["params"]

    def read(embedding: jax.Array, place: int) -> jax.Array:
        changed = {**params, "embed": {"embedding": embedding}}
        logits = model.apply({"params": changed}, jnp.arange(9)[None])
        assert isinstance(logits, jax.Array)
        return logits[0, place].sum()

    for place in range(9):
        reach = np.abs(np.asarray(jax.grad(read)(params["embed"]["embedding"], place))).sum(1)[:9]
        assert np.all(reach[: place + 1] > 0)
        assert np.all(reach[place + 1 :] == 0)


def test_attention_knows_distances() -> None:
    model = DecoderLM(TINY)
    params = model.init(jax.random.key(0), jnp.zeros((1, 4), jnp.int32))
    one = np.asarray(model.apply(params, jnp.array([[1, 2, 3]])))[0, -1]
    other = np.asarray(model.apply(params, jnp.array([[2, 1, 3]])))[0, -1]
    assert np.abs(one - other).max() > 1e-4


def test_sizes_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match=r"LMConfig\.heads must be at least 1, got 0"):
        LMConfig(heads=0)
