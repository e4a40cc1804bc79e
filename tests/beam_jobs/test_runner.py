import errno
import json
import subprocess
import sys
from contextlib import suppress

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import DirectOptions
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to

from beam_jobs import runner
from beam_jobs.equal_info.__main__ import main
from beam_jobs.equal_info.config import JobConfig
from beam_jobs.equal_info.job import build_pipeline, run
from beam_jobs.equal_info.transforms import EncodeUnit
from beam_jobs.runner import (
    for_the_driver,
    job_options,
    one_worker,
    pipeline_for_tests,
    pipeline_options,
    run_pipeline,
    runner_of,
    with_files,
    worker_processes,
)
from beam_jobs.sharded import Shards
from beam_jobs.sharded_job import run_sharded
from beam_jobs.sweep.job import run_sweep
from beam_jobs.work import Work
from shammie.errors import UserError


@pytest.mark.parametrize("flags", [[], ["--runner=DirectRunner"], ["--runner=FnApiRunner"]])
def test_the_default_is_the_in_process_runner(flags):
    assert isinstance(runner_of(pipeline_options(flags)), FnApiRunner)
    assert one_worker(flags)
    assert not one_worker([*flags, "--direct_num_workers=4", "--direct_running_mode=multi_processing"])
    assert not one_worker([*flags, *worker_processes(2)])
    assert worker_processes(1) == ()


def test_other_runners_are_left_to_beam():
    assert runner_of(pipeline_options(["--runner=FlinkRunner"])) == "FlinkRunner"
    assert not one_worker(["--runner=FlinkRunner"])
    assert isinstance(runner_of(pipeline_options(["--runner=direct"])), FnApiRunner)
    assert (
        runner_of(pipeline_options(["--runner=beam_jobs.runner.PipelineRunner"])) == "beam_jobs.runner.PipelineRunner"
    )


def test_a_typing_error_in_a_flag_is_caught():
    with pytest.raises(UserError, match=r"unknown flag '--direct_num_worker'; did you mean --direct_num_workers"):
        pipeline_options(["--direct_num_worker=4"])
    with pytest.raises(UserError, match=r"direct_num_workers: invalid int value: 'four'"):
        pipeline_options(["--direct_num_workers=four"])


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("Foo", "unknown runner 'Foo'; there are: DataflowRunner"),
        ("FlinkRuner", "unknown runner 'FlinkRuner'; did you mean FlinkRunner"),
        ("beam_jobs.runner.PipelineRuner", "unknown runner 'PipelineRuner'; did you mean PipelineRunner"),
        ("no.such.Runner", "runner 'no.such.Runner' cannot be imported: No module named 'no'"),
    ],
)
def test_an_unknown_runner_is_one_line(name, line):
    with pytest.raises(UserError) as caught:
        pipeline_options([f"--runner={name}"])
    assert str(caught.value).startswith(line)


def fail(number):
    with for_the_driver():
        if number == 3:
            raise UserError("element 3 is odd", "give even ones")
        if number == 4:
            raise OSError(errno.ENOSPC, "No space left on device", "/some/file")
    return number


@pytest.mark.parametrize(
    ("number", "line"), [(3, "element 3 is odd; give even ones"), (4, "/some/file: the disk is full: free some room")]
)
@pytest.mark.parametrize("flags", [[], ["--direct_num_workers=2", "--direct_running_mode=multi_threading"]])
def test_errors_of_workers_reach_the_driver_as_one_line(number, line, flags):
    with pytest.raises(UserError) as caught:
        run_pipeline(lambda pipeline: pipeline | beam.Create([number]) | beam.Map(fail), flags)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_dofns_under_test_pipeline(job, tmp_path, texts, kit):
    (tmp_path / "text.txt").write_bytes(b"\n".join(texts))
    result = run(job(tmp_path / "text.txt", output="whole"))
    config = job(tmp_path / "text.txt")
    # a work folder as the driver leaves it for the workers
    from beam_jobs.equal_info import dataset
    from beam_jobs.equal_info.config import dataset_config
    from beam_jobs.equal_info.job import load_codec, plan_of
    from beam_jobs.storage import write_bytes
    from seqio_tasks.layout import CODEC_FILE

    codec, artefact = load_codec(config.codec)
    plan = plan_of(config)
    settings = dataset_config(config, plan, codec)
    dataset.claim(config.output)
    work = Work(config.output, "train")
    work.start(plan, settings, "digest")
    write_bytes(f"{config.output}/{CODEC_FILE}", artefact)
    with pipeline_for_tests() as pipeline:
        units = pipeline | beam.Create(range(2)) | beam.ParDo(EncodeUnit(config.output, "train", 1))
        assert_that(units, equal_to([0, 1]))
    assert work.finished() == ([0, 1], [])
    with pipeline_for_tests() as pipeline:
        shards = build_pipeline(pipeline, config, units=len(plan.units), shards=3)
        assert_that(shards, equal_to([0, 1, 2]))
    written = {name: value for name, value in kit.hashes(config.output).items() if name.startswith("train.")}
    assert sorted(written.values()) == sorted(shard["sha256"] for shard in result.manifest["shards"])


