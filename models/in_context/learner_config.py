"""Which learner, and its sizes."""

from dataclasses import dataclass
from typing import Literal

from shammie.errors import UserError, unknown

KINDS = ("transformer", "lstm", "outer_product", "vsml", "linear_recurrence", "maml")
SIZES = ("features", "classes", "examples", "width", "layers", "heads", "head_width", "mlp_width")


@dataclass(frozen=True)
class LearnerConfig:
    """A learner that reads labelled examples one after the other and predicts each label before it sees it.

    Attributes:
        kind: one of KINDS.
        features: F, of an example.
        classes: C, the most that a task may have.
        examples: N, the longest context.
        width: D, of the residual stream of "transformer" and "linear_recurrence"; hidden units of the others.
        layers: blocks, or layers of cells.
        heads: H, of attention and of memories.
        head_width: K, of each head; of "vsml" the state of each of its cells.
        mlp_width: of the gated MLP; of "maml" its hidden layer.
        near: how many distances have an embedding, in the Transformer: those of near - 1 and more share one.
        shifted: whether the Transformer's position i also reads example i - 1, whose label it reads anyway: what its
            first layer else has to learn to fetch, over a plateau of thousands of steps.
        dtype: of activations; parameters and logits are float32.
    """

    kind: Literal["transformer", "lstm", "outer_product", "vsml", "linear_recurrence", "maml"] = "transformer"
    features: int = 64
    classes: int = 10
    examples: int = 100
    width: int = 64
    layers: int = 2
    heads: int = 4
    head_width: int = 16
    mlp_width: int = 128
    near: int = 8
    shifted: bool = False
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown("learner", self.kind, KINDS)
        for name in (*SIZES, "near"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise UserError(f"LearnerConfig.{name} is {value!r}", "give a whole number of 1 or more")
        if self.dtype not in ("float32", "bfloat16"):
            raise unknown("dtype", self.dtype, ("float32", "bfloat16"))
