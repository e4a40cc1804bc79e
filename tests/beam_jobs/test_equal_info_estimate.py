"""--dry_run: exact where the sample is all of the input, laws of scaling, and what starting and merging cost."""

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from beam_jobs.equal_info import __main__ as command
from beam_jobs.equal_info import estimate as module
from beam_jobs.equal_info import sample as sample_module
from beam_jobs.equal_info.estimate import estimate, flags_of, start_of, workers_of
from beam_jobs.equal_info.job import run
from beam_jobs.equal_info.job_rates import JobRates, opened, parts
from beam_jobs.equal_info.sample import Sample, rates_of
from shammie.errors import UserError
from shammie.measured import path_of
from shammie.processors import processors

START = {"one_seconds": 3.0, "one_core_seconds": 2.0, "two_seconds": 5.0, "two_core_seconds": 8.0}
COUNTED = {"documents": 1e-3, "text_bytes": 0.99, "examples": 1e-3, "targets_tokens": 0.25}
RATES = JobRates(
    COUNTED,
    output=0.5,
    work=0.6,
    runs=1 / (4 << 20),
    core_seconds=1e-8,
    pipeline_core_seconds=0.3,
    opened_seconds=0.0,
    part_seconds=0.0,
    busy=1.5,
)


def test_a_dry_run_of_all_units_is_exact_and_writes_nothing(job, text_file, texts) -> None:
    config = job(text_file, unit_bytes=8000)
    found = estimate(config, start=lambda: START)
    assert not os.path.exists(config.output)
    actual = run(config)
    assert found["units"] == 9  # all of them are the sample
    exact = ("documents", "text_bytes", "examples", "targets_tokens", "end_ids", "continuations")
    assert {name: found[name] for name in exact} == {name: actual.stats[name] for name in exact}
    assert found["documents"] == len(texts)
    assert found["output_bytes"] == sum(shard["size"] for shard in actual.manifest["shards"])
    more = found["work_bytes"] - found["output_bytes"] - 16 * found["examples"]
    assert more == 8 * 70, "a hash and a bound each, and a last bound for each of 70 batches"
    assert (found["sample_share"], found["shards"], found["sources"], found["dead_letters"]) == (1.0, 3, 1, 0)
    assert (found["workers"], found["start_core_seconds"]) == (1, 2.0)
    assert 2.0 < found["core_seconds"] < 12.0
    assert found["seconds"] > 3.0


