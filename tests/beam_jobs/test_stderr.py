"""What a person sees: the job in a process of its own, and all that arrives at its stderr."""

import gzip
import subprocess
import sys

import pyarrow as pa
import pytest
from pyarrow import parquet

WORKERS = ["--direct_num_workers=2"]


@pytest.fixture
def command(tmp_path, codec_path):
    def run(source, *flags):
        words = ["-m", "beam_jobs.equal_info", "--input", str(source), "--output", str(tmp_path / "out")]
        words += ["--codec", codec_path, *flags]
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
        lines = done.stderr.splitlines()
        return done, [line for line in lines if not line.startswith("equal_info: text encoded: ")]

    return run


@pytest.fixture
def truncated(tmp_path):
    (tmp_path / "z.gz").write_bytes(gzip.compress(b"some text\n" * 100)[:-12])
    return tmp_path / "z.gz"


@pytest.mark.parametrize(
    "flags",
    [
        [],
        [*WORKERS, "--direct_running_mode=multi_threading"],
        [*WORKERS, "--direct_running_mode=multi_processing"],
    ],
)
def test_a_truncated_gzip_is_one_line(command, truncated, flags):
    done, other_lines = command(truncated, *flags)
    assert done.returncode == 2
    assert other_lines == [
        "beam_jobs.equal_info: input z.gz: truncated gzip; mend it and --overwrite, or go on with what could be read"
        " by --max_bad_sources=1"
    ]
    assert done.stdout == ""


def test_a_parquet_column_of_numbers_is_one_line(command, tmp_path):
    parquet.write_table(pa.table({"text": [1, 2, 3]}), tmp_path / "n.parquet")
    done, other_lines = command(tmp_path / "n.parquet")
    assert done.returncode == 2
    assert other_lines == [
        "beam_jobs.equal_info: input n.parquet: column 'text' is int64, not text; mend it and --overwrite, or go on"
        " with what could be read by --max_bad_sources=1"
    ]


def test_a_good_run_says_nothing_but_its_progress(command, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"some text\n" * 100)
    done, other_lines = command(tmp_path / "a.txt")
    assert (done.returncode, other_lines) == (0, [])
    assert done.stderr.startswith("equal_info: text encoded: ")
    assert '"documents": 100' in done.stdout


def test_debug_shows_all(command, truncated):
    done, other_lines = command(truncated, "--debug")
    assert done.returncode == 2
    assert "Traceback (most recent call last):" in other_lines
    assert other_lines[-1].startswith("beam_jobs.equal_info: input z.gz: truncated gzip")
    assert any("apache_beam" in line for line in other_lines)


def test_wrong_arguments_are_one_line_and_help_is_whole(command):
    for flags in (["--num_shards=many"], ["--seed"]):
        done, _ = command("x", *flags)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    done, _ = command("x", "--help")
    assert done.returncode == 0
    assert "--max_bad_sources" in done.stdout
