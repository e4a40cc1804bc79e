"""Densities at every noise level, and their products, quotients and powers.

A `Density` is what a diffusion model learns: for each level t an unnormalised density q_t of one point. Densities that
know their log density (energies) can be sampled with a Metropolis test; those that know their score alone cannot, and
say why. X = the shape of a point: functions take one point, and callers vmap them over chains.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax

from models.composition.schedule import NoiseSchedule
from shammie.errors import UserError

Level = jax.typing.ArrayLike
AtLevel = Callable[[jax.Array, Level], jax.Array]
AtPoint = Callable[[jax.Array], jax.Array]


class Target(NamedTuple):
    """A density at one level, as kernels take it.

    Attributes:
        log_density: point [X] to a float32 [], up to a constant; None where only the score is known.
        score: point [X] to the gradient of its log density, [X].
    """

    log_density: AtPoint | None
    score: AtPoint


@dataclass(frozen=True, eq=False)
class Density:
    """A sequence of unnormalised densities over points of one shape, one for each level of a schedule.

    `a * b`, `a / b` and `a ** weight` are densities again (a negative part of a quotient must not outweigh the rest,
    or there is no such density; nothing can check that). `algebra` has the other operations. Make one by
    `of_log_density` or `of_score`.

    Attributes:
        shape: X, of a point.
        schedule: the noise at each level.
        name: for people, in messages and reports.
        score_only: the names of those parts that know no log density; empty where the whole has one.
    """

    shape: tuple[int, ...]
    schedule: NoiseSchedule
    name: str
    score_only: tuple[str, ...]
    _log_density: AtLevel | None
    _score: AtLevel

    @property
    def has_energy(self) -> bool:
        """Whether the log density is known."""
        return self._log_density is not None

    def log_density(self, x: jax.Array, level: Level) -> jax.Array:
        """Log of q_t(x), up to a constant of the level: minus the energy; float32 [].

        Args:
            x: a point, [X].
            level: int32 [], 0 to T - 1.

        Raises:
            UserError: a part of it knows only its score.
        """
        if self._log_density is None:
            raise self.without_energy("its log density")
        return self._log_density(x, level)

    def score(self, x: jax.Array, level: Level) -> jax.Array:
        """The gradient of log q_t at x, [X].

        Args:
            x: a point, [X].
            level: int32 [], 0 to T - 1.
        """
        return self._score(x, level)

    def at(self, level: Level) -> Target:
        """The density of one level."""
        log_density = None if self._log_density is None else lambda x: self.log_density(x, level)
        return Target(log_density, lambda x: self.score(x, level))

    def without_energy(self, wish: str) -> UserError:
        """The error for asking a score-only density for what needs energies."""
        return UserError(
            f"{self.name} has no energy, which {wish} needs: of {', '.join(self.score_only)} only the score is known",
            "train that model with an energy ('dae', 'l2' or 'inner'), or take what scores allow: product, power, "
            "guidance, and the samplers reverse, ddim, ula and uhmc",
        )

    def named(self, name: str) -> "Density":
        """The same density under another name."""
        score_only = (name,) if self.score_only == (self.name,) else self.score_only
        return Density(self.shape, self.schedule, name, score_only, self._log_density, self._score)

    def __mul__(self, other: "Density") -> "Density":
        """The product of two densities: their energies add up."""
        return combined((self, other), (1.0, 1.0), f"{self.name} * {bracketed(other)}")

    def __truediv__(self, other: "Density") -> "Density":
        """The quotient of two densities: their energies are subtracted."""
        return combined((self, other), (1.0, -1.0), f"{self.name} / {bracketed(other)}")

    def __pow__(self, weight: float | jax.Array) -> "Density":
        """A power of the density: its energy times the weight."""
        shown = f"{weight:g}" if isinstance(weight, int | float) else "w"
        return combined((self,), (weight,), f"{bracketed(self)} ** {shown}")


def of_log_density(
    function: AtLevel, shape: tuple[int, ...], schedule: NoiseSchedule, name: str = "density"
) -> Density:
    """A density with energies; its score is the gradient of the log density, by automatic differentiation.

    Args:
        function: (point [X], level []) to the log density up to a constant, float32 [].
        shape: X.
        schedule: what levels mean.
        name: for people.
    """
    return Density(tuple(shape), schedule, name, (), function, jax.grad(function))


def of_score(function: AtLevel, shape: tuple[int, ...], schedule: NoiseSchedule, name: str = "density") -> Density:
    """A density of which only the score is known; most diffusion models are such.

    Args:
        function: (point [X], level []) to the score, [X].
        shape: X.
        schedule: what levels mean.
        name: for people.
    """
    return Density(tuple(shape), schedule, name, (name,), None, function)


def combined(parts: tuple[Density, ...], weights: tuple[float | jax.Array, ...], name: str) -> Density:
    """The density whose log is the weighted sum of the parts' logs.

    Args:
        parts: one or more, of one shape and schedule.
        weights: as many.
        name: of the whole.

    Returns:
        It has energies where all parts have.

    Raises:
        UserError: shapes or schedules differ.
    """
    check_alike(parts)

    def total(values: Sequence[jax.Array]) -> jax.Array:
        weighted = [weight * value for weight, value in zip(weights, values, strict=True)]
        return sum(weighted[1:], weighted[0])

    if all(part.has_energy for part in parts):
        log_density: AtLevel = lambda x, level: total([part.log_density(x, level) for part in parts])  # noqa: E731
        return of_log_density(log_density, parts[0].shape, parts[0].schedule, name)
    score: AtLevel = lambda x, level: total([part.score(x, level) for part in parts])  # noqa: E731
    missing = tuple(dict.fromkeys(name for part in parts for name in part.score_only))
    return Density(parts[0].shape, parts[0].schedule, name, missing, None, score)


def check_alike(parts: tuple[Density, ...]) -> None:
    """Raises UserError where densities are not of one point at one noise."""
    first = parts[0]
    for part in parts[1:]:
        if part.shape != first.shape:
            raise UserError(
                f"{first.name} is of points of shape {first.shape}, {part.name} of {part.shape}",
                "compose models of the same data, or place each on a canvas by algebra.on_canvas",
            )
        if part.schedule != first.schedule:
            raise UserError(
                f"{first.name} and {part.name} have different noise schedules: {first.schedule} and {part.schedule}",
                "train them with one schedule: a level must mean the same noise to both",
            )


def bracketed(density: Density) -> str:
    """Its name as a part of a longer one."""
    return f"({density.name})" if " " in density.name else density.name
