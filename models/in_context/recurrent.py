"""What recurrent learners share: reading a whole context, and one example, are both reading some more examples."""

from typing import Any

import flax.linen as nn
import jax

from models.in_context.learner_config import LearnerConfig
from models.in_context.tokens import previous_labels


class RecurrentLearner(nn.Module):
    """A learner by `first_state(batch) -> state` and `extend(state, x_BNF, previous_BNC) -> (state, logits_BNC)`."""

    config: LearnerConfig

    def __call__(self, x_BNF: jax.Array, labels_BN: jax.Array) -> jax.Array:
        """Predicts each label from the examples before it; float32 logits [B, N, C]."""
        return self.extend(self.first_state(x_BNF.shape[0]), x_BNF, previous_labels(labels_BN, self.config.classes))[1]

    def step(self, state: Any, x_BF: jax.Array, previous_BC: jax.Array) -> tuple[Any, jax.Array]:
        """Reads one more example and predicts its label.

        Args:
            state: of `first_state` or an earlier step.
            x_BF: the example.
            previous_BC: the label of the one before, one-hot; zeros where there is none.

        Returns:
            The next state, and float32 logits [B, C].
        """
        state, logits_BNC = self.extend(state, x_BF[:, None], previous_BC[:, None])
        return state, logits_BNC[:, 0]

    def first_state(self, batch: int) -> Any:
        """Nothing read yet: arrays with the batch in front."""
        raise NotImplementedError

    def extend(self, state: Any, x_BNF: jax.Array, previous_BNC: jax.Array) -> tuple[Any, jax.Array]:
        """Reads some more examples; the state after them, and float32 logits [B, N, C]."""
        raise NotImplementedError
