"""What this project takes from T5X, written down: names and parameters that our gin files and adapter rely on.

T5X has no releases. Where it is installed the record is held against it; where it is not, tests parse gin/t5x/*.gin
against the record. This module imports no t5x.
"""

import importlib
import importlib.util
import inspect
import json
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from shammie.errors import UserError

TESTED = {  # the commits that requirements-t5x.txt names
    "t5x": "cc342d419ec3e3e9c4bf1df33c82330cafdc1e16",
    "airio": "69897df7d9a427b947a9f7bb4164c7782b43e601",
    "jestimator": "326824a477feef6d92e6f44175000907a72899ca",
}
INSTALL = "pip install -c constraints.txt -e '.[t5x]' && pip install --no-deps -r requirements-t5x.txt"
FROM_PYPI = {  # import name to distribution
    "grain": "grain",
    "fiddle": "fiddle",
    "jaxtyping": "jaxtyping",
    "tensorboard": "tensorboard",
    "cached_property": "cached-property",
}

SIGNATURES: dict[str, tuple[str, ...]] = {
    "t5x.models.BaseModel": ("optimizer_def",),
    "t5x.optimizers.OptaxWrapper": ("optax_optimizer",),
    "t5x.optimizers.OptimizerState": ("step", "param_states"),
    "t5x.optimizers.OptaxStatePartitionRules": (),
    "t5x.partitioning.PjitPartitioner": (
        "num_partitions",
        "model_parallel_submesh",
        "logical_axis_rules",
    ),
    "t5x.partitioning.standard_logical_axis_rules": (
        "activation_partitioning_dims",
        "parameter_partitioning_dims",
        "additional_rules",
    ),
    "t5x.trainer.Trainer": ("num_microbatches", "learning_rate_fn"),
    "t5x.trainer.accumulate_grads_microbatched": (
        "model",
        "train_state",
        "batch",
        "dropout_rng",
        "num_microbatches",
        "data_partition_spec",
    ),
    "t5x.gin_utils.summarize_gin_config": ("model_dir", "summary_writer", "step"),
    "t5x.utils.DatasetConfig": (
        "mixture_or_task_name",
        "task_feature_lengths",
        "split",
        "batch_size",
        "shuffle",
        "seed",
        "use_cached",
        "pack",
    ),
    "t5x.utils.CheckpointConfig": ("save", "restore"),
    "t5x.utils.SaveCheckpointConfig": ("period", "dtype", "keep", "save_dataset"),
    "t5x.utils.RestoreCheckpointConfig": ("path", "mode", "dtype"),
    "t5x.train.train": (
        "model",
        "train_dataset_cfg",
        "train_eval_dataset_cfg",
        "infer_eval_dataset_cfg",
        "checkpoint_cfg",
        "partitioner",
        "trainer_cls",
        "model_dir",
        "total_steps",
        "eval_steps",
        "eval_period",
        "stats_period",
        "random_seed",
        "summarize_config_fn",
        "inference_evaluator_cls",
        "use_orbax",
    ),
    "t5x.eval.evaluate": (
        "model",
        "dataset_cfg",
        "restore_checkpoint_cfg",
        "partitioner",
        "output_dir",
        "inference_evaluator_cls",
    ),
    "t5x.infer.infer": (
        "mode",
        "model",
        "dataset_cfg",
        "restore_checkpoint_cfg",
        "partitioner",
        "output_dir",
        "checkpoint_period",
        "shard_id",
        "verify_matching_vocabs_fn",
        "num_shards",
    ),
}
SCRIPTS = ("t5x.train", "t5x.eval", "t5x.infer")  # they run as __main__: a second import would run them again


class ModelContract(Protocol):
    """What T5X asks of a model (t5x/models.py, BaseModel). B = batch."""

    FEATURE_CONVERTER_CLS: Any
    optimizer_def: Any

    def get_initial_variables(
        self, rng: Any, input_shapes: Mapping[str, Any], input_types: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        """Parameters under "params", the names of their axes under "params_axes"."""
        ...

    def loss_fn(self, params: Any, batch: Mapping[str, Any], dropout_rng: Any) -> tuple[Any, Mapping[str, Any]]:
        """The loss and clu metrics by name."""
        ...

    def eval_fn(self, params: Any, batch: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
        """The same, without dropout."""
        ...

    def predict_batch_with_aux(
        self, params: Any, batch: Mapping[str, Any], rng: Any = None
    ) -> tuple[Any, Mapping[str, Any]]:
        """Tokens [B, …] and what goes with them."""
        ...

    def score_batch(self, params: Any, batch: Mapping[str, Any], return_intermediates: bool = False) -> Any:
        """Log probabilities [B]."""
        ...


def missing() -> list[str]:
    """What cannot be imported of T5X and of what it needs beside our own packages; nothing is loaded."""
    return [name for name in (*TESTED, *FROM_PYPI) if importlib.util.find_spec(name) is None]


def not_importable(error: ImportError) -> UserError:
    """The error for a T5X that cannot be imported, with its cure."""
    lost = missing()
    if lost:
        return UserError(f"T5X needs {', '.join(lost)}, which cannot be imported", f"{INSTALL} (shammie doctor)")
    return UserError(f"T5X cannot be imported: {error}", f"install the commit that was tested: {INSTALL}")


def check(modules: Mapping[str, ModuleType]) -> None:
    """Holds loaded modules of T5X against the record.

    Args:
        modules: by dotted name; names of others are not looked at.

    Raises:
        UserError: a name or a parameter is not there: this T5X is too old or too new.
    """
    for dotted, parameters in SIGNATURES.items():
        module, _, name = dotted.rpartition(".")
        if module not in modules:
            continue
        found = getattr(modules[module], name, None)
        if found is None:
            raise _other_commit(f"has no {dotted}")
        there = inspect.signature(found).parameters
        free = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in there.values())
        lost = [one for one in parameters if one not in there]
        if lost and not free:
            raise _other_commit(f"has a {dotted} without {lost[0]}")


def modules_of(*names: str) -> dict[str, ModuleType]:
    """The recorded modules of T5X whose names are given, imported; none given means all but the scripts."""
    wanted = names or tuple({dotted.rpartition(".")[0] for dotted in SIGNATURES} - set(SCRIPTS))
    return {name: importlib.import_module(name) for name in sorted(wanted)}


def _other_commit(problem: str) -> UserError:
    commit = commit_of("t5x") or "of an unknown commit"
    return UserError(f"T5X {commit[:12]} {problem}", f"use the commit that was tested, {TESTED['t5x'][:12]}: {INSTALL}")


def commit_of(name: str) -> str | None:
    """The commit of an importable package: as pip recorded it, or of the checkout that it lies in; None if unknown."""
    try:
        record = metadata.distribution(name).read_text("direct_url.json")
        commit = json.loads(record or "{}").get("vcs_info", {}).get("commit_id")
        if commit:
            return str(commit)
    except metadata.PackageNotFoundError:
        pass
    spec = importlib.util.find_spec(name)
    folders = list(spec.submodule_search_locations or []) if spec else []
    if not folders or not (Path(folders[0]).parent / ".git").exists():
        return None
    done = subprocess.run(["git", "-C", folders[0], "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None
