"""What a fine-tuning run begins with: the parameters of a trained model, once they are known to fit the run."""

from dataclasses import fields
from typing import Any

import jax
import numpy as np

from models.lm import LMConfig
from models.lm.artefact import TrainedLM
from shammie import files
from shammie.errors import UserError

FREE = ("dtype",)  # of activations: parameters are float32 under any


def params_hash(path: str) -> str:
    """sha256, in hex, of a model's file; "" for no path.

    Raises:
        UserError: there is no such file.
    """
    if path and not files.exists(path):
        raise UserError(f"start_params={path} is not there", "name the lm.bin of a run or of workflows.train.export")
    return files.sha256_of(path) if path else ""


def read_params(path: str, model: LMConfig, shapes: Any, *, made_with: str) -> Any:
    """The parameters of a model's file, arrays on the host.

    Args:
        path: of the file (`models.lm.artefact`).
        model: sizes of the network that is to be trained.
        shapes: of its parameters, a pytree of arrays or `jax.ShapeDtypeStruct`.
        made_with: what made the ids that it is to be trained on: a codec's fingerprint or a tokenizer's name.

    Raises:
        UserError: the file is no model, or one of another vocabulary or other sizes.
    """
    found = TrainedLM.from_bytes(files.read_bytes(path))
    if found.made_with != made_with:
        raise UserError(
            f"start_params={path} reads ids of {found.made_with[:40]}, but the data was made with {made_with[:40]}",
            "make the data with the model's own codec or tokenizer, or start from a model of the data's",
        )
    for one in fields(LMConfig):
        there, here = getattr(found.config, one.name), getattr(model, one.name)
        if there != here and one.name not in FREE:
            raise UserError(
                f"start_params={path} has model.{one.name}={there}, not {here}", f"set model.{one.name} to {there}"
            )
    told = lambda tree: {jax.tree_util.keystr(at): np.shape(x) for at, x in jax.tree_util.tree_leaves_with_path(tree)}  # noqa: E731
    if told(found.params) != told(shapes):
        raise UserError(f"start_params={path} does not hold the parameters of its own sizes", "make the file again")
    return found.params
