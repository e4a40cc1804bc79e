"""The command: python -m workflows.train --gin_file FILE --out DIR [--gin.NAME=VALUE …]."""

import sys
from collections.abc import Sequence

from shammie.arguments import Parser
from shammie.errors import UserError, run_for_people

PROGRAM = "workflows.train"
MODULES = (
    "workflows.train",
    "models.lm",
    "models.training",
    "models.parameterization.scaling",
)  # whose names bindings may use


def parser() -> Parser:
    """The command's flags."""
    flags = Parser(
        prog=f"python -m {PROGRAM}",
        usage=f"python -m {PROGRAM} --gin_file FILE --out DIR [--gin.NAME=VALUE …]",
        description="Trains a language model on token files or on a dataset of beam_jobs.equal_info.",
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
        from workflows.train import TrainConfig, train

        gin_config.parse(arguments.gin_file, bindings, modules=MODULES)
        config = gin_config.call(TrainConfig)
        join_processes(arguments.coordinator_address, arguments.process_count, arguments.process_index)
        result = train(config, arguments.out)
        if result.rows:
            last = result.rows[-1]
            print(f"{arguments.out}: {result.steps_done} steps, loss {last['loss']:.4f} nats/token")

    return run_for_people(work, debug="--debug" in words, program=PROGRAM)


if __name__ == "__main__":
    sys.exit(main())
