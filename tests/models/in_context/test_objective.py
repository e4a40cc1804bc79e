"""The loss and the scores of contexts, beside NumPy on logits that are given."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from models.in_context.contexts import Contexts
from models.in_context.objective import in_context_loss, last_positions, position_scores

B, N, C = 3, 20, 4


class Given:
    """A network whose logits are its parameters."""

    def apply(self, variables: Any, x_BNF: Any, labels_BN: Any) -> Any:
        return variables["params"]


def test_loss_and_scores_are_means_over_positions_and_contexts() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(B, N, C)).astype(np.float32), rng.integers(0, C, (B, N)).astype(np.int32)
    contexts = Contexts(jnp.zeros((B, N, 2)), jnp.asarray(labels))
    wide = logits.astype(np.float64)
    nats = np.log(np.exp(wide).sum(-1)) - np.take_along_axis(wide, labels[..., None], -1)[..., 0]
    right = logits.argmax(-1) == labels
    loss, metrics = in_context_loss(Given())(jnp.asarray(logits), contexts)
    assert float(loss) == pytest.approx(nats.mean(), rel=1e-5)
    told = {name: float(metric.compute()) for name, metric in metrics.items()}
    assert told == pytest.approx(
        {"loss": nats.mean(), "accuracy": right.mean(), "last_accuracy": right[:, -2:].mean()}, rel=1e-5
    )
    accuracy_N, nats_N = position_scores(Given(), jnp.asarray(logits), contexts)
    np.testing.assert_allclose(accuracy_N, right.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(nats_N, nats.mean(axis=0), rtol=1e-5)


def test_equal_logits_cost_ln_of_the_classes() -> None:
    contexts = Contexts(jnp.zeros((B, N, 2)), jnp.zeros((B, N), jnp.int32))
    assert float(in_context_loss(Given())(jnp.zeros((B, N, C)), contexts)[0]) == pytest.approx(np.log(C))


def test_a_full_context_is_its_last_tenth() -> None:
    assert [last_positions(n) for n in (1, 9, 10, 50, 100)] == [1, 1, 1, 5, 10]
