"""The cells of the 2D table on the sweep engine: two models trained, composed, and drawn from by every sampler.

A config is the plain JSON of `PlaneRun`. K samplers, the exact density's own draws first; N kept points, P recorded
levels, T levels.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa

from beam_jobs.sweep.ways import Ways
from models.composition.annealing import Samples
from models.composition.diagnostics import drawn
from models.composition.diffusion import parameter_count
from models.composition.importance import resampling
from models.composition.plane_judging import NOWHERE, Closeness, Judge, closeness_of, judge_of
from models.composition.plane_training import PlaneRun, Program, from_json, noised_again, program_of, trained
from shammie.configs import plain
from shammie.errors import UserError
from shammie.xla import keep_in_order

PLANE_ADDRESS = "beam_jobs.composition.plane_cells:PLANE"
EXACT = "exact"  # the row of the density's own draws: how far from 0 each measure is by chance
MOST_IN_GROUP = 4  # programs are compiled once a group
ONE_AT_A_TIME = 1  # two such programs at a time in one process can hang for good on two cores (jaxlib 0.10.2)
KEPT_POINTS, KEPT_CHAINS = 800, 200  # of each sampler, for pictures: its samples, and its chains' ways
FLOPS_PER_S = 8e10  # of both cores, in such small products
COMPILE_SECONDS = 40.0
ENERGY_COST = 2.2  # of a score's training step
MEASURES = Closeness._fields


def plane_config(run: PlaneRun) -> dict[str, Any]:
    """An experiment as a cell's config."""
    return plain(run)


