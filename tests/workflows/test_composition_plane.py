"""The 2D table: its grid, what is read off its cells, and its pictures."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from beam_jobs.composition.plane_cells import EXACT, KEPT_CHAINS, KEPT_POINTS, MEASURES, PLANE
from models.composition.diffusion_config import DiffusionConfig
from models.composition.plane_training import from_json
from models.composition.sampler_config import SamplerConfig
from models.composition.schedule import NoiseSchedule
from shammie.errors import UserError
from workflows.composition_plane import PlaneGrid, checks, found_of, measures, notebook_samplers, results
from workflows.composition_plane_pictures import acceptance, clouds, errors, moving
from workflows.report import Page

T = 8
SAMPLERS = {name: notebook_samplers()[name] for name in ("reverse", "ula", "hmc")}
GRID = PlaneGrid(
    pairs=("product", "mixture"), seeds=(0, 1), recorded=3, samplers=SAMPLERS,
    model=DiffusionConfig(width=8, schedule=NoiseSchedule(levels=T)),
)  # fmt: skip
ERRORS = {"product": {"reverse": 0.4, "ula": 0.2, "hmc": 0.1}, "mixture": {"reverse": 0.01, "ula": 0.03, "hmc": 0.02}}


def row_of(config: dict[str, Any], errors: dict[str, dict[str, float]]) -> dict[str, Any]:
    """A row as the kind writes it, with samplers in the order of the alphabet, as JSON has them."""
    run = from_json(config)
    names = [EXACT, *sorted(config["samplers"])]
    many, score = len(names), config["model"]["form"] == "score"
    gone = [name != EXACT and score and (run.pair == "mixture" or name == "hmc") for name in names]
    points = np.random.default_rng(run.seed).normal(0, 0.3, (many, KEPT_POINTS, 2)).astype(np.float32)
    path = np.random.default_rng(run.seed).normal(0, 0.6, (many, 3, KEPT_CHAINS, 2)).astype(np.float32)
    points[gone], path[[True, *gone[1:]]] = np.nan, np.nan
    values = [0.005 if name == EXACT else errors[run.pair][name] + 0.01 * run.seed for name in names]
    values = [np.nan if none else value * (1.1 if score else 1) for value, none in zip(values, gone, strict=True)]
    accepted = np.full((many, T), np.nan)
    accepted[names.index("hmc")] = 0.8
    return {
        "cell": "x",
        "config": json.dumps(config, sort_keys=True),
        "samplers": names,
        "refused": ["needs an energy" if none else "" for none in gone],
        **dict.fromkeys(MEASURES, values),
        "dropped": [0 if name == EXACT else run.seed for name in names],
        "evaluations": [{EXACT: 0, "reverse": T, "ula": 88, "hmc": 300}[name] for name in names],
        "points": points.ravel(),
        "path": path.ravel(),
        "acceptance": accepted.ravel(),
        "step_sizes": accepted.ravel(),
        "losses": [0.2, 0.3],
        "parameters": 1000,
    }


def table_of(errors: dict[str, dict[str, float]] = ERRORS) -> pa.Table:
    fields = [pa.field("cell", pa.string()), pa.field("config", pa.string()), *PLANE.schema]
    return pa.Table.from_pylist([row_of(config, errors) for config in GRID.configs()], schema=pa.schema(fields))


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return table_of()


def test_a_grid_is_every_pair_form_and_seed() -> None:
    configs = GRID.configs()
    places = [(one["pair"], one["model"]["form"], one["seed"]) for one in configs]
    assert len(set(places)) == len(places) == 8
    assert places[:3] == [("product", "score", 0), ("product", "score", 1), ("product", "dae", 0)]
    assert from_json(configs[0]) == GRID.run("product", "score", 0)
    assert len(PlaneGrid().configs()) == 24


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"pairs": ()}, "pairs is"),
        ({"seeds": (1, 1)}, "seeds is"),
        ({"forms": ("classifier",)}, "'classifier'"),
        ({"pairs": ("sum",)}, "'sum'"),
        ({"samplers": {"exact": SamplerConfig("ula")}}, "'exact'"),
        ({"steps": 0}, "steps is 0"),
    ],
)
def test_grids_that_cannot_be_are_refused(changed, told) -> None:
    with pytest.raises(UserError, match=told):
        replace(GRID, **changed)


def test_samplers_have_their_own_rows_in_the_tables_order(table) -> None:
    found = found_of(table)
    assert [list(one.samplers) for one in found] == [[EXACT, "reverse", "ula", "hmc"]] * 8
    for one in found:
        expected = [0, T, 88, 300]
        assert one.evaluations_K.tolist() == expected
        assert np.nanmean(one.acceptance_KT[3]) == pytest.approx(0.8)
        assert np.isnan(one.acceptance_KT[1]).all()
        assert one.points_KND.shape == (4, KEPT_POINTS, 2)
        assert one.path_KPND.shape == (4, 3, KEPT_CHAINS, 2)
    energies = next(one for one in found if one.form == "dae" and one.run.pair == "product" and one.run.seed == 1)
    assert energies.value("variance_error", "hmc") == pytest.approx(0.11)
    assert energies.value("variance_error", "reverse") == pytest.approx(0.41)
    assert not energies.refused


def test_results_have_means_and_intervals(table) -> None:
    out = results(measures(table))
    assert out["plane_product_dae_hmc_variance_error"] == pytest.approx(0.105)
    assert out["plane_product_dae_hmc_variance_error_low"] == pytest.approx(0.105 - 12.706 * 0.005, rel=1e-3)
    assert out["plane_product_dae_hmc_variance_error_high"] == pytest.approx(0.105 + 12.706 * 0.005, rel=1e-3)
    assert out["plane_product_score_reverse_kl_from_truth_nats"] == pytest.approx(1.1 * 0.405)
    assert out["plane_product_dae_exact_squared_mmd"] == pytest.approx(0.005)
    assert out["plane_product_dae_hmc_evaluations"] == 300
    assert out["plane_product_dae_hmc_dropped_chains"] == 1
    assert "plane_product_score_hmc_variance_error" not in out
    assert "plane_mixture_score_reverse_evaluations" not in out
    assert all(np.isfinite(value) for value in out.values())
    json.dumps(out, allow_nan=False)


def test_checks_see_the_order_and_its_lack(table) -> None:
    out = checks(measures(table))
    assert out["plane_product_dae_mcmc_beats_reverse"] == 1
    assert out["plane_product_dae_reverse_over_worst_mcmc"] == pytest.approx(0.405 / 0.205)
    assert out["plane_product_score_mcmc_beats_reverse"] == 1
    assert out["plane_product_tested_energies_best"] == 1
    assert out["plane_product_best_untested_over_best_tested"] == pytest.approx(0.205 / 0.105)
    assert out["plane_mixture_dae_mcmc_beats_reverse"] == 0  # written, but not asked for
    assert (out["plane_ordering_holds"], out["plane_ordering_asked"]) == (3, 3)
    worse = {**ERRORS, "product": {"reverse": 0.15, "ula": 0.2, "hmc": 0.3}}
    out = checks(measures(table_of(worse)))
    assert out["plane_product_dae_mcmc_beats_reverse"] == 0
    assert out["plane_product_tested_energies_best"] == 0
    assert (out["plane_ordering_holds"], out["plane_ordering_asked"]) == (0, 3)


def test_refusals_keep_their_reason(table) -> None:
    rows = {(row.pair, row.form, row.sampler): row for row in measures(table)}
    assert rows["product", "score", "hmc"].refused == "needs an energy"
    assert rows["product", "score", "ula"].refused == ""
    assert rows["mixture", "score", "ula"].refused == "needs an energy"
    assert rows["product", "dae", "hmc"].tested
    assert not rows["product", "dae", "ula"].tested
    assert rows["product", "dae", "reverse"].is_reverse


def test_pictures_show_every_panel_and_are_the_same_again(table) -> None:
    found, rows = found_of(table), measures(table)
    figures = {
        "clouds": lambda: clouds(found, "product"),
        "moving": lambda: moving(found, "product", "dae"),
        "acceptance": lambda: acceptance(found),
        "errors": lambda: errors(rows),
    }
    panels = {"clouds": 2 * 4, "moving": 3 * 3, "acceptance": 2, "errors": 2}
    for name, figure in figures.items():
        assert len(figure().axes) == panels[name]
        pages = [Page("", ""), Page("", "")]
        for page in pages:
            page.picture(figure())
        assert pages[0].render() == pages[1].render()
    titles = [axes.get_title() for axes in clouds(found, "mixture").axes]
    assert titles[:2] == ["score", "energy (dae)"]
    texts = [text.get_text() for axes in clouds(found, "mixture").axes for text in axes.texts]
    assert sum("needs energies" in text for text in texts) == 3  # the dashes of the score-only models
