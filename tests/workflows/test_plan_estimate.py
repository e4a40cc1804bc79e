"""`shammie plan --estimate`: the values of its table on a small DAG with rates that are given."""

import argparse
import functools
import json
from pathlib import Path
from typing import Any

import pytest

from beam_jobs.sweep import planning
from shammie.errors import UserError
from shammie.lock import host
from workflows import cost_rates, dag, plan_estimate
from workflows.cli import main
from workflows.cost_model import Cost, Rates
from workflows.dag import Running, Step
from workflows.plan_estimate import estimates, hours, report, table, total

PRODUCTS = {"training_64": 1e9, "decoding_64": 5e8}
RATES = Rates(products=lambda: PRODUCTS, corpus=lambda: {"parquet_bytes": 0.5})
CHOSEN: Any = {"scale": 1.0, "accelerator": "v5e", "utilisation": 0.5, "cores": 4}


def write(running: Running) -> None:
    Path(running.path("out.txt")).write_text("done")


def read_cost(rates: Rates) -> Cost:
    return Cost(read_bytes=1e9, written_bytes=3e8, scratch_bytes=5e8, core_seconds=3600, sources=("x",)).scaled(
        rates.scale
    )


def train_cost(rates: Rates) -> Cost:
    return rates.training(98.5e12 * 36, 64) + Cost(written_bytes=2e8, scratch_bytes=9e8)


def steps() -> list[Step]:
    first = Step("read", write, cost=read_cost)
    second = Step("train", write, inputs={"first": first}, cost=train_cost)
    return [Step("report", write, inputs={"first": first, "second": second})]


def estimated(out: Path, rates: Rates = RATES) -> dict[str, Any]:
    return report(estimates(dag.plan(steps(), str(out)), rates), str(out), **{**CHOSEN, "scale": rates.scale})


def rows(told: dict[str, Any]) -> dict[str, list[Any]]:
    return {row[0].partition("-")[0]: list(row[1:]) for row in table(told).rows}


def test_every_step_and_the_sum(tmp_path: Path) -> None:
    told = estimated(tmp_path / "out")
    found = rows(told)
    assert found["read"] == ["missing", "1.0 GB", "0.3 GB", "0.5 GB", "1", "0", "x"]
    core = 98.5e12 * 36 / 1e9 / 3600
    assert found["train"] == [
        *("missing", "0.0 MB", "0.2 GB", "0.9 GB", f"{core:,.0f}", "0.01"),
        "formula, measured here",
    ]
    assert found["report"] == ["missing", "?", "?", "?", "?", "?", "unknown"], "not 0"
    assert found["total"] == ["", "1.0 GB", "0.5 GB", "0.9 GB", f"{core + 1:,.0f}", "0.01", "what is known of it"]
    assert told["total"]["accelerator_hours"] == pytest.approx(0.01)
    assert told["total"]["core_hours"] - told["total"]["flops_core_hours"] == pytest.approx(1)
    assert (told["unknown_steps"], told["running_steps"]) == (1, 3)
    assert [one["cost"] for one in told["steps"]][2] is None
    notes = "\n".join(table(told).notes)
    assert "1 of 3 steps that would run do not say" in notes
    assert "197 TFLOP/s x 0.5" in notes
    assert "with them 1 core-hours remain" in notes
    assert f"4 of them need at least {hours((core + 1) / 4)} h" in notes


def test_scale_reaches_the_steps_that_read_the_input(tmp_path: Path) -> None:
    found = rows(estimated(tmp_path / "out", Rates(scale=1000.0, products=lambda: PRODUCTS)))
    assert found["read"][1:5] == ["1,000.0 GB", "300.0 GB", "500.0 GB", "1,000"]
    assert found["train"][2] == "0.2 GB"


def test_cached_steps_cost_nothing_more(tmp_path: Path) -> None:
    out = tmp_path / "out"
    dag.run(steps(), str(out), only="read")
    told = estimated(out, Rates(str(out), products=lambda: PRODUCTS))
    assert rows(told)["read"] == ["cached", "0", "0", "0", "0", "0", ""]
    assert told["total"]["read_bytes"] == 0
    assert (told["unknown_steps"], told["running_steps"]) == (1, 2)
    dag.run(steps(), str(out))
    whole = estimated(out, Rates(str(out)))
    assert (whole["unknown_steps"], whole["running_steps"], whole["total"]["core_hours"]) == (0, 0, 0)


def finish(out: Path, step: Step, **record: Any) -> None:
    """Runs a step and changes what its record says."""
    dag.run([step], str(out))
    path = out / step.directory_name / "step.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | record))


