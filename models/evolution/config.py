"""The settings that the estimators of gradients share."""

from dataclasses import dataclass
from typing import Literal

from shammie.errors import UserError, unknown


@dataclass(frozen=True)
class EvolutionConfig:
    """Settings of an estimator.

    Attributes:
        particles: N, workers; each is an antithetic pair of trajectories, or one for methods that differentiate.
        window: W, steps of every worker in one estimate. It need not divide the horizon: a worker then begins its next
            episode inside a window. Methods of whole episodes ignore it.
        sigma: standard deviation of the perturbations; methods that differentiate ignore it.
        horizon_sampling: "fixed", or "log_uniform": each episode draws its own T between the two bounds.
        shortest_horizon: the least T of "log_uniform"; the most is the problem's.
        offsets: workers start at a random window of their episode ("step-unlocked"); without, all start at step 0.
        burn_in: steps before the first estimate, rounded up to whole windows, so that no worker's state is still that
            of a made-up start; -1 means the horizon where there are offsets, else 0. They count as environment steps.
        sign: estimate with the sign of a worker's loss difference instead of the difference (as VeLO's meta-training).
        clip: bounds the size of a worker's mean loss difference, before the sign; 0 for no bound.
        normalize_loss: divide by the standard deviation of the trajectories' mean losses and multiply by sigma.
        skip_nonfinite: leave out steps whose losses are not finite, instead of handing the NaN on.
        unroll: steps that the compiler lays out in one turn of its loop; changes speed only.
    """

    particles: int = 100
    window: int = 1
    sigma: float = 0.01
    horizon_sampling: Literal["fixed", "log_uniform"] = "fixed"
    shortest_horizon: int = 1
    offsets: bool = True
    burn_in: int = -1
    sign: bool = False
    clip: float = 0.0
    normalize_loss: bool = False
    skip_nonfinite: bool = False
    unroll: int = 1

    def __post_init__(self) -> None:
        for name, least in (("particles", 1), ("window", 1), ("shortest_horizon", 1), ("burn_in", -1), ("unroll", 1)):
            value = getattr(self, name)
            if not isinstance(value, int):
                raise UserError(f"EvolutionConfig.{name} is {value!r}", f"give a whole number of at least {least}")
            if value < least:
                raise UserError(f"EvolutionConfig.{name} is {value}", f"give at least {least}")
        if not self.sigma > 0:
            raise UserError(f"EvolutionConfig.sigma is {self.sigma}", "give a positive standard deviation")
        if not self.clip >= 0:
            raise UserError(f"EvolutionConfig.clip is {self.clip}", "give a bound, or 0 for none")
        if self.horizon_sampling not in ("fixed", "log_uniform"):
            raise unknown("horizon_sampling", self.horizon_sampling, ("fixed", "log_uniform"))

    def check_horizon(self, horizon: int) -> None:
        """Refuses what does not go with a problem of this horizon.

        Raises:
            UserError: the window or the shortest horizon is longer than the problem's episodes.
        """
        for name in ("window", "shortest_horizon"):
            if getattr(self, name) > horizon:
                problem = f"EvolutionConfig.{name} is {getattr(self, name)} and the problem's horizon {horizon}"
                raise UserError(problem, f"give at most {horizon}")

    def check_reuse(self, reuse: int, horizon: int) -> None:
        """Refuses a number of steps between fresh perturbations, K, that does not go with the window.

        Raises:
            UserError: it is neither a multiple of the window nor the problem's horizon or more.
        """
        if reuse < 1 or (reuse % self.window and reuse < horizon):
            raise UserError(
                f"reuse is {reuse}, the window {self.window} and the horizon {horizon}",
                "give a multiple of the window, or the horizon or more",
            )

    def burn_in_windows(self, horizon: int) -> int:
        """Whole windows of burn-in for a problem of this horizon."""
        steps = (horizon if self.offsets else 0) if self.burn_in < 0 else self.burn_in
        return -(-steps // self.window)

    def windows_hold(self, horizon: int) -> bool:
        """Whether every episode ends where a window ends, so that nothing has to be looked at within a window."""
        return self.window == 1 or (self.horizon_sampling == "fixed" and horizon % self.window == 0)
