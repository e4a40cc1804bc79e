"""The command that turns a checkpoint into T5X's format, or into a model's file; and such a file into T5X's format.

python -m workflows.train.export --run OUT --to PLACE
python -m workflows.train.export --t5x CHECKPOINT --gin_file FILE [--gin.NAME=VALUE …] --to PLACE
python -m workflows.train.export --lm LM.bin --gin_file FILE [--gin.NAME=VALUE …] --to FOLDER
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
from workflows.train.compute import Compute, compute_of
from workflows.train.config import TrainConfig
from workflows.train.data import made_with
from workflows.train.job import Objective
from workflows.train.language_model import objective_of
from workflows.train.loop import CONFIG
from workflows.train.mesh import make_mesh
from workflows.train.run_config import RunConfig, check_devices
from workflows.train.start import params_hash, read_params

PROGRAM = "workflows.train.export"


def parser() -> Parser:
    """The command's flags."""
    flags = Parser(
        prog=f"python -m {PROGRAM}",
        usage=f"python -m {PROGRAM} (--run OUT | (--t5x CHECKPOINT | --lm FILE) --gin_file FILE [--gin.NAME=VALUE …])"
        " --to PLACE",
        description="Turns a checkpoint into one that T5X reads, or into a language model's file; or that into the"
        " checkpoint of step 0 with which T5X begins to fine-tune it.",
        epilog="PLACE ends in .bin for a model's file, and is else a folder that receives checkpoint_STEP: give that to"
        " T5X as --gin.START_FROM, and any of T5X's to the bundled trainer under the same name.",
        allow_abbrev=False,
    )
    add = flags.add_argument
    add("--run", metavar="OUT", help="folder of a run of the bundled trainer, whose newest checkpoint is taken")
    add("--t5x", metavar="CHECKPOINT", help="folder checkpoint_STEP of T5X")
    add("--lm", metavar="FILE", help="a language model's file, which T5X is to begin with at step 0")
    add(
        "--gin_file",
        metavar="FILE",
        action="append",
        help="with --t5x or --lm: gin/train's file of the model and optimizer",
    )
    add("--to", metavar="PLACE", required=True, help="a folder, or a file that ends in .bin")
    add("--debug", action="store_true", help="show stack traces")
    return flags


def config_of_run(run: str) -> TrainConfig:
    """The config of a run of the bundled trainer; UserError where there is none."""
    path = files.join(run, CONFIG)
    if not files.exists(path):
        raise UserError(f"{run} holds no run", "name the --out of a run of workflows.train")
    return TrainConfig.from_json(files.read_json(path))


def state_of(
    config: TrainConfig, *, run: str | None = None, t5x: str | None = None, lm: str | None = None
) -> TrainState:
    """The state of a run's newest checkpoint, of a T5X checkpoint, or before the first step of a model's fine-tuning.

    Raises:
        UserError: there is no checkpoint or file, or it is of another network, vocabulary or optimizer.
    """
    objective = objective_of(config)
    if lm:
        params_hash(lm)  # says so where there is none
        compute, told = _compute_for(objective, config), config.tokenizer or made_with(config.data)
        return compute.start_with(read_params(lm, config.model, compute.places[0].params, made_with=told))[0]
    return trained_state(objective, config, run=run, t5x=t5x)


def trained_state(
    objective: Objective, config: RunConfig, *, run: str | None = None, t5x: str | None = None, resident: Any = ()
) -> TrainState:
    """The state of the newest checkpoint of a run of any kind, or of a T5X checkpoint.

    Args:
        objective: what was trained.
        config: the run, whose optimizer and steps count.
        run: its folder.
        t5x: a checkpoint of T5X, instead of a run.
        resident: the job's resident arrays, or their shapes.

    Raises:
        UserError: there is no checkpoint, or it is of another network or optimizer.
    """
    compute = _compute_for(objective, config, resident)
    if t5x:
        return exchange.read(t5x, compute.places[0])
    assert run is not None
    checkpoints = Checkpoints(run, {}, config.keep, reading=True)
    try:
        step = checkpoints.latest()
        if step is None:
            raise UserError(f"{run} holds no checkpoint", "name the --out of a run of workflows.train")
        return checkpoints.restore(step, compute.places)[0]
    finally:
        checkpoints.close()


def _compute_for(objective: Objective, config: RunConfig, resident: Any = ()) -> Compute:
    return compute_of(objective, config, make_mesh(*check_devices(config, devices=jax.device_count())), resident)


def export(
    to: str,
    *,
    run: str | None = None,
    t5x: str | None = None,
    lm: str | None = None,
    config: TrainConfig | None = None,
) -> str:
    """Writes a checkpoint where `to` says, as T5X's or as a model's file; returns the path.

    Args:
        to: a folder, or a file that ends in .bin.
        run: of the bundled trainer.
        t5x: a checkpoint of T5X, instead of a run.
        lm: a model's file, instead of them: it becomes FOLDER/checkpoint_0, with the optimizer before its first step.
        config: what T5X's was trained with, or the model's file is to be trained with.

    Raises:
        UserError: not one of the three is named, or it is not there, or of another network, vocabulary or optimizer.
    """
    if bool(run) + bool(t5x) + bool(lm) != 1 or bool(run) == bool(config):
        raise UserError(f"--run={run}, --t5x={t5x} and --lm={lm}", "give --run, or one of the others and --gin_file")
    if lm and to.endswith(".bin"):
        raise UserError(f"--to={to}: --lm={lm} is a model's file already", "name a folder, or copy the file")
    config = config or config_of_run(str(run))
    state = state_of(config, run=run, t5x=t5x, lm=lm)
    if not to.endswith(".bin"):
        return exchange.write(state, to)
    params: Any = jax.device_get(objective_of(config).weights_of(state.params))
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
        print(export(arguments.to, run=arguments.run, t5x=arguments.t5x, lm=arguments.lm, config=config))

    return run_for_people(work, debug="--debug" in words, program=PROGRAM)


if __name__ == "__main__":
    sys.exit(main())
