"""Meta-training as a step of a DAG: theta, the curve that led to it, and partial work that a killed run goes on from.

`star` and `velo` build on `meta_training_step`; `steps` is the DAG of meta-training alone.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from models.learned_optimizers import theta_files
from models.learned_optimizers.curriculum import MetaTrainingConfig
from models.learned_optimizers.meta_training import Point, meta_train
from shammie import files
from shammie.errors import UserError
from workflows.dag import Running, Step

CURVE = "curve.json"
CHECKPOINT = "meta_state.msgpack"
CODE = ("models.evolution", "models.learned_optimizers")


def theta_file(name: str) -> str:
    """The name of the file with an optimizer's weights in its step's directory: "star.theta"."""
    return f"{name}.theta"


def meta_training_step(
    name: str, optimizer_config: Any, config: MetaTrainingConfig, *, step_name: str = "", lasts: str = ""
) -> Step:
    """The step that meta-trains one learned optimizer; killed, it goes on from its checkpoint, to the same bits.

    It writes `theta_file(name)` (for `theta_files.load`) and `curve.json` (for `read_curve`).

    Args:
        name: the learned optimizer, "star", "adafactor_mlp", "velo" or "mlp".
        optimizer_config: its config, such as a `StarConfig`; None for the default one.
        config: of the meta-training, seed included.
        step_name: the step's; f"meta_train_{name}" unless given.
        lasts: how long it takes, in words.

    Raises:
        UserError: no such optimizer, or a config of another one.
    """
    optimizer = theta_files.learned_optimizer(name, **({} if optimizer_config is None else asdict(optimizer_config)))
    told = {"optimizer": name, "optimizer_config": asdict(optimizer.config), "meta_training": asdict(config)}

    def run(running: Running) -> dict[str, Any]:
        checkpoint = running.path(CHECKPOINT)
        theta, curve = meta_train(optimizer, config, checkpoint=checkpoint, what=f"meta-training {name}")
        made_with = {**running.config, "environment_steps": curve[-1].environment_steps, "skipped": curve[-1].skipped}
        theta_files.save(running.path(theta_file(name)), optimizer, theta, made_with)
        files.write_json(running.path(CURVE), [point._asdict() for point in curve])
        files.remove(checkpoint)
        return curve[-1]._asdict()

    return Step(step_name or f"meta_train_{name}", run, config=told, lasts=lasts, code=CODE)


def read_curve(directory: str) -> list[Point]:
    """The curve of a finished step, from its directory."""
    return [Point(**row) for row in files.read_json(files.join(directory, CURVE))]


@dataclass(frozen=True)
class Run:
    """One learned optimizer to meta-train, as gin files name it.

    Attributes:
        name: "star", "adafactor_mlp", "velo" or "mlp".
        optimizer: its config; None for the default one.
        config: of the meta-training.
    """

    name: str = "star"
    optimizer: Any = None
    config: MetaTrainingConfig = field(default_factory=MetaTrainingConfig)

    def step(self, *, step_name: str = "", lasts: str = "") -> Step:
        """Its step (`meta_training_step`)."""
        return meta_training_step(self.name, self.optimizer, self.config, step_name=step_name, lasts=lasts)


def steps(runs: Sequence[Run] = (Run(),), input: Sequence[str] = (), beam_flags: Sequence[str] = ()) -> list[Step]:
    """The DAG of meta-training alone: one step for each run.

    Args:
        runs: what is meta-trained.
        input: refused: tasks are drawn.
        beam_flags: not used: meta-training runs on this machine's devices.
    """
    del beam_flags
    if input:
        raise UserError(f"meta-training reads no --input (got {input[0]})", "leave it out: its tasks are drawn")
    return [run.step() for run in runs]
