"""The grids of `parameterization` as a DAG, what is measured on them, and what its gin files promise."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from models.parameterization.grid import Training
from shammie.errors import UserError
from shammie.files import canonical_json
from workflows import gin_config, parameterization
from workflows.cli import main
from workflows.dag_step import in_order
from workflows.parameterization import Look, Settings, Sizes, Sweep, steps
from workflows.parameterization_measures import best_of, curves_of, predicted_exponent, results

TOY = [
    "--gin.WIDTHS=(4, 8)",
    "--gin.MLP_STEPS=16",
    "--gin.SWEEPS=(%ADAM,)",
    "--gin.ADAM_RATES=(-6, -4, -2)",
    "--gin.PARAMETERIZATIONS=('standard', 'mup')",
    "--gin.SEEDS=(0, 1)",
]


def _settings(size: str, *bindings: str) -> Settings:
    gin_config.parse([f"gin/parameterization/{size}.gin"], bindings, modules=["workflows.parameterization"])
    return gin_config.call(parameterization.Settings)


def _grid(best: Any, *, seeds: int = 3, names: tuple[str, ...] = ("standard", "mup")) -> Any:
    """Curves whose lowest point, and loss there, is what `best` says of (name, variant, width, seed)."""
    sweep = Sweep(parameterizations=names, seeds=tuple(range(seeds)))
    rows = {}
    for name, variant, width in sweep.places():
        for seed in sweep.seeds:
            for rate in sweep.log2_learning_rates:
                at, loss = best(name, variant, width, seed)
                config = sweep.training(name, variant, width, rate, seed)
                rows[canonical_json(config)] = loss + 0.01 * (rate - at) ** 2
    return curves_of(sweep, pa.table({"config": list(rows), "final_loss": list(rows.values())}))


def test_the_lowest_point_is_that_of_the_parabola() -> None:
    rates = list(range(-5, 3))
    losses = np.array([2.0 + 0.1 * (rate + 1.3) ** 2 for rate in rates])
    found = best_of(losses, rates)
    assert found is not None
    assert found.log2_rate == pytest.approx(-1.3)
    assert (rates[found.place], found.loss, found.at_edge) == (-1, losses[4], False)


def test_what_is_not_finite_is_never_best_and_ends_are_told() -> None:
    beside = best_of(np.array([3.0, 2.0, np.nan, 1.5, np.inf]), [-4, -3, -2, -1, 0])
    assert beside is not None
    assert (beside.log2_rate, beside.at_edge) == (-1.0, False)
    edge = best_of(np.array([1.0, 2.0, np.inf]), [-4, -3, -2])
    assert edge is not None
    assert (edge.log2_rate, edge.at_edge) == (-4.0, True)
    assert best_of(np.array([np.nan, np.inf]), [0, 1]) is None


@pytest.mark.parametrize(
    ("name", "optimizer", "variant", "expected"),
    [
        ("standard", "adam", "full", 0),
        ("standard", "adam", "none", 0.5),
        ("standard", "adam", "global", 1),
        ("ntk", "adam", "global", 0.5),
        ("mup", "adam", "global", 1),
        ("standard", "sgd", "global", 1),
        ("ntk", "sgd", "global", 0),
        ("mean_field", "sgd", "global", -1),
        ("standard", "adafactor", "global", 0.5),
    ],
)
def test_predicted_exponents(name: str, optimizer: str, variant: str, expected: float) -> None:
    assert predicted_exponent(name, optimizer, variant) == expected


def test_without_alignment_one_rate_falls_slower_and_rates_for_it_stay() -> None:
    assert predicted_exponent("standard", "adam", "global", "none") == 0.5
    assert predicted_exponent("mean_field", "adam", "global", "none") == 0
    assert predicted_exponent("mup", "sgd", "none", "none") == 0
    assert predicted_exponent("standard", "adam", "full", "none") == 0  # the embedding bears no more than it has


def test_rates_that_fall_with_the_width_are_fitted_and_counted() -> None:
    def best(name: str, variant: str, width: int, seed: int) -> tuple[float, float]:
        falls = 1.0 if variant == "global" else 0.0
        loss = 2.0 - 0.05 * np.log2(width / 32) + 0.01 * seed + (0.02 if name == "mup" and width > 32 else 0.0)
        return -6.2 - falls * np.log2(width / 32) + 0.01 * seed, loss

    curves = _grid(best)
    assert curves.steps_moved("standard", "full") == 0
    assert curves.steps_moved("standard", "global") == 3
    assert curves.exponents("standard", "full") == pytest.approx([0, 0, 0], abs=1e-6)
    assert curves.exponents("standard", "global") == pytest.approx([1, 1, 1], abs=1e-6)
    assert not curves.at_edge("standard", "global")
    # the same learning rate for all seeds, the one that is best for their mean
    assert curves.difference(("standard", "full"), ("mup", "full"), 256) == pytest.approx([0.02] * 3)
    result = results([curves], [])
    assert (result["full_alignment_transfers"], result["full_alignment_transfers_asked"]) == (2, 2)
    assert result["mlp_adam_standard_global_fitted_exponent"] == pytest.approx(1, abs=1e-6)
    assert result["mlp_adam_standard_global_predicted_exponent"] == 1
    assert result["mlp_adam_standard_over_mup_w64_nats"] == pytest.approx(0.02)
    assert "mlp_adam_standard_over_mup_w32_nats" not in result  # one network at the first width
    low, mean, high = (result[f"mlp_adam_mup_full_best_loss_w64_nats{end}"] for end in ("_low", "", "_high"))
    assert low < mean < high
    assert mean == pytest.approx(2.0 - 0.05 + 0.01 + 0.02 + 0.01 * 0.2**2, abs=1e-3)


def test_a_cell_that_failed_takes_no_other_along() -> None:
    curves = _grid(lambda name, variant, width, seed: (-6.0, 2.0), seeds=1)
    losses = curves.losses_SR["standard", "full", 64]
    losses[0, :] = np.nan
    assert curves.steps_moved("standard", "full") is None
    assert curves.exponents("standard", "full") == []
    assert curves.steps_moved("mup", "full") == 0
    result = results([curves], [])
    assert "mlp_adam_standard_full_fitted_exponent" not in result
    assert (result["full_alignment_transfers"], result["full_alignment_transfers_asked"]) == (1, 2)
    assert all(np.isfinite(value) for value in result.values())


def test_the_first_width_is_trained_once_for_all_parameterizations() -> None:
    sweep = Sweep(sizes=Sizes(widths=(32, 64)), log2_learning_rates=(-6,))
    configs = sweep.configs()
    assert len(configs) == 4 * 3 * 2
    distinct = {canonical_json(config): config for config in configs}.values()
    assert [config["width"] for config in distinct].count(32) == 1
    assert [config["width"] for config in distinct].count(64) == 4 * 3
    scales = {str(Training.from_json({**config, "width": 32}).scales()) for config in configs}
    assert len(scales) == 1  # which is what makes them one


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sweep(log2_learning_rates=()), "log2_learning_rates of mlp_adam is empty"),
        (lambda: Sweep(seeds=()), "seeds of mlp_adam is empty"),
        (lambda: Sweep(log2_learning_rates=(1, 0)), "do not rise"),
        (lambda: Sweep(parameterizations=("sandard",)), "unknown parameterization 'sandard'; did you mean standard"),
        (lambda: Sweep(variants=("ful",)), "unknown variant 'ful'"),
        (lambda: Sweep(optimizer="adagrad"), "unknown optimizer 'adagrad'"),
        (lambda: Sizes(widths=(64, 32)), "give rising ones"),
        (lambda: Sizes(model="lm", widths=(32, 40)), "40 is not a multiple of the head width 16"),
        (lambda: Look(log2_learning_rates={}), "Look mlp has no learning rates"),
        (lambda: Settings(sweeps=()), "sweeps is empty"),
        (lambda: Settings(sweeps=(Sweep(), Sweep())), "names one twice: mlp_adam, mlp_adam"),
        (lambda: steps(input=("a.txt",)), "reads no --input"),
    ],
)
def test_bad_settings_are_named(make: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


def test_a_learning_rate_more_makes_another_step_of_that_sweep_alone() -> None:
    sweeps = (Sweep(), Sweep("mlp_sgd", optimizer="sgd"))
    before = {step.name: step.identity for step in in_order(steps(Settings(sweeps)))}
    wider = replace(sweeps[1], log2_learning_rates=(*sweeps[1].log2_learning_rates, -1))
    after = {step.name: step.identity for step in in_order(steps(Settings((sweeps[0], wider))))}
    assert {name for name in before if before[name] != after[name]} == {"train_mlp_sgd", "report"}


def test_small_asks_what_the_issue_asks() -> None:
    settings = _settings("small")
    for sweep in settings.sweeps:
        widths = sweep.sizes.widths
        assert widths[-1] >= 8 * widths[0]
        assert len(sweep.log2_learning_rates) >= 12
        assert len(sweep.seeds) >= 3
        assert "global" in sweep.variants
    mlp = [sweep for sweep in settings.sweeps if sweep.sizes.model == "mlp"]
    assert {sweep.optimizer for sweep in mlp} == {"adam", "sgd", "adafactor"}
    assert all(len(sweep.parameterizations) == 4 for sweep in mlp)


def test_paper_has_14_widths_and_its_largest_model_26_8_billion_parameters() -> None:
    settings = _settings("paper")
    assert {sweep.optimizer for sweep in settings.sweeps} == {"adam", "sgd", "adafactor"}
    for sweep in settings.sweeps:
        assert len(sweep.sizes.widths) == 14
        assert set(sweep.variants) == {"full", "none", "global"}
        assert len(sweep.parameterizations) == 4
    sizes = settings.sweeps[0].sizes
    counts = [sizes.shape(width, "adam", steps=50_000).parameters() for width in (128, 1024, 16384)]
    # the paper's positions are one table of 512 rows, ours one in every layer, which small models feel
    assert counts[0] == pytest.approx(9.86e6, rel=0.05)
    assert counts[1] == pytest.approx(167e6, rel=0.01)
    assert round(counts[2] / 1e9, 1) == 26.8


@pytest.fixture(scope="module")
def toy_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("parameterization")
    assert main(["run", "parameterization", "--size", "tiny", "--out", str(out), *TOY]) == 0
    return out


def test_a_run_ends_in_a_flat_result_and_a_page_with_every_picture(toy_run: Path) -> None:
    result = json.loads((toy_run / "result.json").read_text())
    assert all(isinstance(value, int | float) for value in result.values())
    assert result["cells"] == 2 * 3 * (1 + 2 * 3)
    assert result["seeds"] == 2
    assert {"mlp_adam_standard_over_mup_w8_nats_low", "mlp_adam_mup_none_best_rate_moved_grid_steps"} <= set(result)
    slope = "mlp_adam_standard_{}_first_step_slope_hidden_0"
    assert result[slope.format("none")] - result[slope.format("full")] == pytest.approx(0.5, abs=0.01)
    page = (toy_run / "report.html").read_text()
    assert page.count("<svg") == 6
    headings = (
        "Learning-rate transfer",
        "Fitted and predicted",
        "Best loss",
        "Coordinate check",
        "epsilon",
        "Alignment",
    )
    for heading in headings:
        assert heading in page


def test_a_grid_with_a_rate_more_trains_that_rate_alone(toy_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = [one.replace("(-6, -4, -2)", "(-6, -4, -3, -2)") for one in TOY]
    assert main(["plan", "parameterization", "--size", "tiny", "--out", str(toy_run), *more]) == 0
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "42 of 56 cells done" in printed


@pytest.mark.slow
def test_tiny_runs(tmp_path: Path) -> None:
    assert main(["run", "parameterization", "--size", "tiny", "--out", str(tmp_path)]) == 0
