"""What the cells of `evolution` say: curves over seeds, losses at equal steps, variances and biases. P = points."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
import pyarrow as pa

from models.evolution.linear import derivatives_of, example_derivatives, full_es_variance, gpes_variance
from models.evolution.problems import pose, problem_config
from models.evolution.quadratic import smoothed_gradient
from models.rest_em.metrics import Interval, t_interval
from shammie.files import canonical_json
from workflows.evolution_settings import Bias, Comparison, Variance

WAY = 0.9  # of the way from the first loss to the lowest of all


class Run(NamedTuple):
    """What was seen of one run, at P points.

    Attributes:
        environment_steps: of trajectories, burn-in included, [P].
        sequential_steps: those that follow each other, [P].
        loss: of the parameters themselves, [P].
        shown: the loss that is compared: smoothed, where perturbations were drawn for it, else `loss`; [P].
        theta: the last parameters, where there are few.
        skipped: updates that were left out.
    """

    environment_steps: np.ndarray
    sequential_steps: np.ndarray
    loss: np.ndarray
    shown: np.ndarray
    theta: np.ndarray
    skipped: int


@dataclass(frozen=True)
class Curves:
    """The runs of a comparison: by arm, one for each seed that did not fail."""

    comparison: Comparison
    runs: Mapping[str, Mapping[int, Run]]

    @property
    def smoothed(self) -> bool:
        """Whether what is shown is a smoothed loss."""
        return any(run.shown is not run.loss for runs in self.runs.values() for run in runs.values())

    def first_loss(self) -> float:
        """The mean loss that learning starts from, over all runs."""
        return float(np.mean([run.shown[0] for runs in self.runs.values() for run in runs.values()]))

    def lowest_loss(self) -> float:
        """The lowest mean curve's lowest point."""
        return min(float(np.nanmin(self.mean(arm))) for arm in self.runs if self.runs[arm])

    def mean(self, arm: str, which: str = "shown") -> np.ndarray:
        """The seeds' mean curve of "shown" or "loss", [P]; NaN where one is not finite."""
        several = np.array([getattr(run, which) for run in self.runs[arm].values()])
        return np.where(np.isfinite(several).all(axis=0), several.mean(axis=0), np.nan)

    def bounds(self, arm: str, which: str = "shown") -> tuple[np.ndarray, np.ndarray]:
        """95 % over seeds at each point, [P] each; the mean itself where there is one seed."""
        several = np.array([getattr(run, which) for run in self.runs[arm].values()])
        found = [interval(values) for values in several.T]
        return np.array([one.low for one in found]), np.array([one.high for one in found])

    def steps(self, arm: str, which: str) -> np.ndarray:
        """An arm's "environment_steps" or "sequential_steps", the same for all seeds; [P]."""
        return getattr(next(iter(self.runs[arm].values())), which)

    def at(self, arm: str, seed: int, environment_steps: float) -> float:
        """The loss of a run after so many environment steps, between points on a straight line."""
        run = self.runs[arm][seed]
        return float(np.interp(environment_steps, run.environment_steps, run.shown))

    def steps_to(self, arm: str, which: str, loss: float) -> float:
        """How many steps until the mean curve first is at or below a loss; NaN if never."""
        below = np.flatnonzero(self.mean(arm) <= loss)
        return float(self.steps(arm, which)[below[0]]) if below.size else np.nan

    def most_of_the_way(self) -> float:
        """The loss that is WAY of the way from the first to the lowest."""
        return self.first_loss() + WAY * (self.lowest_loss() - self.first_loss())


def curves_of(comparison: Comparison, table: pa.Table) -> Curves:
    """A comparison's runs from its cells; those that failed are left out.

    Args:
        comparison: its settings.
        table: `workflows.sweep.read_table`.
    """
    rows = {row["config"]: row for row in table.to_pylist()}
    runs: dict[str, dict[int, Run]] = {arm: {} for arm in comparison.arms}
    for arm in comparison.arms:
        for seed in comparison.seeds:
            row = rows.get(canonical_json(comparison.run(arm, seed).to_json()))
            if row is not None:
                runs[arm][seed] = _run(row)
    return Curves(comparison, {arm: found for arm, found in runs.items() if found})


def _run(row: Mapping[str, Any]) -> Run:
    loss, smoothed = np.array(row["loss"], float), np.array(row["smoothed_loss"], float)
    return Run(
        np.array(row["environment_steps"]),
        np.array(row["sequential_steps"]),
        loss,
        smoothed if smoothed.size else loss,
        np.array(row["theta"], float),
        row["skipped"],
    )


