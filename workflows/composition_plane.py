"""The 2D table of `composition`: its grid of experiments, and what is read off their cells.

Variance error is what the table is judged by: the relative Frobenius error of the samples' covariance. K samplers,
N points, P recorded levels, T levels.
"""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from beam_jobs.composition.plane_cells import EXACT, MEASURES, plane_config
from models.composition.diffusion_config import ENERGY_FORMS, DiffusionConfig
from models.composition.plane import PAIRS
from models.composition.plane_training import PlaneRun, from_json
from models.composition.sampler_config import SamplerConfig
from models.training import OptimizerConfig
from shammie.errors import UserError, unknown
from workflows.parameterization_measures import interval

JUDGED_BY = "variance_error"
UNITS: Mapping[str, str] = {
    "log_likelihood": "log_likelihood_nats",
    "kl_from_samples": "kl_from_samples_nats",
    "kl_from_truth": "kl_from_truth_nats",
}
NOT_COUNTED: Mapping[str, str] = {  # pairs of which no order can be asked, and why
    "mixture": "noising a mixture gives the mixture of the noised: its reverse process is right",
    "negation": "the quotient of noised densities is not the frame that is meant (`models.composition.plane`): the"
    " better a sampler follows it, the farther it ends from the frame",
}


def notebook_samplers() -> dict[str, SamplerConfig]:
    """The samplers of the table, by name.

    Step sizes of `ula` and `uhmc` are the notebook's, those of `mala` and `hmc` adapted to an acceptance: their test
    bears larger ones. They were chosen with exact densities in the place of models, and with models of seed 100.
    Weights (`SamplerConfig.weighted`) would take away what is left in modes that vanish, and do with exact densities;
    learned energies are wrong by nats between modes far apart, so that with models they do harm.
    """
    return {
        "reverse": SamplerConfig("reverse", variance="beta"),
        "ula": SamplerConfig("ula", step_size=1e-3),
        "mala": SamplerConfig("mala", step_size=0.1, scaling="noise_variance", target_acceptance=0.6, adapt_steps=2),
        "uhmc": SamplerConfig("uhmc", step_size=0.03),
        "hmc": SamplerConfig("hmc", step_size=0.3, scaling="noise", target_acceptance=0.8, adapt_steps=2),
    }


@dataclass(frozen=True)
class PlaneGrid:
    """The table's experiments: every pair with every form and seed.

    Attributes:
        pairs: some of `plane.PAIRS`.
        forms: some of "score", "dae", "dae_half", "l2", "inner".
        seeds: of parameters, draws and chains.
        model: of all components, but for its form.
        optimizer: of their training.
        batch: of a step.
        steps: of training.
        samplers: by name.
        chains: of each sampler.
        recorded: levels at which chains are recorded.
        normalised: as `PlaneRun` has it.
    """

    pairs: Sequence[str] = tuple(PAIRS)
    forms: Sequence[str] = ("score", "dae")
    seeds: Sequence[int] = (0, 1, 2)
    model: DiffusionConfig = field(default_factory=lambda: DiffusionConfig(width=64))
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig("adam", b2=0.999, average=0.999))
    batch: int = 256
    steps: int = 3000
    samplers: Mapping[str, SamplerConfig] = field(default_factory=notebook_samplers)
    chains: int = 1000
    recorded: int = 6
    normalised: bool = True

    def __post_init__(self) -> None:
        for name in ("pairs", "forms", "seeds"):
            values = getattr(self, name)
            if not values or len({*values}) < len(values):
                raise UserError(f"PlaneGrid.{name} is {list(values)!r}", "give at least one, each once")
        for form in self.forms:
            if form not in ("score", *ENERGY_FORMS):
                raise unknown("form of a model", form, ("score", *ENERGY_FORMS))
        if EXACT in self.samplers:
            raise UserError(f"a sampler is called {EXACT!r}", "name it otherwise: that is the true density's own row")
        for pair in self.pairs:
            self.run(pair, self.forms[0], self.seeds[0])

    def run(self, pair: str, form: str, seed: int) -> PlaneRun:
        """An experiment of the grid."""
        return PlaneRun(
            pair,
            replace(self.model, form=form),
            self.optimizer,
            self.batch,
            self.steps,
            seed,
            self.samplers,
            self.chains,
            self.recorded,
            self.normalised,
        )

    def configs(self) -> list[dict[str, Any]]:
        """Every cell's config."""
        places = itertools.product(self.pairs, self.forms, self.seeds)
        return [plane_config(self.run(*place)) for place in places]


