"""A DAG for the suite: python -m workflows.chaos.pipeline --out DIR. Text, the encode job on it, and a count."""

import sys
from pathlib import Path
from typing import Any

from shammie.arguments import Parser
from shammie.errors import run_for_people
from shammie.files import write_json
from workflows import dag

MEGABYTES = 4.0


def steps() -> list[dag.Step]:
    """The steps."""
    from workflows.chaos.subjects import SHARDS

    text = dag.Step("text", _text, config={"megabytes": MEGABYTES})
    dataset = dag.Step("dataset", _dataset, config={"shards": SHARDS}, inputs={"text": text})
    return [text, dataset, dag.Step("count", _count, inputs={"dataset": dataset})]


def _text(running: dag.Running) -> None:
    from workflows.chaos.subjects import write_text

    write_text(Path(running.path("text.txt")), megabytes=float(running.config["megabytes"]))


def _dataset(running: dag.Running) -> dict[str, Any]:
    from beam_jobs.equal_info.config import JobConfig
    from beam_jobs.equal_info.job import run
    from beam_jobs.units import ReadConfig
    from workflows.chaos.subjects import UNITS

    result = run(
        JobConfig(
            input=(running.input("text") + "/text.txt",),
            output=running.path("data"),
            num_shards=int(running.config["shards"]),
            read=ReadConfig(unit_bytes=int(MEGABYTES * 1e6 / UNITS)),
        )
    )
    return {"documents": result.stats["documents"]}


def _count(running: dag.Running) -> None:
    from workflows.chaos.subjects import frames_of

    found = frames_of(Path(running.input("dataset")), "*.tfrecord-*")
    write_json(running.path("count.json"), {"records": sum(found.values()), "different": len(found)})


def main() -> int:
    """Runs what is missing."""
    flags = Parser(prog="python -m workflows.chaos.pipeline", allow_abbrev=False)
    flags.add_argument("--out", required=True)

    def work() -> None:
        dag.run(steps(), flags.parse_args().out, owner="chaos")

    return run_for_people(work, program="workflows.chaos.pipeline")


if __name__ == "__main__":
    sys.exit(main())