class EqualSteps(NamedTuple):
    """Two arms after as many environment steps.

    Attributes:
        environment_steps: as many as both have made.
        losses: by seed, that of the first and of the second.
    """

    environment_steps: int
    losses: Mapping[int, tuple[float, float]]

    @property
    def below(self) -> int:
        """Seeds whose first arm has the lower loss; what is not finite is never lower."""
        return sum(_lower(one, other) for one, other in self.losses.values())

    @property
    def above(self) -> int:
        """Seeds whose second arm has the lower loss."""
        return sum(_lower(other, one) for one, other in self.losses.values())


def _lower(one: float, other: float) -> bool:
    return bool(one < other or (np.isfinite(one) and not np.isfinite(other)))


def equal_steps(curves: Curves, one: str = "nres", other: str = "pes") -> EqualSteps | None:
    """Two arms at the most environment steps that both have made; None where one is not there."""
    if not {one, other} <= {*curves.runs}:
        return None
    made = int(min(curves.steps(one, "environment_steps")[-1], curves.steps(other, "environment_steps")[-1]))
    seeds = [seed for seed in curves.runs[one] if seed in curves.runs[other]]
    return EqualSteps(made, {seed: (curves.at(one, seed, made), curves.at(other, seed, made)) for seed in seeds})


class VarianceAt(NamedTuple):
    """The variance at one K: measured, its standard error, and the closed form (NaN where there is none)."""

    reuse: int
    measured: float
    error: float
    closed: float

    @property
    def apart(self) -> float:
        """Standard errors from the closed form."""
        return (self.measured - self.closed) / self.error if self.error > 0 else np.nan


@dataclass(frozen=True)
class VarianceCurve:
    """Variances of GPES_K, K rising, and of full ES ("reuse" is then T)."""

    variance: Variance
    points: Sequence[VarianceAt]
    full_es: VarianceAt | None

    @property
    def exact(self) -> bool:
        """Whether the closed forms are exact: losses are linear."""
        return self.variance.problem == "linear" and self.variance.closed


def variance_of(variance: Variance, table: pa.Table) -> VarianceCurve:
    """Variances from cells, beside their closed forms."""
    rows = {row["config"]: row for row in table.to_pylist()}
    closed: Callable[[int], float] = lambda reuse: np.nan  # noqa: E731
    full_closed = np.nan
    if variance.closed:
        g_TTD = _derivatives(variance)
        closed, full_closed = lambda reuse: gpes_variance(g_TTD, min(reuse, variance.horizon)), full_es_variance(g_TTD)
    texts = [canonical_json(config) for config in variance.configs()]
    found = [
        VarianceAt(reuse, rows[text]["variance"], rows[text]["variance_error"], float(closed(reuse)))
        for reuse, text in zip(variance.reuses, texts[:-1], strict=True)
        if text in rows
    ]
    full = rows.get(texts[-1])
    full_es = (
        VarianceAt(variance.horizon, full["variance"], full["variance_error"], float(full_closed)) if full else None
    )
    return VarianceCurve(variance, found, full_es)


def _derivatives(variance: Variance) -> np.ndarray:
    if variance.problem == "linear":
        return example_derivatives()
    posed = pose(variance.problem, variance.options)
    key = jax.random.key(variance.seed)
    return derivatives_of(posed.problem, posed.first_theta(key), key)


class BiasAt(NamedTuple):
    """A mean estimate, its standard error, and the exact gradient of the smoothed objective."""

    log_rate: float
    mean: float
    error: float
    exact: float

    @property
    def apart(self) -> float:
        """Standard errors from the exact gradient."""
        return (self.mean - self.exact) / self.error if self.error > 0 else np.nan


Biases = Mapping[str, Sequence[BiasAt]]  # by estimator, in the order of the rates


def bias_of(bias: Bias, table: pa.Table) -> Biases:
    """Mean estimates by estimator, in the order of the rates."""
    rows = {row["config"]: row for row in table.to_pylist()}
    found: dict[str, list[BiasAt]] = {}
    for name in bias.estimators:
        for rate in bias.log_rates:
            row = rows.get(canonical_json(bias.moments(name, rate).to_json()))
            if row is not None:
                exact = smoothed_gradient(problem_config("quadratic", bias.options), float(rate), bias.sigma)
                found.setdefault(name, []).append(BiasAt(float(rate), row["mean"][0], row["mean_error"][0], exact))
    return found


def interval(values: Sequence[float]) -> Interval:
    """The mean of finite values with its 95 % interval over seeds; of one value, that value thrice; NaN of none."""
    finite = [float(one) for one in values if np.isfinite(one)]
    if not finite or len(finite) < len(values):
        return Interval(np.nan, np.nan, np.nan)
    return t_interval(finite) if len(finite) > 1 else Interval(finite[0], finite[0], finite[0])


