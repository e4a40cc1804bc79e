"""The cells of the 2D table."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beam_jobs.composition.plane_cells import EXACT, FLOPS_PER_S, MEASURES, PLANE, PLANE_ADDRESS, plane_config
from beam_jobs.sweep.job import read_cells, run_sweep
from beam_jobs.sweep.kinds import load_kind
from beam_jobs.sweep.ways import Ways
from models.composition.diffusion import parameter_count
from models.composition.diffusion_config import DiffusionConfig
from models.composition.plane import truth
from models.composition.plane_training import PlaneRun, from_json
from models.composition.sampler_config import SamplerConfig
from models.composition.schedule import NoiseSchedule
from models.training import OptimizerConfig
from shammie.configs import plain
from shammie.errors import UserError

T = 6
RUN = PlaneRun(
    "product",
    DiffusionConfig(form="dae", width=8, blocks=1, level_width=4, schedule=NoiseSchedule(levels=T)),
    OptimizerConfig("adam", warmup_steps=2, average=0.9),
    batch=8,
    steps=4,
    samplers={
        "reverse": SamplerConfig("reverse"),
        "ula": SamplerConfig("ula", step_size=1e-3, steps=1),
        "hmc": SamplerConfig("hmc", steps=2, target_acceptance=0.8, adapt_steps=2),
    },
    chains=60,
    recorded=3,
)
SCORE = replace(RUN, model=replace(RUN.model, form="score"))


def rows_of(*runs: PlaneRun) -> list[dict[str, Any]]:
    kind: Any = PLANE
    rows = kind.run([plane_config(run) for run in runs], Ways())
    for row in rows:
        assert set(row) == set(PLANE.schema.names)
    return rows


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return rows_of(RUN, replace(RUN, seed=1), RUN)


def test_address_names_the_kind() -> None:
    assert load_kind(PLANE_ADDRESS) is PLANE


def test_configs_are_plain_and_come_back() -> None:
    config = plane_config(RUN)
    assert from_json(config) == RUN
    assert plain(config) == config


def test_groups_and_costs() -> None:
    kind: Any = PLANE
    assert kind.group_key(plane_config(replace(RUN, seed=7))) == kind.group_key(plane_config(RUN))
    for other in (SCORE, replace(RUN, pair="negation"), replace(RUN, chains=61)):
        assert kind.group_key(plane_config(other)) != kind.group_key(plane_config(RUN))
    # a step of an energy: two models, three passes of the network's products, 2.2 times over for its gradient
    flops = 2 * 3 * 2 * parameter_count(RUN.model) * 2.2 * RUN.batch
    one, two, three = (kind.cost(plane_config(replace(RUN, steps=many * 10**9))) for many in (1, 2, 3))
    assert two - one == pytest.approx(10**9 * flops / FLOPS_PER_S, rel=1e-6)
    assert three - two == pytest.approx(two - one, rel=1e-6)
    assert kind.cost(plane_config(replace(SCORE, pair="mixture"))) <= 1.0  # it is refused at once


def test_a_row_has_every_sampler(rows) -> None:
    for row in rows:
        assert row["samplers"] == [EXACT, "reverse", "ula", "hmc"]
        assert row["refused"] == [""] * 4
        points_KND = row["points"].reshape(4, -1, 2)
        assert np.isfinite(points_KND[:, :60]).all()
        assert np.isnan(points_KND[:, 60:]).all()
        assert np.isfinite(row["path"].reshape(4, 3, -1, 2)[1:, :, :60]).all()
        acceptance_KT = row["acceptance"].reshape(4, T)
        assert np.isnan(acceptance_KT[:2]).all()
        assert np.array_equal(acceptance_KT[2], np.ones(T))
        assert ((acceptance_KT[3] > 0) & (acceptance_KT[3] < 1)).all()
        assert row["evaluations"] == [0, T, 2 * T, T + 3 * (2 * T + 2 * (T + 9))]
        assert np.isfinite(row["losses"]).all()
        for measure in MEASURES:
            assert np.isfinite(row[measure]).all()


def test_the_last_recorded_level_is_where_the_chains_end(rows) -> None:
    path_KPND = rows[0]["path"].reshape(4, 3, -1, 2)
    points_KND = rows[0]["points"].reshape(4, -1, 2)
    for sampler in (2, 3):
        assert np.array_equal(path_KPND[sampler, -1, :60], points_KND[sampler, :60])
    assert not np.array_equal(path_KPND[1, -1, :60], points_KND[1, :60])  # a reverse step and noise come after


def test_seeds_differ_and_rows_are_the_same_again(rows) -> None:
    first, second, again = rows
    assert not np.allclose(first["losses"], second["losses"])
    assert again["losses"] == first["losses"]
    for name in ("points", "path"):
        assert np.array_equal(again[name], first[name], equal_nan=True)
        assert not np.array_equal(second[name], first[name], equal_nan=True)


def test_exact_draws_are_of_level_0(rows) -> None:
    schedule = RUN.model.schedule
    exact = truth("product", float(schedule.signal(0)), float(schedule.noise(0)))
    expected = exact.sample(2**20, 60)
    assert rows[0]["points"].reshape(4, -1, 2)[0, :60] == pytest.approx(expected, abs=1e-6)
    assert rows[0]["log_likelihood"][0] == pytest.approx(exact.log_density(expected).mean())


def test_scores_alone_are_refused_where_energies_are_needed() -> None:
    (row,) = rows_of(SCORE)
    assert "Metropolis" in row["refused"][3]
    assert row["refused"][:3] == [""] * 3
    assert np.isnan(row["variance_error"][3])
    assert np.isfinite(row["variance_error"][:3]).all()
    for pair in ("mixture", "frame"):
        (row,) = rows_of(replace(SCORE, pair=pair))
        assert row["refused"][0] == ""
        assert all("no energy" in reason for reason in row["refused"][1:])
        assert np.isfinite(row["variance_error"][0])
        assert np.isnan(row["variance_error"][1:]).all()
        assert np.isnan(row["losses"]).all()
    (row,) = rows_of(replace(SCORE, pair="negation"))
    assert np.isfinite(row["variance_error"][:3]).all()


def test_chains_that_blow_up_are_a_result(monkeypatch) -> None:
    wild = replace(RUN, samplers={"ula": SamplerConfig("ula", step_size=1e30, steps=3)})
    (row,) = rows_of(wild)
    assert "not finite" in row["refused"][1]
    assert np.isnan(row["variance_error"][1])


def test_a_sweep_writes_the_schema(tmp_path: Path) -> None:
    configs = [plane_config(replace(SCORE, pair="mixture"))]
    run_sweep(str(tmp_path), PLANE_ADDRESS, configs, what="planes")
    table = read_cells(str(tmp_path), PLANE_ADDRESS, configs)
    assert table.num_rows == 1
    assert table.column("samplers").to_pylist()[0][0] == EXACT


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"pair": "sum"}, "'sum'"),
        ({"steps": 0}, "steps is 0"),
        ({"recorded": T + 1}, "of 6 levels"),
        ({"seed": -1}, "seed is -1"),
        ({"samplers": {}}, "no samplers"),
        ({"model": DiffusionConfig(shape=(3,))}, r"\(3,\)"),
    ],
)
def test_settings_that_cannot_be_are_refused(changed, told) -> None:
    with pytest.raises(UserError, match=told):
        replace(RUN, **changed)
