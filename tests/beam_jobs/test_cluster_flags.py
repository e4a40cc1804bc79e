"""The files of flags that docs/clusters.md gives people, and what no job may need of its driver."""

from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import PortableOptions, StandardOptions, WorkerOptions

from beam_jobs.runner import one_worker, pipeline_options


@pytest.mark.parametrize(
    ("name", "runner"), [("flink", "PortableRunner"), ("spark", "PortableRunner"), ("dataflow", "DataflowRunner")]
)
def test_beam_knows_every_flag(repository: Path, name: str, runner: str) -> None:
    flags = [f"@{repository}/docs/runners/{name}.flags"]
    options = pipeline_options(flags)
    assert options.view_as(StandardOptions).runner == runner
    assert not one_worker(flags)
    portable = options.view_as(PortableOptions)
    if name == "dataflow":
        assert options.view_as(WorkerOptions).sdk_container_image.endswith("worker:1")
    else:
        assert (portable.environment_type, portable.environment_config) == ("EXTERNAL", "localhost:50000")
        assert int(portable.environment_cache_millis) > 0


def test_no_job_ships_its_driver_s_main(repository: Path) -> None:
    asked = [
        path
        for folder in ("beam_jobs", "workflows", "gin", "docs/runners")
        for path in (repository / folder).rglob("*")
        if path.is_file() and b"save_main_session" in path.read_bytes()
    ]
    assert asked == []


def test_the_flags_files_are_those_that_the_page_names(repository: Path) -> None:
    page = (repository / "docs" / "clusters.md").read_text()
    for path in (repository / "docs" / "runners").iterdir():
        assert f"@docs/runners/{path.name}" in page
