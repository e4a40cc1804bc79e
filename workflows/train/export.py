"""The command that turns a checkpoint into T5X's format, or into a model's file.

python -m workflows.train.export --gin_file FILE [--gin.NAME=VALUE …] (--run OUT | --t5x CHECKPOINT) --to PLACE
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
from workflows.train.data import tokens_of
from workflows.train.mesh import make_mesh

PROGRAM = "workflows.train.export"


def parser() -> Parser:
    """The command's flags."""
    flags = Parser(
        prog=f"python -m {PROGRAM}",
        usage=f"python -m {PROGRAM} --gin_file FILE [--gin.NAME=VALUE …] (--run OUT | --t5x CHECKPOINT) --to PLACE",
        description="Turns a checkpoint into one that T5X reads, or into a language model's file.",
        epilog="The gin files are those of the run; PLACE ends in .bin for a model's file, and is else a folder that"
        " receives checkpoint_STEP: give that to T5X as --gin.START_FROM, and any of T5X's to the bundled trainer as"
        " --gin.train.TrainConfig.start_from.",
        allow_abbrev=False,
    )
    add = flags.add_argument
    add("--gin_file", metavar="FILE", action="append", required=True, help="of the run, as for workflows.train")
    add("--run", metavar="OUT", help="folder of a run of the bundled trainer, whose newest checkpoint is taken")
    add("--t5x", metavar="CHECKPOINT", help="folder checkpoint_STEP of T5X")
    add("--to", metavar="PLACE", required=True, help="a folder, or a file that ends in .bin")
    add("--debug", action="store_true", help="show stack traces")
    return flags


def state_of(config: TrainConfig, *, run: str | None, t5x: str | None) -> TrainState:
    """The state of a run's newest checkpoint, or of a T5X checkpoint.

    Raises:
        UserError: neither or both are named, there is no checkpoint, or it is of another network or optimizer.
    """
    if bool(run) == bool(t5x):
        raise UserError(f"--run={run} and --t5x={t5x}: one checkpoint is wanted", "give one of the two")
    compute = compute_of(config, make_mesh(*check_devices(config, devices=jax.device_count())))
    if t5x:
        return exchange.read(t5x, compute.places[0])
    assert run is not None
    checkpoints = Checkpoints(run, config.identity(tokens_of(config.data, "train").info.sha256), config.keep)
    try:
        step = checkpoints.latest()
        if step is None:
            raise UserError(f"{run} holds no checkpoint", "name the --out of a run of workflows.train")
        checkpoints.check(step)
        return checkpoints.restore(step, compute.places)[0]
    finally:
        checkpoints.close()


def export(config: TrainConfig, to: str, *, run: str | None = None, t5x: str | None = None) -> str:
    """Writes the checkpoint where `to` says, as T5X's or as a model's file; returns the path."""
    state = state_of(config, run=run, t5x=t5x)
    if not to.endswith(".bin"):
        return exchange.write(state, to)
    params: Any = jax.device_get(state.params)
    made_with = config.tokenizer or tokens_of(config.data, "train").info.made_with
    files.write_bytes(to, TrainedLM(config.model, params, made_with).to_bytes())
    return to


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    words = list(sys.argv[1:] if argv is None else argv)

    def work() -> None:
        bindings = [word.removeprefix("--gin.") for word in words if word.startswith("--gin.")]
        try:
            arguments = parser().parse_args([word for word in words if not word.startswith("--gin.")])
        except SystemExit:  # --help
            return
        from workflows import gin_config
        from workflows.train.__main__ import MODULES

        gin_config.parse(arguments.gin_file, bindings, modules=MODULES)
        config = gin_config.call(TrainConfig)
        print(export(config, arguments.to, run=arguments.run, t5x=arguments.t5x))

    return run_for_people(work, debug="--debug" in words, program=PROGRAM)


if __name__ == "__main__":
    sys.exit(main())
