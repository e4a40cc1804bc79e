"""SGD from scratch against a loop in NumPy, in float64."""

from typing import Any

import jax
import numpy as np
import pytest

from models.in_context.baselines import sgd
from models.in_context.gradient_baseline import GradientConfig, first_weights, online_logits
from models.training import OptimizerConfig

B, N, F, H, C = 2, 12, 5, 7, 3
RATE = 0.1


def plain(name: str = "sgd", **options: float) -> OptimizerConfig:
    return OptimizerConfig(name, RATE, "constant", weight_decay=0.0, clip_norm=0.0, **options)  # pyright: ignore[reportArgumentType]


def contexts() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(B, N, F)).astype(np.float32), rng.integers(0, C, (B, N)).astype(np.int32)


def softmax(logits_C: np.ndarray) -> np.ndarray:
    e = np.exp(logits_C - logits_C.max())
    return e / e.sum()


def numpy_logits(hidden: int, steps: int, momentum: float = 0.0) -> np.ndarray:
    x, labels = contexts()
    logits = np.zeros((B, N, C))
    first = first_weights(jax.random.key(4), F, hidden, C)
    for b in range(B):
        w = [np.asarray(one, np.float64) for one in first if one is not None]
        speed = [np.zeros_like(one) for one in w]
        for n in range(N):
            for step in range(steps):
                above = np.maximum(x[b, n] @ w[0] + w[1], 0) if hidden else x[b, n].astype(np.float64)
                out = above @ w[-2] + w[-1]
                if step == 0:
                    logits[b, n] = out
                error = softmax(out) - np.eye(C)[labels[b, n]]
                gradient = [np.outer(above, error), error]
                if hidden:
                    below = (w[2] @ error) * (above > 0)
                    gradient = [np.outer(x[b, n], below), below, *gradient]
                speed = [momentum * s + g for s, g in zip(speed, gradient, strict=True)]
                w = [one - RATE * s for one, s in zip(w, speed, strict=True)]
    return logits


@pytest.mark.parametrize(("hidden", "steps", "momentum"), [(0, 2, 0.9), (H, 1, 0.0), (H, 3, 0.9)])
def test_is_the_loop(hidden: int, steps: int, momentum: float) -> None:
    config = GradientConfig(hidden, steps, seed=4, optimizer=plain(momentum=momentum))
    logits = np.asarray(online_logits(*contexts(), C, config))
    expected = numpy_logits(hidden, steps, momentum)
    assert np.abs(expected[:, -1]).max() > 0.2
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    asked = np.asarray(sgd(*contexts(), C, (N - 1, 2), config=config))
    np.testing.assert_array_equal(asked, logits[:, [N - 1, 2]])


def test_adams_first_steps_have_the_rates_length() -> None:
    x, labels = contexts()
    config = GradientConfig(optimizer=plain("adam"))
    logits = np.asarray(online_logits(x, labels, C, config))
    for b in range(B):
        error = np.full(C, 1 / C) - np.eye(C)[labels[b, 0]]
        weights_FC, bias_C = -RATE * np.sign(np.outer(x[b, 0], error)), -RATE * np.sign(error)
        np.testing.assert_allclose(logits[b, 1], x[b, 1] @ weights_FC + bias_C, rtol=1e-3, atol=1e-5)


def test_first_weights_follow_the_seed() -> None:
    x, labels = contexts()
    of = lambda seed: np.asarray(online_logits(x, labels, C, GradientConfig(H, seed=seed)))  # noqa: E731
    np.testing.assert_array_equal(of(1), of(1))
    assert np.abs(of(1) - of(2)).max() > 1e-3


def test_hidden_weights_have_hes_variance() -> None:
    weights = first_weights(jax.random.key(0), 200, 300, C)
    assert weights.hidden_FH is not None
    np.testing.assert_allclose(np.var(weights.hidden_FH), 2 / 200, rtol=0.03)
    assert not np.any(weights.out_HC)
