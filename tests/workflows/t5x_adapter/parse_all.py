"""Parses gin/t5x as T5X's commands do, and prints what they would run, one JSON line a job.

Each line of stdin is a job: {"script": "train", "files": […], "bindings": […]}. T5X is the real one where it can be
imported, else its stand-in. `__main__` is this file, as it is T5X's command there.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import gin
import stand_in

from workflows import t5x_contract

if "--real" not in sys.argv:
    stand_in.install()


def make(script: str) -> Any:
    told = stand_in.function_of(script, t5x_contract.SIGNATURES[f"t5x.{script.replace('evaluate', 'eval')}.{script}"])
    told.__module__ = "__main__"
    return told


train, evaluate, infer = make("train"), make("evaluate"), make("infer")


def seen(job: dict[str, Any]) -> dict[str, Any]:
    gin.clear_config()
    gin.parse_config_files_and_bindings(job["files"], job["bindings"])
    script = globals()[job["script"]]
    told = gin.get_configurable(script)()
    data = told.get("train_dataset_cfg") or told["dataset_cfg"]
    checkpoints = told.get("checkpoint_cfg")
    model = told["model"]
    return {
        "told": sorted(told),
        "config": dataclasses.asdict(model.config),
        "task_feature_lengths": dict(data.task_feature_lengths),
        "batch_size": data.batch_size,
        "total_steps": told.get("total_steps"),
        "num_partitions": getattr(told["partitioner"], "num_partitions", None),
        "submesh": getattr(told["partitioner"], "model_parallel_submesh", None),
        "save_dataset": checkpoints.save.save_dataset if checkpoints else None,
        "rates": [float(told["trainer_cls"].learning_rate(step)) for step in (0, 40_000)] if "rate" in job else None,
    }


if __name__ == "__main__":
    for line in sys.stdin:
        job = json.loads(line)
        try:
            print(json.dumps(seen(job)), flush=True)
        except Exception as error:
            from workflows import t5x_errors

            print(json.dumps({"error": str(t5x_errors.explained(error) or f"unexplained: {error!r}")}), flush=True)