def test_command(tmp_path, texts, codec_path, capsys):
    (tmp_path / "text.txt").write_bytes(b"\n".join(texts))
    flags = ["--input", str(tmp_path / "text.txt"), "--output", str(tmp_path / "out"), "--codec", codec_path]
    assert main([*flags, "--dry_run"]) == 0
    assert json.loads(capsys.readouterr().out)["units"] == 1
    assert not (tmp_path / "out").exists()
    assert main([*flags, "--num_shards=2", "--direct_num_workers=1"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["documents"], shown["shards"]) == (len(texts), 2)


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--num_shard=2"], "unknown flag '--num_shard'; did you mean"),
        (["--codec=/nowhere"], "codec /nowhere does not exist; check --codec"),
        (["--output_format=csv"], "unknown output_format 'csv'; choose tfrecord or array_record"),
        (["--input=/nowhere/*.txt"], "matches no file; check the path"),
        (["--runner=Foo"], "unknown runner 'Foo'; there are: "),
        (["--threads=0"], "threads=0 is below 1; give 1 or more"),
        (["--threads=-3"], "threads=-3 is below 1; give 1 or more"),
        (
            ["--num_shards=many"],
            "argument --num_shards: invalid int value: 'many'; python -m beam_jobs.equal_info --help",
        ),
        (["--direct_num_workers=four"], "argument --direct_num_workers: invalid int value: 'four'"),
    ],
)
def test_bad_flags_are_one_line(tmp_path, codec_path, capsys, flags, line):
    (tmp_path / "text.txt").write_bytes(b"some text\n")
    base = ["--input", str(tmp_path / "text.txt"), "--output", str(tmp_path / "out"), "--codec", codec_path]
    assert main([*base, *flags]) == 2
    said = capsys.readouterr().err
    # Beam's threads of an earlier test may still say something: test_stderr.py looks at all of a process's words
    shown = [at for at in said.splitlines() if at.startswith("beam_jobs.equal_info: ")]
    assert len(shown) == 1
    assert "usage:" not in said
    assert line in shown[0]
    assert not (tmp_path / "out").exists()


def test_jobs_do_not_import_tensorflow():
    code = (
        "import sys, seqio_tasks.layout, seqio_tasks.metrics, seqio_tasks.token_files, seqio_tasks.windows;"
        "import beam_jobs.equal_info.job, beam_jobs.equal_info.estimate, beam_jobs.read_examples;"
        " print('tensorflow' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_an_error_that_the_runner_does_not_tell_is_found_in_the_job_s_folder(tmp_path, monkeypatch):
    """Flink reports the last worker that was cancelled, not the first that failed."""

    class Cancelling(FnApiRunner):
        def run_pipeline(self, pipeline, options):
            try:
                return super().run_pipeline(pipeline, options)
            except Exception as error:
                raise RuntimeError("CANCELLED: client cancelled") from error

    def failing(number):
        with for_the_driver(str(tmp_path)):
            raise UserError(f"element {number} is odd", "give even ones")

    monkeypatch.setattr(runner, "FnApiRunner", Cancelling)
    for folder, told in (("", RuntimeError), (str(tmp_path), UserError)):
        (tmp_path / runner.ERROR_FILE).write_text("an older run's")
        with pytest.raises(told) as caught:
            run_pipeline(lambda pipeline: pipeline | beam.Create([3]) | beam.Map(failing), folder=folder)
        assert ("element 3 is odd; give even ones" == str(caught.value)) == bool(folder)
    assert list(tmp_path.iterdir()) == []


def test_flags_of_a_file_stand_in_its_place(tmp_path):
    file = tmp_path / "some.flags"
    file.write_text("# two workers\n--direct_num_workers=2\n\n  --runner=FnApiRunner\n")
    assert with_files(["--a", f"@{file}", "--b"]) == ["--a", "--direct_num_workers=2", "--runner=FnApiRunner", "--b"]
    options = pipeline_options([f"@{file}", "--direct_running_mode=multi_threading"])
    assert options.view_as(DirectOptions).direct_num_workers == 2
    assert not one_worker([f"@{file}"])
    with pytest.raises(UserError, match=r"the flags of @.*none.flags cannot be read: .*it does not exist"):
        pipeline_options([f"@{tmp_path}/none.flags"])


def test_a_note_of_a_try_that_was_made_good_does_not_stay(tmp_path):
    def second_time(number):
        with suppress(RuntimeError), for_the_driver(str(tmp_path)):
            raise UserError("the first try fails", "")
        return number

    assert run_pipeline(lambda p: p | beam.Create([1]) | beam.Map(second_time), folder=str(tmp_path)) is not None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "runner", ["PortableRunner", "flinkrunner", "Spark", "apache_beam.runners.portability.flink_runner.FlinkRunner"]
)
def test_a_path_from_here_is_refused_where_workers_are_elsewhere(runner, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = [f"--runner={runner}", "--job_endpoint=127.0.0.1:9", "--environment_type=EXTERNAL"]
    with pytest.raises(UserError) as refused:
        job_options(flags, ["/data/text.txt", "gs://bucket/text.txt", "out"])
    assert refused.value.problem == f"out leads from this folder, and {runner}'s workers are elsewhere"
    assert refused.value.cure == f"write it as {tmp_path}/out"
    for here in ([], ["--runner=DirectRunner"], [*flags[:2], "--environment_type=LOOPBACK"]):
        job_options(here, ["out"])


@pytest.mark.parametrize("job", ["equal_info", "sharded", "sweep"])
def test_jobs_refuse_such_a_path_before_they_write(job, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("text")
    flags = ["--runner=PortableRunner", "--job_endpoint=127.0.0.1:9", "--environment_type=EXTERNAL"]
    jobs = {
        "equal_info": lambda: run(JobConfig((str(tmp_path / "text.txt"),), "out"), flags),
        "sharded": lambda: run_sharded(Shards("out", "x", 1), {}, lambda numbers: numbers, flags, what="job"),
        "sweep": lambda: run_sweep("out", "beam_jobs.trainability.cells:TILES", [], flags, what="sweep"),
    }
    with pytest.raises(UserError, match="out leads from this folder"):
        jobs[job]()
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]