class Planes:
    """The kind of an experiment on the plane.

    A row has, for each of K samplers: its name in `samplers`; why it has no samples in `refused`, else ""; each measure
    of `Closeness`; `dropped` chains; `evaluations` of scores by a chain; flat arrays `points` [K, N, 2], NaN where
    there are fewer, drawn by the chains' weights where a sampler has weights, `path` [K, P, N', 2], `acceptance` and
    `step_sizes` [K, T]. `losses` are those of both trainings, `parameters` those of one model.
    """

    name = "composition_plane"
    version = 1
    threads = ONE_AT_A_TIME
    schema = pa.schema(
        [
            ("samplers", pa.list_(pa.string())),
            ("refused", pa.list_(pa.string())),
            *[(name, pa.list_(pa.float64())) for name in MEASURES],
            ("dropped", pa.list_(pa.int64())),
            ("evaluations", pa.list_(pa.int64())),
            ("points", pa.list_(pa.float32())),
            ("path", pa.list_(pa.float32())),
            ("acceptance", pa.list_(pa.float32())),
            ("step_sizes", pa.list_(pa.float32())),
            ("losses", pa.list_(pa.float64())),
            ("parameters", pa.int64()),
        ]
    )

    def prepare(self) -> None:
        """Samplers are loops within loops (`keep_in_order`)."""
        keep_in_order()

    def group_key(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """What decides the compiled program: all but the seed."""
        return {name: value for name, value in config.items() if name != "seed"}

    def group_size(self, config: Mapping[str, Any]) -> int:
        """Some, so that several processes have enough parts."""
        return MOST_IN_GROUP

    def cost(self, config: Mapping[str, Any]) -> float:
        """About the seconds of one core."""
        run = from_json(config)
        each = 2.0 * parameter_count(run.model) * (ENERGY_COST if run.model.has_energy else 1.0)
        if _refusal(run):
            return 1.0
        training = 3.0 * each * run.batch * run.steps
        sampling = each * run.chains * sum(one.evaluations(run.model.schedule) for one in run.samplers.values())
        return 2.0 * (training + sampling) / FLOPS_PER_S + COMPILE_SECONDS / MOST_IN_GROUP

    def row_bytes(self, config: Mapping[str, Any]) -> int:
        """The points, and the little else."""
        samplers = 1 + len(config["samplers"])
        points = 8 * (KEPT_POINTS + config["recorded"] * KEPT_CHAINS)
        return samplers * (points + 8 * config["model"]["schedule"]["levels"] + 200)

    def run(self, configs: Sequence[Mapping[str, Any]], ways: Ways) -> list[dict[str, Any]]:
        """Runs one after the other with one program."""
        del ways
        runs = [from_json(config) for config in configs]
        first = runs[0]
        judge = judge_of(first.pair, first.model.schedule, first.chains)
        reason = _refusal(first)
        program = None if reason else program_of(first)
        return [_row(run, judge, program, reason) for run in runs]


def _refusal(run: PlaneRun) -> str:
    """Why the pair cannot be composed of such models; "" where it can."""
    try:
        program_of(run)
    except UserError as error:
        return error.problem
    return ""


def _row(run: PlaneRun, judge: Judge, program: Program | None, reason: str) -> dict[str, Any]:
    exact_ND = judge.truth.sample(2**20 + run.seed, run.chains)
    columns: list[dict[str, Any]] = [_column(EXACT, run, closeness_of(exact_ND, judge), points=exact_ND)]
    losses = [float("nan")] * 2
    if program is None:
        columns += [_column(name, run, NOWHERE, refused=reason) for name in run.samplers]
    else:
        both, losses = zip(*(trained(run, program, which) for which in range(2)), strict=True)
        logs_2T = program.log_normalisers(both)
        columns += [_sampled(name, run, judge, program, both, logs_2T) for name in run.samplers]
    row: dict[str, Any] = {name: [column[name] for column in columns] for name in columns[0]}
    for name in ("points", "path", "acceptance", "step_sizes"):
        row[name] = np.stack(row[name]).astype(np.float32).ravel()
    return {**row, "losses": list(losses), "parameters": parameter_count(run.model)}


def _sampled(name: str, run: PlaneRun, judge: Judge, program: Program, both: Any, logs_2T: jax.Array) -> dict[str, Any]:
    """A sampler's column."""
    config = run.samplers[name]
    if name not in program.draw:
        reason = f"{config.kind} has a Metropolis test, and of these models only the scores are known"
        return _column(name, run, NOWHERE, refused=reason)
    key = jax.random.fold_in(jax.random.key(run.seed), 1000)
    samples: Samples = jax.device_get(program.draw[name](key, both, logs_2T))
    try:
        x_ND, log_weights_N, dropped = drawn(samples, config)
    except UserError as error:  # no chain stayed finite: a result of this sampler, not the end of the table
        return _column(name, run, NOWHERE, refused=error.problem)
    if log_weights_N is not None:
        x_ND = x_ND[np.asarray(resampling(jax.random.fold_in(key, 1), jnp.asarray(log_weights_N), 1.0)[0])]
    if config.is_reverse:
        x_ND = noised_again(run, x_ND)
    steps = {"acceptance": samples.acceptance_T, "step_sizes": samples.step_sizes_T}
    return {
        **_column(name, run, closeness_of(x_ND, judge), points=x_ND),
        **({} if config.is_reverse else steps),
        "path": np.stack([_first(x_NX, KEPT_CHAINS) for x_NX in np.asarray(samples.path_PNX)]),
        "dropped": dropped,
        "evaluations": config.evaluations(run.model.schedule),
    }


def _column(
    name: str, run: PlaneRun, closeness: Closeness, *, points: np.ndarray | None = None, refused: str = ""
) -> dict[str, Any]:
    """What a row has of a sampler, with nothing known of its way."""
    nothing_T = np.full(run.model.schedule.levels, np.nan)
    return {
        "samplers": name,
        "refused": refused,
        **closeness._asdict(),
        "dropped": 0,
        "evaluations": 0,
        "points": _first(np.zeros((0, 2)) if points is None else points, KEPT_POINTS),
        "path": np.full((run.recorded, KEPT_CHAINS, 2), np.nan),
        "acceptance": nothing_T,
        "step_sizes": nothing_T,
    }


def _first(values: np.ndarray, count: int) -> np.ndarray:
    """The first so many, NaN where there are fewer."""
    out = np.full((count, *values.shape[1:]), np.nan)
    out[: len(values)] = values[:count]
    return out


PLANE = Planes()