def test_a_sample_is_scaled(job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.txt").write_bytes(b"the same line\n" * 40_000)
    monkeypatch.setattr(sample_module, "FIRST_BYTES", 14_000)
    monkeypatch.setattr(sample_module, "SAMPLE_BYTES", 140_000)
    config = job(tmp_path / "text.txt", unit_bytes=14_000, num_shards=0)
    found = estimate(config, scale=2.0, start=lambda: START)
    assert (found["units"], found["sample_share"]) == (80, 0.125)
    assert (found["documents"], found["text_bytes"], found["end_ids"]) == (80_000, 1_040_000, 80_000)
    once = estimate(config, start=lambda: START)
    assert [once[name] * 2 for name in ("documents", "output_bytes")] == [found["documents"], found["output_bytes"]]


def test_bad_records_are_told_and_do_not_stop_an_estimate(job, tmp_path: Path) -> None:
    lines = [b'{"text": "a good one"}\n', b"no JSON\n"] * 30
    (tmp_path / "text.jsonl").write_bytes(b"".join(lines))
    found = estimate(job(tmp_path / "text.jsonl", unit_bytes=1 << 20), start=lambda: START)
    assert (found["documents"], found["dead_letters"]) == (30, 30)


@pytest.mark.parametrize("wrong", [{"scale": 0.0}, {"scale": math.inf}, {"scale": math.nan}, {"workers": 0}])
def test_odd_numbers_are_refused(job, text_file, wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="is no number above 0; give one"):
        estimate(job(text_file), **wrong)


def test_twice_the_input_is_twice_of_all_that_is_linear() -> None:
    one, two = RATES.forecast(1e9, 16), RATES.forecast(2e9, 16)
    for name in ("documents", "text_bytes", "targets_tokens", "output_bytes", "work_bytes", "core_seconds"):
        assert two[name] == 2 * one[name]
    assert (one["core_seconds"], one["output_bytes"], one["documents"]) == (10.0, 500_000_000, 1_000_000)
    assert RATES.forecast(1e9)["shards"] == math.ceil(1e9 / (64 << 20))


def test_merging_grows_with_runs_times_shards_and_no_further_than_the_examples() -> None:
    assert opened(10, 4, 1e9) == pytest.approx(40)
    assert opened(1e6, 1e6, 1000) == pytest.approx(1000, rel=1e-3), "each example lies in one pair"
    assert parts(10, 2, 1e9, 100 * (4 << 20)) == pytest.approx(1000), "slices are finer than shards"
    assert opened(0, 4, 0) == 0
    slower = replace(RATES, opened_seconds=1e-5, part_seconds=2e-5, counted={**COUNTED, "examples": 1.0})
    small, large = (slower.forecast(size)["merge_core_seconds"] for size in (64 << 30, 128 << 30))
    assert large / small == pytest.approx(4, rel=1e-3)
    runs, shards = (64 << 30) / (4 << 20), 1024
    slices = 0.5 * (64 << 30) / (4 << 20)
    assert small == pytest.approx(runs * (shards * 1e-5 + slices * 2e-5), rel=1e-3)
    assert slower.forecast(64 << 30)["core_seconds"] == pytest.approx((64 << 30) * 1e-8 + small)


def sample(size: int, core_seconds: float, *, runs: int = 4, seconds: float = 1.0) -> Sample:
    counted = {"documents": size // 10, "examples": size // 10, "text_bytes": size}
    return Sample(size, counted, size // 2, size // 2 + 100, runs, 2, core_seconds, seconds)


def test_two_sizes_tell_the_fixed_part_from_the_slope() -> None:
    found = rates_of(sample(1_000_000, 2.5, seconds=1.25), sample(200_000, 0.9), 0.0, 0.0)
    assert found.core_seconds == pytest.approx(1.6 / 800_000)
    assert found.pipeline_core_seconds == pytest.approx(0.5)
    assert found.busy == 2.0
    assert found.forecast(1_000_000, 2)["documents"] == 100_000
    merged = rates_of(sample(1_000_000, 2.5), sample(200_000, 0.9), 0.02, 0.01)
    assert merged.core_seconds == pytest.approx(found.core_seconds), "both had the same pairs"
    assert merged.pipeline_core_seconds == pytest.approx(0.5 - 8 * 0.03, abs=1e-6)
    alone = rates_of(sample(1_000_000, 2.5), None, 0.0, 0.0)
    assert (alone.core_seconds, alone.pipeline_core_seconds) == (pytest.approx(2.5e-6), 0.0)
    assert rates_of(sample(1000, 0.1), sample(500, 0.2), 0.0, 0.0).core_seconds == 0.0, "noise is not below nothing"
    assert JobRates.of_numbers(found.numbers() | {"more": 1.0}) == found


def test_starting_workers_adds_up() -> None:
    assert start_of(START, 1, 2) == {"core_seconds": 2.0, "seconds": 3.0}
    assert start_of(START, 2, 2) == {"core_seconds": 8.0, "seconds": 5.0}
    assert start_of(START, 8, 2) == {"core_seconds": 26.0, "seconds": 11.0}, "four times as many for each core"
    assert start_of(START, 8, 64) == {"core_seconds": 26.0, "seconds": 5.0}


def test_workers_share_the_cores(job, text_file, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "sampled", lambda *_: (replace(RATES, core_seconds=1.0), 100))
    size = os.path.getsize(text_file)
    one, two, many = (estimate(job(text_file), workers=w, cores=4, start=lambda: START) for w in (1, 2, 8))
    assert one["core_seconds"] == size + 2
    assert one["seconds"] == round(3 + size / 1.5, 2), "a worker keeps 1.5 cores busy"
    assert two["seconds"] == round(5 + size / 3, 2)
    assert many["seconds"] == round(7 + size / 4, 2), "there are no more than 4"


def test_flags_tell_the_workers() -> None:
    assert workers_of([]) == workers_of(flags_of(1)) == 1
    assert workers_of(flags_of(3)) == 3
    assert workers_of(["--direct_num_workers=0"]) == processors()
    assert workers_of(["--runner=FlinkRunner", "--parallelism=12"]) == 12
    assert workers_of(["--runner=DataflowRunner", "--num_workers=40"]) == 40


def test_the_command_estimates_for_its_workers(job, text_file, own_cache: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(module, "measure_start", lambda: START)
    words = ["--input", str(text_file), "--output", job(text_file).output, "--dry_run", "--scale=10"]
    assert command.main([*words, *flags_of(2)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["workers"], found["scale"], found["start_core_seconds"]) == (2, 10.0, 8.0)
    assert path_of(module.START, module.PACKAGES).exists(), "what starting takes is kept"


@pytest.mark.slow
def test_starting_is_measured_of_the_command_itself() -> None:
    found = module.measure_start()
    assert set(found) == set(START)
    assert 0.2 < found["one_core_seconds"] < found["two_core_seconds"], "two workers are processes of their own"