@dataclass(frozen=True, eq=False)
class FoundPlane:
    """An experiment with what it came to.

    Attributes:
        run: its settings.
        samplers: K names, "exact" first.
        refused: why a sampler has no samples, by name.
        measures: by name of the measure, float [K].
        evaluations_K: scores that a chain asks for.
        dropped_K: chains that were not finite.
        points_KND: samples, NaN where there are fewer.
        path_KPND: chains at `run.recorded_levels`.
        acceptance_KT: by level.
        step_sizes_KT: by level.
        losses: mean training losses of the two models.
        parameters: of one model.
    """

    run: PlaneRun
    samplers: Sequence[str]
    refused: Mapping[str, str]
    measures: Mapping[str, np.ndarray]
    evaluations_K: np.ndarray
    dropped_K: np.ndarray
    points_KND: np.ndarray
    path_KPND: np.ndarray
    acceptance_KT: np.ndarray
    step_sizes_KT: np.ndarray
    losses: Sequence[float]
    parameters: int

    @property
    def form(self) -> str:
        """Of its models."""
        return self.run.model.form

    def value(self, measure: str, sampler: str) -> float:
        """A sampler's measure; NaN where it has none."""
        return float(self.measures[measure][self.samplers.index(sampler)])


def found_of(table: pa.Table) -> list[FoundPlane]:
    """The experiments of a sweep's table, in its order, and their samplers in the order of `notebook_samplers`."""
    return [_found(row) for row in table.to_pylist()]


def _found(row: Mapping[str, Any]) -> FoundPlane:
    run = from_json(json.loads(row["config"]))
    known = [EXACT, *notebook_samplers(), *row["samplers"]]  # what JSON has in the order of the alphabet
    places = sorted(range(len(row["samplers"])), key=lambda at: known.index(row["samplers"][at]))
    names = [row["samplers"][at] for at in places]
    many, levels = len(names), run.model.schedule.levels
    array = lambda name, *shape: np.asarray(row[name], np.float64).reshape(many, *shape)[places]  # noqa: E731
    return FoundPlane(
        run,
        names,
        {row["samplers"][at]: row["refused"][at] for at in places if row["refused"][at]},
        {name: array(name) for name in MEASURES},
        array("evaluations").astype(int),
        array("dropped").astype(int),
        array("points", -1, 2),
        array("path", run.recorded, -1, 2),
        array("acceptance", levels),
        array("step_sizes", levels),
        row["losses"],
        row["parameters"],
    )


def by_place(found: Sequence[FoundPlane]) -> dict[tuple[str, str], list[FoundPlane]]:
    """The seeds of each (pair, form), in the order of their first."""
    out: dict[tuple[str, str], list[FoundPlane]] = {}
    for one in found:
        out.setdefault((one.run.pair, one.form), []).append(one)
    return out


@dataclass(frozen=True)
class PlaneRow:
    """A row of the table, over seeds.

    Attributes:
        pair: of `plane.PAIRS`.
        form: of the models.
        sampler: its name; "exact" is the true density's own draws.
        refused: why there is nothing, or "".
        values: by measure, one for each seed.
        evaluations: scores that a chain asks for.
        dropped: chains of all seeds that were not finite.
        tested: whether it has a Metropolis test.
        is_reverse: whether it is the reverse process.
    """

    pair: str
    form: str
    sampler: str
    refused: str
    values: Mapping[str, Sequence[float]]
    evaluations: int
    dropped: int
    tested: bool
    is_reverse: bool

    def mean(self, measure: str = JUDGED_BY) -> float:
        """Over seeds; NaN of none."""
        return interval(self.values[measure]).mean


def measures(table: pa.Table) -> list[PlaneRow]:
    """The table's rows: of each pair, form and sampler in their order."""
    return [
        _row(pair, form, sampler, seeds)
        for (pair, form), seeds in by_place(found_of(table)).items()
        for sampler in seeds[0].samplers
    ]


