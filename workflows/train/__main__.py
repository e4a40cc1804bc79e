"""The command: python -m workflows.train --gin_file FILE --out DIR [--gin.NAME=VALUE …]."""

import importlib
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from shammie.arguments import Parser
from shammie.errors import UserError, run_for_people

PROGRAM = "workflows.train"
MODULES = (
    "workflows.train",
    "models.lm",
    "models.training",
    "models.parameterization.scaling",
    "models.in_context.learner_config",
    "models.in_context.tasks",
    "workflows.in_context_training",
    "models.composition.diffusion_config",
    "models.composition.schedule",
    "workflows.composition_training",
)  # whose names bindings may use
JOBS = {  # a kind of run: the config that its gin files bind, to the module that has it, and there its job
    "TrainConfig": ("workflows.train.language_model", "language_model_job"),
    "MetaTrainConfig": ("workflows.in_context_training", "in_context_job"),
    "DiffusionTrainConfig": ("workflows.composition_training", "diffusion_job"),
}


def parser() -> Parser:
    """The command's flags."""
    flags = Parser(
        prog=f"python -m {PROGRAM}",
        usage=f"python -m {PROGRAM} --gin_file FILE --out DIR [--gin.NAME=VALUE …]",
        description="Trains what the gin files configure: a language model on token files or on a dataset of"
        " beam_jobs.equal_info, an in-context learner on tasks made on the fly, or a diffusion model.",
        epilog="The same command resumes a run that was stopped or killed. Several processes share one run when each "
        "is started with the last three flags.",
        allow_abbrev=False,
    )
    add = flags.add_argument
    add(
        "--gin_file",
        metavar="FILE",
        action="append",
        required=True,
        help="the run, such as gin/train/equal_info_tiny.gin",
    )
    add("--out", metavar="DIR", required=True, help="folder for checkpoints, metrics.jsonl and event files")
    add("--debug", action="store_true", help="show stack traces")
    add("--coordinator_address", metavar="HOST:PORT", help="of process 0, which the others ask")
    add("--process_count", type=int, help="processes of the run")
    add("--process_index", type=int, help="0 to process_count - 1")
    return flags


def join_processes(address: str | None, count: int | None, index: int | None) -> None:
    """Makes this process one of several, if the flags say so.

    Raises:
        UserError: only some of the three are given.
    """
    if address is None and count is None and index is None:
        return
    if address is None or count is None or index is None or not 0 <= index < count:
        given = f"--coordinator_address={address} --process_count={count} --process_index={index}"
        raise UserError(f"{given} do not name one of several processes", "give all three, the index below the count")
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, num_processes=count, process_id=index)


def kind_of_run(text: str) -> tuple[Any, Callable[[Any], Any]]:
    """The class of a run's config, and what makes its job; nothing of other kinds is imported.

    Args:
        text: the whole gin configuration; where it binds no config, the run is a language model's.

    Raises:
        UserError: it binds the configs of two kinds.
    """
    bound = [name for name in JOBS if re.search(rf"^[\w./]*\b{name}\.\w+\s*=", text, re.MULTILINE)]
    if len(bound) > 1:
        raise UserError(f"the gin files configure {' and '.join(bound)}", "give the files of one kind of run")
    name = bound[0] if bound else "TrainConfig"
    module, job = JOBS[name]
    found = importlib.import_module(module)
    return getattr(found, name), getattr(found, job)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    words = list(sys.argv[1:] if argv is None else argv)

    def work() -> None:
        from workflows import gin_config

        bindings, others = gin_config.split_words(words)
        try:
            arguments = parser().parse_args(others)
        except SystemExit:  # --help
            return
        gin_config.parse(arguments.gin_file, bindings, modules=MODULES)
        config_class, job_of = kind_of_run(gin_config.config_text())
        config = gin_config.call(config_class)
        join_processes(arguments.coordinator_address, arguments.process_count, arguments.process_index)
        import jax

        from workflows.train.loop import train_job
        from workflows.train.run_config import check_devices

        # before the data is read, which may take long
        check_devices(config, devices=jax.device_count(), hosts=jax.process_count())
        job = job_of(config)
        result = train_job(job, arguments.out)
        if result.rows:
            last = result.rows[-1]
            print(f"{arguments.out}: {result.steps_done} steps, loss {last['loss']:.4f}, {last[job.unit]:,} {job.unit}")

    return run_for_people(work, debug="--debug" in words, program=PROGRAM)


if __name__ == "__main__":
    sys.exit(main())
