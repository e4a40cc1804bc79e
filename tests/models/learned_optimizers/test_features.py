"""What the small networks see: each feature by its formula, in order, and the network around them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.learned_optimizers.accumulators import Decays, Moments, factored_axes, next_moments
from models.learned_optimizers.grouping import STACKED_SIZE
from models.learned_optimizers.per_parameter import adafactor_features, network_outputs

D = np.array([0.9, 0.99, 0.999])
DECAYS = Decays(jnp.asarray(D), jnp.asarray(D[2:]), jnp.asarray(D))


def _moments(g: np.ndarray, shape: tuple[int, ...]) -> Moments:
    axes = factored_axes(shape)
    row, col = (shape, (0,)) if axes is None else (np.delete(shape, axes[1]), np.delete(shape, axes[0]))
    zeros = jnp.zeros((1, *shape))
    old = Moments((zeros,) * 3, (zeros,), jnp.zeros((3, 1, *row)), jnp.zeros((3, 1, *col)))
    return next_moments(old, jnp.asarray(g, jnp.float32)[None], DECAYS)


@pytest.mark.parametrize("velo", [True, False])
@pytest.mark.parametrize("shape", [(5,), (4, 3)])
@pytest.mark.parametrize("size", [1.0, 1e-4])
def test_every_feature_is_its_formula(velo: bool, shape: tuple[int, ...], size: float) -> None:
    """velo.md section 1.3 and star.md section 2, after one gradient, so that each average is (1 - decay) times it."""
    rng = np.random.default_rng(0)
    g, p = size * rng.standard_normal(shape), rng.standard_normal(shape)
    found, _ = adafactor_features(
        jnp.asarray(g, jnp.float32)[None], jnp.asarray(p, jnp.float32)[None], _moments(g, shape), velo=velo
    )
    found = [np.broadcast_to(x, (1, *shape))[0] for x in found]
    m, rms = [(1 - d) * g for d in D], 1e-3 * g**2
    r = 1 / np.sqrt(rms + 1e-6)
    rows = [(1 - d) * (g**2).mean(0, keepdims=True) if len(shape) > 1 else (1 - d) * g**2 for d in D]
    cols = [(1 - d) * (g**2).mean(1, keepdims=True) if len(shape) > 1 else row for d, row in zip(D, rows, strict=True)]
    if len(shape) > 1:
        scale = [
            1 / np.sqrt(np.maximum(row / (row.mean() + 1e-9), 1e-9)) / np.sqrt(np.maximum(col, 1e-9))
            for row, col in zip(rows, cols, strict=True)
        ]
        last = [x * s for x, s in zip(m, scale, strict=True)]
    else:
        scale = [1 / np.sqrt(v + 1e-9) for v in rows]
        last = [x / np.sqrt(v + (0 if velo else 1e-6)) for x, v in zip(m, rows, strict=True)]
    roots = [1 / np.sqrt(v + 1e-8) for v in (*rows, *cols)]
    wanted = [g, *([np.clip(g, -0.1, 0.1)] if velo else []), p, *m, rms, *(x * r for x in m), r]
    wanted += [*(g * s for s in scale), *([g * r] if velo else []), *rows, *cols, *roots, *last]
    assert len(found) == len(wanted) == (30 if velo else 28)
    for i, (x, y) in enumerate(zip(found, wanted, strict=True)):
        np.testing.assert_allclose(x, np.broadcast_to(y, shape), rtol=2e-4, err_msg=f"feature {i}")


@pytest.mark.parametrize(("shape", "axes"), [((5,), None), ((7, 3), (1, 0)), ((3, 7), (0, 1)), ((3, 3, 2, 5), (1, 3))])
def test_the_two_largest_axes_are_factored(shape: tuple[int, ...], axes: tuple[int, int] | None) -> None:
    assert factored_axes(shape) == axes


@pytest.mark.parametrize("hidden", [4, 16])
@pytest.mark.parametrize("length", [6, STACKED_SIZE // 2])
def test_the_network_is_the_plain_one(hidden: int, length: int) -> None:
    """Narrow and wide, small and large: features over their root mean squares, then dense layers with ReLUs."""
    rng = np.random.default_rng(1)
    sizes = [(3 + 2, hidden), (hidden, hidden), (hidden, 2)]
    layers = [(rng.standard_normal((2, *size)), rng.standard_normal((2, size[1]))) for size in sizes]
    shape, time = (2, length, 3), np.array([0.3, -0.7])
    features = [rng.standard_normal(shape), rng.standard_normal((2, length, 1)), rng.standard_normal((2, 1, 3))]
    as_f32 = [(jnp.asarray(w, jnp.float32), jnp.asarray(b, jnp.float32)) for w, b in layers]
    found = jax.jit(lambda f: network_outputs(f, as_f32, shape, jnp.asarray(time, jnp.float32)))(
        [jnp.asarray(f, jnp.float32) for f in features]
    )
    for g in range(2):
        scaled = [f[g] / np.sqrt(1e-5 + np.mean(f[g] ** 2)) for f in features]
        x = np.stack([np.broadcast_to(f, shape[1:]) for f in (*scaled, *(np.full((1, 1), t) for t in time))], -1)
        for i, (w, b) in enumerate(layers):
            x = (np.maximum(x, 0) if i else x) @ w[g] + b[g]
        for o in range(2):
            np.testing.assert_allclose(found[o][g], x[..., o], rtol=2e-3, atol=2e-3)
