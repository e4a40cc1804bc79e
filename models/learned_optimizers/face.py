"""Learned optimizers as users take them: `shammie.velo(num_steps, weights=PATH)` and `shammie.star(num_steps)`."""

from importlib import resources
from typing import Any

from models.learned_optimizers import theta_files
from models.learned_optimizers.released import WHERE
from models.learned_optimizers.velo import MAX_STEPS
from shammie.errors import UserError

SHIPPED = "weights"  # the folder of package data, with NAME.theta for each optimizer


def velo(num_steps: int, weights: str | None = None, **options: Any) -> Any:
    """VeLO (arXiv:2211.09760) with its released weights, or others, as an Optax transformation.

    Args:
        num_steps: how many updates the run will have; VeLO plans by it. Beyond 150,000 it averages gradients.
        weights: the released checkpoint, its folder, or a file of ours; local or any fsspec address such as gs://.
        options: of `optax_face.transformation`: missing_loss, skip_nonfinite, weight_decay, max_steps.

    Returns:
        An optax.GradientTransformationExtraArgs, for `update(grads, state, params, value=loss)`.

    Raises:
        UserError: no weights are named, or they cannot be used; it says where the released ones are.
    """
    if weights is None:
        raise UserError("VeLO needs weights, and none ship with this package", f"give weights=PATH; {WHERE}")
    return _optimizer("velo", num_steps, weights, {"max_steps": MAX_STEPS, **options})


def star(num_steps: int, weights: str | None = None, **options: Any) -> Any:
    """STAR (arXiv:2209.11208) as an Optax transformation, with the weights that were meta-trained for this package.

    Those had minutes of meta-training: on the suite of `shammie run star --size small` they do as well as their nominal
    term alone, Adam averaged over three decays at a rate of 0.01, and no better.

    Args:
        num_steps: how many updates the run will have. STAR itself does not plan by it.
        weights: a file of ours or a released checkpoint; None: the weights that ship here.
        options: as for `velo`.

    Returns:
        An optax.GradientTransformationExtraArgs, for `update(grads, state, params)`; a loss may be passed, and is only
        looked at if skip_nonfinite is set.
    """
    return _optimizer("star", num_steps, weights, options)


def shipped(name: str) -> theta_files.Weights:
    """The weights of an optimizer that ship with the package, "star" or "adafactor_mlp".

    Raises:
        UserError: there are none of this name.
    """
    file = resources.files("models.learned_optimizers") / SHIPPED / f"{name}.theta"
    if not file.is_file():
        raise UserError(f"no weights of {name!r} ship with this package", "give weights=PATH")
    return theta_files.from_bytes(file.read_bytes(), f"{name}.theta")


def _optimizer(name: str, num_steps: int, weights: str | None, options: dict[str, Any]) -> Any:
    found = shipped(name) if weights is None else theta_files.load(weights)
    if found.optimizer.name != name:
        raise UserError(f"{weights} has weights of {found.optimizer.name}", f"give weights of {name}")
    return found.optimizer.optax(found.theta, num_steps, **options)
