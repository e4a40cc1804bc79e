"""The command that turns a checkpoint into T5X's format, or into a model's file.

python -m workflows.train.export --run OUT --to PLACE
python -m workflows.train.export --t5x CHECKPOINT --gin_file FILE [--gin.NAME=VALUE …] --to PLACE
"""

import sys
from collections.abc import Sequence
from typing import Any

import jax

from models.lm.artefact import TrainedLM
from models.training import TrainState
from shammie import files
from shammie.arguments import Parser
from shammie.errors import UserError, run_for_people
from workflows.train import exchange
from workflows.train.checkpoints import Checkpoints
from workflows.train.compute import compute_of
from workflows.train.config import TrainConfig, check_devices
from workflows.train.data import made_with
from workflows.train.loop import CONFIG
from workflows.train.mesh import make_mesh

PROGRAM = "workflows.train.export"


def parser() -> Parser:
    """The command's flags."""
    flags = Parser(
        prog=f"python -m {PROGRAM}",
        usage=f"python -m {PROGRAM} (--run OUT | --t5x CHECKPOINT --gin_file FILE [--gin.NAME=VALUE …]) --to PLACE",
        description="Turns a checkpoint into one that T5X reads, or into a language model's file.",
        epilog="PLACE ends in .bin for a model's file, and is else a folder that receives checkpoint_STEP: give that to"
        " T5X as --gin.START_FROM, and any of T5X's to the bundled trainer under the same name.",
        allow_abbrev=False,
    )
    add = flags.add_argument
    add("--run", metavar="OUT", help="folder of a run of the bundled trainer, whose newest checkpoint is taken")
    add("--t5x", metavar="CHECKPOINT", help="folder checkpoint_STEP of T5X")
    add("--gin_file", metavar="FILE", action="append", help="with --t5x: gin/train's file of the model and optimizer")
    add("--to", metavar="PLACE", required=True, help="a folder, or a file that ends in .bin")
    add("--debug", action="store_true", help="show stack traces")
    return flags


def config_of_run(run: str) -> TrainConfig:
    """The config of a run of the bundled trainer; UserError where there is none."""
    path = files.join(run, CONFIG)
    if not files.exists(path):
        raise UserError(f"{run} holds no run", "name the --out of a run of workflows.train")
    return TrainConfig.from_json(files.read_json(path))


def state_of(config: TrainConfig, *, run: str | None = None, t5x: str | None = None) -> TrainState:
    """The state of a run's newest checkpoint, or of a T5X checkpoint.

    Raises:
        UserError: there is no checkpoint, or it is of another network or optimizer.
    """
    compute = compute_of(config, make_mesh(*check_devices(config, devices=jax.device_count())))
    if t5x:
        return exchange.read(t5x, compute.places[0])
    assert run is not None
    checkpoints = Checkpoints(run, {}, config.keep)
    try:
        step = checkpoints.latest()
        if step is None:
            raise UserError(f"{run} holds no checkpoint", "name the --out of a run of workflows.train")
        return checkpoints.restore(step, compute.places)[0]
    finally:
        checkpoints.close()


def export(to: str, *, run: str | None = None, t5x: str | None = None, config: TrainConfig | None = None) -> str:
    """Writes a checkpoint where `to` says, as T5X's or as a model's file; returns the path.

    Args:
        to: a folder, or a file that ends in .bin.
        run: of the bundled trainer.
        t5x: a checkpoint of T5X, instead of a run.
        config: what that one was trained with.

    Raises:
        UserError: neither or both are named, or the checkpoint is not there, or of another network or optimizer.
    """
    if bool(run) == bool(t5x) or bool(t5x) != bool(config):
        raise UserError(f"--run={run} and --t5x={t5x}", "give --run, or --t5x and --gin_file")
    config = config or config_of_run(str(run))
    state = state_of(config, run=run, t5x=t5x)
    if not to.endswith(".bin"):
        return exchange.write(state, to)
    params: Any = jax.device_get(state.params)
    files.write_bytes(to, TrainedLM(config.model, params, config.tokenizer or made_with(config.data)).to_bytes())
    return to


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    words = list(sys.argv[1:] if argv is None else argv)

    def work() -> None:
        from workflows import gin_config
        from workflows.train.__main__ import MODULES

        bindings, others = gin_config.split_words(words)
        try:
            arguments = parser().parse_args(others)
        except SystemExit:  # --help
            return

        config = None
        if arguments.gin_file:
            gin_config.parse(arguments.gin_file, bindings, modules=MODULES)
            config = gin_config.call(TrainConfig)
        print(export(arguments.to, run=arguments.run, t5x=arguments.t5x, config=config))

    return run_for_people(work, debug="--debug" in words, program=PROGRAM)


if __name__ == "__main__":
    sys.exit(main())
