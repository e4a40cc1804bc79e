"""The decoder's laws: no look-ahead, order matters, sizes as the paper counts them, axes for every parameter."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.lm import DecoderLM, LMConfig, logical_axes
from models.lm.attention import by_distance

TINY = LMConfig(vocab_size=11, width=8, layers=2, heads=2, head_width=4, mlp_width=16, max_distance=6)


def _params(config: LMConfig = TINY) -> Any:
    return DecoderLM(config).init(jax.random.key(2), jnp.zeros((1, 4), jnp.int32))["params"]


@pytest.mark.parametrize(
    ("width", "heads", "layers", "mlp_width", "millions"),
    [(256, 4, 3, 1024, 3.15), (512, 8, 6, 2048, 25.2), (768, 12, 12, 3072, 113.2), (1024, 16, 24, 4096, 402.7)],
)
def test_block_parameters_are_the_papers(width: int, heads: int, layers: int, mlp_width: int, millions: float) -> None:
    """arXiv:2404.03626 Table 4, which only a gated MLP of three matrices explains."""
    config = LMConfig(width=width, heads=heads, layers=layers, mlp_width=mlp_width)
    assert config.block_parameters() / 1e6 == pytest.approx(millions, abs=0.05)


def test_block_parameters_are_those_of_the_network() -> None:
    kernels = [
        leaf.size
        for path, leaf in jax.tree_util.tree_leaves_with_path(_params())
        if "kernel" in jax.tree_util.keystr(path) and "logits" not in jax.tree_util.keystr(path)
    ]
    assert sum(kernels) == TINY.block_parameters()


def test_no_token_sees_a_later_one() -> None:
    model, params = DecoderLM(TINY), _params()

    def read(embedding: jax.Array, place: int) -> jax.Array:
        logits: Any = model.apply({"params": {**params, "embedding": embedding}}, jnp.arange(9)[None])
        return logits[0, place].sum()

    for place in range(9):
        reach = np.abs(np.asarray(jax.grad(read)(params["embedding"], place))).sum(1)[:9]
        assert np.all(reach[: place + 1] > 0)
        assert np.all(reach[place + 1 :] == 0)


def test_packed_documents_do_not_see_each_other() -> None:
    model, params = DecoderLM(TINY), _params()
    one, other = jnp.array([[1, 2, 3]]), jnp.array([[7, 5, 6, 4]])
    packed: Any = model.apply(
        {"params": params}, jnp.concatenate([one, other], 1), segments_BL=jnp.array([[1, 1, 1, 2, 2, 2, 2]])
    )
    alone: Any = model.apply({"params": params}, other)
    np.testing.assert_allclose(packed[:, 3:], alone, atol=1e-6)


@pytest.mark.parametrize(("length", "distances"), [(5, 3), (5, 9), (4, 4), (1, 2)])
def test_scores_by_distance_become_scores_by_key(length: int, distances: int) -> None:
    near = np.random.default_rng(0).normal(size=(2, 3, length, distances)).astype(np.float32)
    scores = np.asarray(by_distance(jnp.asarray(near)))
    for query in range(length):
        for key in range(query + 1):
            np.testing.assert_array_equal(scores[:, :, query, key], near[:, :, query, min(query - key, distances - 1)])


def test_attention_knows_distances() -> None:
    one, other = (
        np.asarray(DecoderLM(TINY).apply({"params": _params()}, jnp.array([t]))) for t in ([1, 2, 3], [2, 1, 3])
    )
    assert np.abs(one[0, -1] - other[0, -1]).max() > 1e-4


def test_every_parameter_has_as_many_axis_names_as_axes() -> None:
    params, axes = _params(), logical_axes(TINY)
    named = jax.tree.map(lambda leaf, names: len(names) == leaf.ndim, params, _unfrozen(axes))
    assert all(jax.tree.leaves(named))
    assert axes["attention_0"]["query"]["kernel"] == ("embed", "heads", "kv")
    assert axes["mlp_1"]["out"]["kernel"] == ("mlp", "embed")
    assert axes["embedding"] == ("vocab", "embed")


def _unfrozen(tree: Any) -> Any:
    return {name: _unfrozen(part) for name, part in tree.items()} if hasattr(tree, "items") else tree


def test_bfloat16_activations_keep_float32_parameters_and_logits() -> None:
    config = LMConfig(**{**TINY.__dict__, "dtype": "bfloat16"})
    params = _params(config)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    half: Any = DecoderLM(config).apply({"params": params}, jnp.array([[1, 2, 3]]))
    full: Any = DecoderLM(TINY).apply({"params": params}, jnp.array([[1, 2, 3]]))
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, full, atol=0.05)
    assert np.abs(half - full).max() > 0


def test_sizes_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match=r"LMConfig\.heads must be a whole number of at least 1, got 0"):
        LMConfig(heads=0)
    with pytest.raises(ValueError, match=r"LMConfig\.dtype must be .* got 'int8'"):
        LMConfig(dtype="int8")  # pyright: ignore[reportArgumentType]