def results(
    curves: Sequence[Curves],
    variances: Sequence[VarianceCurve],
    biases: Sequence[tuple[Bias, Biases]],
) -> dict[str, Any]:
    """The flat result; what is not finite is left out.

    For each comparison C and arm A; the loss is smoothed where the comparison draws perturbations for it:

    - C_A_final_loss: mean over seeds after the last update, with ..._low and ..._high (95 %); C_first_loss before.
      C_A_final_loss_unperturbed: where that loss is smoothed, that of the parameters themselves.
    - C_A_environment_steps, C_A_sequential_steps: made, burn-in included.
    - C_A_environment_steps_to_90_percent, C_A_sequential_steps_to_90_percent: until the mean curve has gone 90 % of the
      way from the first loss to the lowest of all arms; absent where it never does.
    - C_A_updates_skipped: over all seeds.
    - C_equal_environment_steps: the most that both NRES and PES have made; there C_nres_loss_at_equal_steps_seed_S,
      C_pes_loss_at_equal_steps_seed_S, C_nres_over_pes_seed_S (ratio), and C_seeds_with_nres_below_pes and
      C_seeds_with_nres_above_pes (the others are equal) of C_seeds_of_nres_and_pes.

    For each variance V: V_variance_K_k (trace of the covariance of one worker's estimate), ..._error (its standard
    error), ..._closed_form and, where that is exact, ..._standard_errors_apart; and V_variance_full_es likewise.

    For each bias B and estimator A: B_A_most_standard_errors_apart from the exact gradient, over all rates, and
    B_A_mean_estimate_over_exact, at the first rate.
    """
    out: dict[str, Any] = {
        "runs": sum(len(runs) for one in curves for runs in one.runs.values()),
        "seeds": max((len(one.comparison.seeds) for one in curves), default=0),
    }
    for one in curves:
        out |= _of_comparison(one)
    for one in variances:
        places = [(f"K_{point.reuse}", point) for point in one.points]
        for word, point in [*places, *([("full_es", one.full_es)] if one.full_es else [])]:
            name = f"{one.variance.name}_variance_{word}"
            out |= {name: point.measured, f"{name}_error": point.error, f"{name}_closed_form": point.closed}
            if one.exact:
                out[f"{name}_standard_errors_apart"] = point.apart
    for bias, found in biases:
        for name, points in found.items():
            out[f"{bias.name}_{name}_most_standard_errors_apart"] = max(abs(point.apart) for point in points)
            out[f"{bias.name}_{name}_mean_estimate_over_exact"] = points[0].mean / points[0].exact
    return {name: value for name, value in out.items() if np.isfinite(value)}


def _of_comparison(one: Curves) -> dict[str, Any]:
    name = one.comparison.name
    if not one.runs:
        return {}
    out: dict[str, Any] = {f"{name}_first_loss": one.first_loss()}
    way = one.most_of_the_way()
    for arm, runs in one.runs.items():
        last = interval([run.shown[-1] for run in runs.values()])
        out[f"{name}_{arm}_final_loss"] = last.mean
        if len(runs) > 1:
            out |= {f"{name}_{arm}_final_loss_low": last.low, f"{name}_{arm}_final_loss_high": last.high}
        if one.smoothed:
            out[f"{name}_{arm}_final_loss_unperturbed"] = interval([run.loss[-1] for run in runs.values()]).mean
        for which in ("environment_steps", "sequential_steps"):
            out[f"{name}_{arm}_{which}"] = int(one.steps(arm, which)[-1])
            out[f"{name}_{arm}_{which}_to_90_percent"] = one.steps_to(arm, which, way)
        out[f"{name}_{arm}_updates_skipped"] = sum(run.skipped for run in runs.values())
    same = equal_steps(one)
    if same:
        out[f"{name}_equal_environment_steps"] = same.environment_steps
        for seed, (nres, pes) in same.losses.items():
            out[f"{name}_nres_loss_at_equal_steps_seed_{seed}"] = nres
            out[f"{name}_pes_loss_at_equal_steps_seed_{seed}"] = pes
            out[f"{name}_nres_over_pes_seed_{seed}"] = nres / pes if pes else np.nan
        out[f"{name}_seeds_with_nres_below_pes"] = same.below
        out[f"{name}_seeds_with_nres_above_pes"] = same.above
        out[f"{name}_seeds_of_nres_and_pes"] = len(same.losses)
    return out