def _row(pair: str, form: str, sampler: str, seeds: Sequence[FoundPlane]) -> PlaneRow:
    first, at = seeds[0], seeds[0].samplers.index(sampler)
    config = first.run.samplers.get(sampler)
    return PlaneRow(
        pair,
        form,
        sampler,
        first.refused.get(sampler, ""),
        {name: [one.value(name, sampler) for one in seeds] for name in MEASURES},
        int(first.evaluations_K[at]),
        int(sum(one.dropped_K[at] for one in seeds)),
        config is not None and config.tested,
        config is not None and config.is_reverse,
    )


def results(rows: Sequence[PlaneRow]) -> dict[str, Any]:
    """The flat result; what is not known is left out.

    - plane_PAIR_FORM_SAMPLER_MEASURE: the mean over seeds of each of `Closeness`, nats in the names of those that are
      in nats; ..._low and ..._high bound 95 % over seeds. SAMPLER "exact": the true density's own draws, by which one
      sees what chance does.
    - plane_PAIR_FORM_SAMPLER_evaluations, ..._dropped_chains.
    - what `checks` says.
    """
    out: dict[str, Any] = {}
    for row in rows:
        name = f"plane_{row.pair}_{row.form}_{row.sampler}"
        for measure, values in row.values.items():
            found = interval(values)
            key = f"{name}_{UNITS.get(measure, measure)}"
            out[key] = found.mean
            if np.isfinite(values).sum() > 1:
                out |= {f"{key}_low": found.low, f"{key}_high": found.high}
        if row.sampler != EXACT and not row.refused:
            out |= {f"{name}_evaluations": row.evaluations, f"{name}_dropped_chains": row.dropped}
    return {name: value for name, value in {**out, **checks(rows)}.items() if np.isfinite(value)}


def checks(rows: Sequence[PlaneRow]) -> dict[str, Any]:
    """Whether the table is ordered as in the paper, by the mean variance error over seeds; 1 where so, else 0.

    - plane_PAIR_FORM_mcmc_beats_reverse: every sampler with kernels beats the reverse process of the same models;
      ..._reverse_over_worst_mcmc: the ratio of their errors, above 1 where so.
    - plane_PAIR_tested_energies_best: the best sampler with a Metropolis test beats all without one, of any form;
      ..._best_untested_over_best_tested: the ratio.
    - plane_ordering_holds, plane_ordering_asked: how many of these are 1, and how many there are, without those of the
      pairs in `NOT_COUNTED`.
    """
    out: dict[str, Any] = {}
    holds = asked = 0
    for name, ending, ratio, counted in _ratios(rows):
        out |= {name: int(ratio > 1), f"{name.removesuffix(ending[0])}{ending[1]}": ratio}
        holds, asked = holds + (counted and ratio > 1), asked + counted
    return {**out, "plane_ordering_holds": holds, "plane_ordering_asked": asked}


def _ratios(rows: Sequence[PlaneRow]) -> Iterator[tuple[str, tuple[str, str], float, bool]]:
    there = [row for row in rows if np.isfinite(row.mean()) and row.sampler != EXACT]
    for pair in dict.fromkeys(row.pair for row in there):
        of_pair = [row for row in there if row.pair == pair]
        counted = pair not in NOT_COUNTED
        for form in dict.fromkeys(row.form for row in of_pair):
            kernels = [row.mean() for row in of_pair if row.form == form and not row.is_reverse]
            reverse = [row.mean() for row in of_pair if row.form == form and row.is_reverse]
            if kernels and reverse:
                ending = "mcmc_beats_reverse", "reverse_over_worst_mcmc"
                yield f"plane_{pair}_{form}_{ending[0]}", ending, min(reverse) / max(kernels), counted
        tested = [row.mean() for row in of_pair if row.tested]
        untested = [row.mean() for row in of_pair if not row.tested]
        if tested and untested:
            ending = "tested_energies_best", "best_untested_over_best_tested"
            yield f"plane_{pair}_{ending[0]}", ending, min(untested) / min(tested), counted
