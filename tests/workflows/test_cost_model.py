"""Costs: they add up and scale, FLOPs are those of `workflows.costs`, rates are met between the measured ones."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from beam_jobs.sweep.job import run_sweep
from models.lm import LMConfig
from models.lm.flops import forward_flops_per_token
from workflows import cost_rates, costs
from workflows.cost_model import PEAK_FLOPS_PER_S, Cost, Rates, between, declared
from workflows.dag_step import shared_folder
from workflows.step_costs import corpus_cost, dataset_cost, lm_samples, lm_training, sweep_cost

sys.path.append(str(Path(__file__).parents[1] / "beam_jobs" / "sweep"))  # where sweep_kinds lies

PRODUCTS = {"training_32": 1e9, "training_512": 4e9, "decoding_64": 5e8}
CORPUS = {
    "counted_documents": 1e-3,
    "counted_text_bytes": 1.0,
    "counted_examples": 1e-3,
    "output": 0.5,
    "work": 0.51,
    "runs": 1 / (4 << 20),
    "core_seconds": 1e-8,
    "pipeline_core_seconds": 0.25,
    "opened_seconds": 0.0,
    "part_seconds": 0.0,
    "busy": 1.5,
    "parquet_bytes": 0.3,
    "parquet_core_seconds": 2e-8,
}
RATES = Rates(products=lambda: PRODUCTS, corpus=lambda: CORPUS)


def test_costs_add_up_and_scale() -> None:
    one = Cost(1, 2, 3, 4, 50, 2, ("measured here",))
    two = Cost(10, 20, 30, 40, 500, 20, ("formula", "measured here"))
    assert one + two == Cost(11, 22, 33, 44, 550, 22, ("measured here", "formula"))
    assert (one + two) + one == one.scaled(2) + replace(two, sources=("measured here", "formula"))
    assert one.scaled(3) == Cost(3, 6, 9, 12, 150, 6, ("measured here",))
    assert one + Cost() == one
    assert declared(7).sources == ("declared",)
    assert Cost(flops=98.5e12 * 3600).accelerator_seconds(PEAK_FLOPS_PER_S["v5e"], 0.5) == 3600
    assert Cost(flops=1e15).accelerator_seconds(1e12) == 1e15 / 0.4e12


def test_rates_between_widths() -> None:
    assert between(PRODUCTS, "training", 32) == 1e9
    assert between(PRODUCTS, "training", 512) == 4e9
    assert between(PRODUCTS, "training", 128) == pytest.approx(2e9), "halfway in logarithms"
    assert between(PRODUCTS, "training", 8) == 1e9
    assert between(PRODUCTS, "training", 4096) == 4e9
    assert [between(PRODUCTS, "decoding", width) for width in (1, 64, 999)] == [5e8] * 3


@pytest.mark.parametrize(("name", "ids"), [("25m", 65_538), ("2b", 258), ("3m", 257)])
def test_the_papers_trainings_cost_what_the_tables_say(name: str, ids: int) -> None:
    run = costs.run_of(name, ids)
    config = run.config
    found = lm_training(RATES, config.model, config.optimizer, tokens=run.tokens, length=config.length)
    assert found.flops == run.flops
    hours = found.accelerator_seconds(PEAK_FLOPS_PER_S["v4"]) / 3600
    assert hours == pytest.approx(costs.chip_hours(run.flops, "v4"))
    if name == "25m":
        assert found.flops == pytest.approx(9.7927e18, rel=1e-4)
        assert hours == pytest.approx(24.73, abs=0.01)
    rate = between(PRODUCTS, "training", config.model.width)
    assert found.core_seconds == found.flops_core_seconds == pytest.approx(run.flops / rate)
    assert found.scratch_bytes == 2 * costs.checkpoint_bytes(run)
    assert found.written_bytes == 2 * 4 * costs.state_numbers(config.model, config.optimizer)[0]
    assert lm_training(
        RATES, config.model, config.optimizer, tokens=run.tokens, length=config.length, runs=3
    ).flops == pytest.approx(3 * run.flops)


def test_samples_are_forward_passes() -> None:
    model = LMConfig(width=64)
    found = lm_samples(RATES, model, tokens=1000, length=48)
    assert found.flops == 1000 * forward_flops_per_token(model, 48)
    assert found.core_seconds == found.flops / 5e8


def test_twice_the_input_is_twice_the_slope() -> None:
    one, two, three = (dataset_cost(replace(RATES, scale=scale), 1e9, 4) for scale in (1.0, 2.0, 3.0))
    assert one.core_seconds == pytest.approx(1e9 * 1e-8 + 3 * 0.25)
    assert two.core_seconds - one.core_seconds == pytest.approx(three.core_seconds - two.core_seconds)
    assert two.core_seconds == pytest.approx(2 * (one.core_seconds - 0.75) + 0.75)
    assert (one.read_bytes, one.written_bytes) == (pytest.approx(0.3e9), pytest.approx(0.5e9))
    assert (two.written_bytes, two.scratch_bytes) == (pytest.approx(1e9), pytest.approx(0.84 * 2e9 * 0.51))
    written = corpus_cost(replace(RATES, scale=2.0), 1e9)
    assert (written.read_bytes, written.written_bytes) == (2e9, 0.6e9)
    assert written.core_seconds == pytest.approx(40.0)


def test_a_sweep_costs_what_is_not_there_yet(tmp_path: Path) -> None:
    kind, out = "sweep_kinds:SQUARES", str(tmp_path)
    configs = [{"x": x, "width": 2} for x in range(10)]
    rates = replace(RATES, out=out)
    whole = sweep_cost(rates, "cells", kind, configs)
    assert (whole.core_seconds, whole.sources) == (20.0, ("declared",))
    assert whole.written_bytes > 2 * 10 * 8
    run_sweep(shared_folder(out, "cells"), kind, configs[:6], what="cells")
    left = sweep_cost(rates, "cells", kind, configs)
    assert left.sources == ("2 finished groups",)
    assert 0 < left.core_seconds < 8.0, "four cells, as fast as the others were, not as fast as the kind says"
    assert left.written_bytes < whole.written_bytes
    assert sweep_cost(rates, "cells", kind, configs[:6]).core_seconds == 0
    assert sweep_cost(replace(rates, out=""), "cells", kind, configs) == whole


@pytest.mark.slow
def test_this_machine_is_measured(own_cache: Path) -> None:
    products = cost_rates.products()
    assert {name.partition("_")[0] for name in products} == {"training", "decoding"}
    assert all(1e8 < rate < 1e13 for rate in products.values())
    assert cost_rates.products() == products, "once"
    corpus = cost_rates.corpus()
    assert corpus["counted_text_bytes"] == pytest.approx(1.0)
    assert 0.1 < corpus["parquet_bytes"] < 0.6
    assert 0.3 < corpus["output"] < 0.8
    assert 1e-9 < corpus["core_seconds"] < 1e-6
    found = dataset_cost(Rates(corpus=lambda: corpus), 1e9, 4)
    assert 0.3e9 < found.written_bytes < 0.8e9
