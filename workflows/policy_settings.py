"""What gin files choose of reinforcement learning."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from models.training import OptimizerConfig
from models.training.policy_gradient import PolicyConfig
from shammie.errors import UserError


@dataclass(frozen=True)
class PolicyTraining:
    """A run of reinforcement learning.

    Attributes:
        policy: how the policy is sampled and changed in an iteration.
        optimizer: the optimizer and its schedule, over all iterations' updates.
        iterations: of the whole run.
        eval_every: iterations between two measurements on the held-out problems, after each of which the run is saved.
        new_tokens: the most of a completion.
        shares: family of problems to its share of each iteration's prompts, such as attacked, clean and copy tasks;
            empty, all problems are alike.
    """

    policy: PolicyConfig = field(default_factory=PolicyConfig)
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(learning_rate=1e-4, warmup_steps=5))
    iterations: int = 40
    eval_every: int = 5
    new_tokens: int = 8
    shares: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("iterations", "eval_every", "new_tokens"):
            if not getattr(self, name) >= 1:
                raise UserError(f"PolicyTraining.{name} is {getattr(self, name)!r}", "give 1 or more")

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "PolicyTraining":
        """The settings that a step's config holds."""
        nested = {"policy": PolicyConfig(**values["policy"]), "optimizer": OptimizerConfig(**values["optimizer"])}
        return cls(**{**values, **nested})