def test_finished_steps_of_a_name_correct_the_others(tmp_path: Path) -> None:
    small, large = (Step("train", write, config={"size": size}, cost=train_cost) for size in (1, 2))
    out, rates = tmp_path / "out", Rates(str(tmp_path / "out"), products=lambda: PRODUCTS)
    expected = train_cost(rates).core_seconds

    def core_seconds() -> tuple[float, str]:
        found = estimates(dag.plan([small, large], str(out)), rates)[1].cost
        assert found is not None
        assert found.flops == train_cost(rates).flops
        assert found.core_seconds == found.flops_core_seconds
        return found.core_seconds, ", ".join(found.sources)

    finish(out, small, core_seconds=1.5 * expected)
    assert core_seconds() == (pytest.approx(1.5 * expected), "formula, measured here, 1 finished train")
    finish(out, small, core_seconds=1.5 * expected, host="another")
    assert core_seconds() == (pytest.approx(expected), "formula, measured here")
    finish(out, small, core_seconds=plan_estimate.LEAST_RECORDED_SECONDS / 2, host=host())
    assert core_seconds()[0] == pytest.approx(expected), "too short to tell"


def test_a_record_holds_core_seconds(tmp_path: Path) -> None:
    def count(running: Running) -> None:
        write(running)
        assert sum(range(3_000_000))

    step = Step("count", count)
    dag.run([step], str(tmp_path / "out"))
    record = json.loads((tmp_path / "out" / step.directory_name / "step.json").read_text())
    assert 0.01 < record["core_seconds"] < 20


def test_too_little_room_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert estimated(tmp_path)["enough_room"] is True
    monkeypatch.setattr(planning, "free_bytes", lambda folder: 1_300_000_000)
    told = estimated(tmp_path)
    assert (told["enough_room"], told["free_bytes"]) == (False, 1_300_000_000)
    assert f"WARNING: this needs 1.4 GB of disk, and {tmp_path} has 1.3 GB free" in table(told).notes
    monkeypatch.setattr(planning, "free_bytes", lambda folder: None)
    assert estimated(tmp_path)["enough_room"] is None


def test_where_no_step_says_what_it_takes_the_sum_is_unknown(tmp_path: Path) -> None:
    silent = [Step("a", write, inputs={"b": Step("b", write)})]
    told = report(estimates(dag.plan(silent, str(tmp_path)), RATES), str(tmp_path), **CHOSEN)
    assert (told["total"], told["enough_room"], told["unknown_steps"]) == (None, None, 2)
    assert rows(told)["total"] == ["", "?", "?", "?", "?", "?", "unknown"]
    assert table(told).notes == ["?: 2 of 2 steps that would run do not say"]
    # and where nothing is left to run it is nothing
    done = report([], str(tmp_path), **CHOSEN)
    assert done["total"]["core_hours"] == 0


def test_scratch_room_is_that_of_one_step_at_a_time(tmp_path: Path) -> None:
    whole = total(estimates(dag.plan(steps(), str(tmp_path)), RATES))
    assert whole is not None
    assert whole.scratch_bytes == 9e8


@pytest.mark.parametrize(
    ("count", "words"), [(0.0, "0"), (1e-9, "<0.001"), (0.0123, "0.0123"), (12.345, "12.3"), (12345.6, "12,346")]
)
def test_hours(count: float, words: str) -> None:
    assert hours(count) == words


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    plan_estimate.add_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--accelerator", "v5"), "unknown accelerator 'v5'"),
        (("--scale", "0"), "--scale=0.0 is not a number above 0"),
        (("--scale", "nan"), "--scale=nan is not a number above 0"),
        (("--cores", "-1"), "--cores=-1 is not a number above 0"),
        (("--utilisation", "1.5"), "--utilisation=1.5 is not a share above 0 and at most 1"),
    ],
)
def test_odd_options_are_refused(words: tuple[str, ...], problem: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        plan_estimate.show(options("--estimate", *words), [], str(tmp_path))
    assert problem in str(raised.value)


def test_options_of_estimates_need_estimate(capsys: pytest.CaptureFixture[str]) -> None:
    plan_estimate.refuse_alone(options())
    assert main(["plan", "equal_info", "--size", "tiny", "--scale", "3"]) == 2
    assert "--scale is for estimates; add --estimate" in capsys.readouterr().err


def test_a_system_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def products(*, again: bool = False) -> dict[str, float]:
        asked.append(again)
        return PRODUCTS

    monkeypatch.setattr(cost_rates, "products", products)
    words = ["plan", "rest_em", "--size", "tiny", "--out", str(tmp_path / "out"), "--estimate", "--remeasure", "--json"]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert asked == [True], "measured once, and anew"
    by_name = {one["step"].partition("-")[0]: one["cost"] for one in told["steps"]}
    for name in ("base", "tune", "sample", "evaluate"):
        assert by_name[name]["flops"] > 0
        rate = PRODUCTS["decoding_64" if name in ("sample", "evaluate") else "training_64"]
        assert by_name[name]["core_hours"] == pytest.approx(by_name[name]["flops"] / rate / 3600)
        assert by_name[name]["accelerator_hours"] == pytest.approx(by_name[name]["flops"] / (197e12 * 0.4) / 3600)
    assert by_name["grade"] is None
    assert told["unknown_steps"] == sum(one["cost"] is None for one in told["steps"]) > 0
    costs = [one["cost"] for one in told["steps"] if one["cost"]]
    assert told["total"]["flops"] == pytest.approx(functools.reduce(lambda sum, one: sum + one["flops"], costs, 0.0))
