"""Densities with exact answers, and runs of kernels on many chains, for the tests beside."""

import jax
import jax.numpy as jnp
import numpy as np

from models.composition.density import Density, Target, of_score
from models.composition.gaussians import gaussian_mixture
from models.composition.hmc import first_momentum
from models.composition.kernels import Info, Kernel, State
from models.composition.schedule import NoiseSchedule

QUARTIC = Target(lambda x: -jnp.sum(x**4) / 4, lambda x: -(x**3))
QUARTIC_MOMENTS = {2: 0.67598, 4: 1.0}


def quartic_points(chains: int) -> jax.Array:
    """Exact draws of exp(-x^4 / 4), [N, 1]: x^4 / 4 is of Gamma(1/4)."""
    generator = np.random.default_rng(0)
    signs = generator.choice([-1.0, 1.0], (chains, 1))
    return jnp.asarray(signs * (4 * generator.gamma(0.25, size=(chains, 1))) ** 0.25, jnp.float32)


def run(
    kernel: Kernel, first_NX: jax.Array, steps: int, *, mass: float | None = None, seed: int = 1
) -> tuple[State, Info]:
    """The states after some steps, arrays [N, …], and what the steps did, arrays [steps, N]."""
    chains = len(first_NX)
    momentum_NX = None if mass is None else first_momentum(jax.random.key(seed + 100), first_NX.shape, mass)

    def step(states: State, key: jax.Array) -> tuple[State, Info]:
        return jax.vmap(kernel.step)(jax.random.split(key, chains), states)

    def whole(first_NX: jax.Array) -> tuple[State, Info]:
        states = jax.vmap(kernel.init)(first_NX, momentum_NX)
        return jax.lax.scan(step, states, jax.random.split(jax.random.key(seed), steps))

    return jax.jit(whole)(first_NX)


def errors_of_moments(x_N1: jax.Array) -> dict[int, float]:
    """How many standard errors each quartic moment is off."""
    x = np.asarray(x_N1, np.float64)[:, 0]
    return {p: float((np.mean(x**p) - exact) / (np.std(x**p) / len(x) ** 0.5)) for p, exact in QUARTIC_MOMENTS.items()}


def ring_and_three(schedule: NoiseSchedule) -> tuple[Density, Density, np.ndarray, np.ndarray]:
    """Eight modes on a ring (std .1, r .5), three (std .15); mean and variance, [2], of their product at level 0."""
    angle_K = np.arange(8) * np.pi / 4
    ring_KD = 0.5 * np.stack([np.cos(angle_K), np.sin(angle_K)], axis=1)
    three_KD = np.array([[0, 0.5], [0, -0.5], [0.5, 0]])
    ring = gaussian_mixture(ring_KD, 0.1, schedule, name="ring")
    three = gaussian_mixture(three_KD, 0.15, schedule, name="three")
    signal, noise = schedule.alpha_bars_T[0], schedule.noise_variances_T[0]
    one, other = signal * 0.1**2 + noise, signal * 0.15**2 + noise
    variance = one * other / (one + other)
    pairs = [(a, b) for a in ring_KD * signal**0.5 for b in three_KD * signal**0.5]
    means = np.array([variance * (a / one + b / other) for a, b in pairs])
    weights = np.exp([-np.sum((a - b) ** 2) / (2 * (one + other)) for a, b in pairs])
    weights /= weights.sum()
    mean = weights @ means
    return ring, three, mean, weights @ (means - mean) ** 2 + variance


def score_only(density: Density, name: str = "scores") -> Density:
    """The same density, of which only the score is told."""
    return of_score(density.score, density.shape, density.schedule, name)


def mean_and_variance(x_NX: jax.Array) -> tuple[np.ndarray, np.ndarray]:
    """Over chains, in float64."""
    x = np.asarray(x_NX, np.float64)
    return x.mean(axis=0), x.var(axis=0)
