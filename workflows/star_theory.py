"""The theory of STAR as a step: what the noisy quadratic model says in closed form, beside what runs of it do.

Source: arXiv:2209.11208; the formulas are in `models.star`. Everything that is written is plain JSON.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from models.learned_optimizers.star import StarConfig, star
from models.learned_optimizers.suite import suite_task
from models.learned_optimizers.suite_training import train
from models.star.noisy_quadratic import (
    dynamics,
    eigenvalues,
    expected_losses,
    random_blocks,
    random_hessian,
    spectral_radius,
    stationary_loss,
)
from models.star.simulation import growth_per_step, meta_gradients, simulate
from models.star.stability import radius_map, stability_limit
from shammie.errors import UserError
from shammie.files import write_json
from workflows.dag import Running

THEORY = "theory.json"
NOMINAL_DECAYS: Mapping[str, tuple[float, ...]] = {"SGD": (), "momentum 0.9": (0.9,), "AggMo": (0.9, 0.99, 0.999)}
CURVATURES = (0.1, 0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Theory:
    """The sizes of the theory's pictures and checks.

    Attributes:
        map_points: a side of the maps of stability.
        blocks: random learned blocks in a cloud of eigenvalues.
        block_scale: standard deviation of their entries.
        rate: the nominal step's, a, in clouds and losses.
        chains: of the simulation.
        loss_steps: of the expected loss.
        lengths: of unrolls whose meta-gradients are taken.
        gradient_chains: over which their norms are averaged.
        random_seeds: random thetas, each with a world of its own.
        random_steps: steps that each trains.
        random_task: of the suite, which they train.
        seed: of everything.
    """

    map_points: int = 120
    blocks: int = 200
    block_scale: float = 0.05
    rate: float = 0.3
    chains: int = 20_000
    loss_steps: int = 100
    lengths: Sequence[int] = (2, 4, 8, 16, 24, 32, 48, 64)
    gradient_chains: int = 64
    random_seeds: int = 20
    random_steps: int = 200
    random_task: str = "mlp"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("map_points", "blocks", "chains", "loss_steps", "gradient_chains", "random_seeds", "random_steps"):
            if getattr(self, name) < 2:
                raise UserError(f"Theory.{name} is {getattr(self, name)}", "give at least 2")
        if len(self.lengths) < 3 or min(self.lengths) < 1 or list(self.lengths) != sorted(set(self.lengths)):
            raise UserError(f"Theory.lengths are {list(self.lengths)}", "give three or more rising ones from 1 on")
        suite_task(self.random_task)


def run(running: Running, theory: Theory) -> dict[str, Any]:
    """Writes theory.json."""
    random = np.random.default_rng(theory.seed)
    hessian = random_hessian(CURVATURES, random)
    blocks = random_blocks(theory.blocks, len(CURVATURES), theory.block_scale, random)
    found = {
        "regions": regions(theory.map_points),
        "clouds": clouds(hessian, blocks, theory.rate),
        "loss": losses(theory, hessian, blocks),
        "growth": growth(theory, hessian),
        "random_theta": random_theta(theory),
    }
    write_json(running.path(THEORY), found, sort_keys=False)
    return {"limits": found["regions"]["limits"], "growth": found["growth"]["measured_growth"]}


def regions(points: int) -> dict[str, Any]:
    """Spectral radii over a h and h, and where stability ends by the closed form.

    Rates run over six decades; curvature is 1, for only a h matters where there is no block.
    """
    steps = np.geomspace(1e-2, 1e4, points)
    radii = {name: radius_map(steps, [1.0], decays)[:, 0].tolist() for name, decays in NOMINAL_DECAYS.items()}
    limits = {name: stability_limit(decays) for name, decays in NOMINAL_DECAYS.items()}
    shares = np.linspace(-1, 2.5, points)
    with_block = {}
    for name, decays in NOMINAL_DECAYS.items():
        # p h over its rows, a h over its columns
        columns = [radius_map(np.geomspace(1e-2, 1e3, points), [1.0], decays, eigenvalue=p)[:, 0] for p in shares]
        with_block[name] = np.round(np.array(columns), 4).tolist()
    return {
        "steps": steps.tolist(),
        "radii": radii,
        "limits": limits,
        "block_shares": shares.tolist(),
        "block_steps": np.geomspace(1e-2, 1e3, points).tolist(),
        "block_radii": with_block,
    }


def clouds(hessian_DD: np.ndarray, blocks_NDD: np.ndarray, rate: float) -> dict[str, Any]:
    """Eigenvalues of random learned blocks, alone and with a nominal term, and the shares that are stable."""
    out: dict[str, Any] = {"rate": rate}
    cases = {"block alone": (0.0, ()), "with SGD": (rate, ()), "with AggMo": (rate, NOMINAL_DECAYS["AggMo"])}
    for name, (a, decays) in cases.items():
        A = dynamics(hessian_DD, a, blocks_NDD, decays).A
        values = eigenvalues(A).ravel()
        out[name] = {
            "real": np.round(values.real, 5).tolist(),
            "imaginary": np.round(values.imag, 5).tolist(),
            "stable_share": float(np.mean(spectral_radius(A) < 1)),
        }
    return out


def losses(theory: Theory, hessian_DD: np.ndarray, blocks_NDD: np.ndarray) -> dict[str, Any]:
    """The expected loss of a nominal term with a block: in closed form, and of chains that are run."""
    noise = np.eye(len(hessian_DD))
    start = 3 * np.ones(len(hessian_DD))
    out: dict[str, Any] = {"rate": theory.rate, "steps": theory.loss_steps, "chains": theory.chains}
    systems = [(block, dynamics(hessian_DD, theory.rate, block)) for block in blocks_NDD]
    block, system = next(((b, s) for b, s in systems if spectral_radius(s.A) < 0.995), (None, None))
    if system is None:
        raise UserError("no random block is stable with the nominal term", "raise Theory.rate or lower block_scale")
    chains = simulate(
        jax.random.key(theory.seed), hessian_DD, noise, theory.rate, block, steps=theory.loss_steps,
        chains=theory.chains, start_D=start,
    )  # fmt: skip
    closed = expected_losses(hessian_DD, noise, system, start, theory.loss_steps)
    out |= {"closed": closed.tolist(), "simulated": chains.losses_T.tolist()}
    out |= {"stationary": stationary_loss(hessian_DD, noise, system), "radius": float(spectral_radius(system.A))}
    out["largest_relative_difference"] = float(np.max(np.abs(chains.losses_T / closed - 1)))
    return out


def growth(theory: Theory, hessian_DD: np.ndarray) -> dict[str, Any]:
    """Norms of meta-gradients against the length of the unroll, for stable and unstable rates of SGD.

    They grow as T rho^T (`growth_per_step`); for the distance from the target, whose gradient is linear in x.
    """
    noise, most = np.eye(len(hessian_DD)), max(CURVATURES)
    out: dict[str, Any] = {"lengths": list(theory.lengths), "norms": {}, "radii": {}, "measured_growth": {}}
    for radius in (0.8, 0.95, 1.05, 1.2):
        # above 1 the largest curvature's eigenvalue is -radius; below, no direction is slower than it
        rate = (1 + radius) / most if radius > 1 else (1 - radius) / min(CURVATURES)
        rate = min(rate, (1 + radius) / most)
        found = meta_gradients(
            jax.random.key(theory.seed + 1), hessian_DD, noise, rate, lengths=theory.lengths,
            chains=theory.gradient_chains, start_D=np.ones(len(hessian_DD)), of="distance",
        )  # fmt: skip
        true = float(spectral_radius(dynamics(hessian_DD, rate).A))
        name = f"{true:.3f}"
        norms = found.norms()
        out["norms"][name], out["radii"][name] = norms.tolist(), true
        out["measured_growth"][name] = growth_per_step(theory.lengths[-4:], norms[-4:])
    return out


RANDOM_CASES: Mapping[str, StarConfig] = {
    "nominal term alone": StarConfig(step_mult=0.0, nominal_controller=False),
    "network alone": StarConfig(nominal_stepsize=0.0),
    "both": StarConfig(),
}


def random_theta(theory: Theory) -> dict[str, Any]:
    """What untrained optimizers do: random meta-parameters train a task, each its own world.

    Final losses are means over the last tenth, as shares of the loss that no knowledge has; none for a divergence.
    """
    task = suite_task(theory.random_task)
    every = theory.random_steps // 10
    steps = every * 10
    seeds = list(range(theory.random_seeds))
    out: dict[str, Any] = {"steps": steps, "task": theory.random_task, "shares": {}, "falls_share": {}}
    for name, config in RANDOM_CASES.items():
        optimizer = star(config)
        theta = jax.vmap(optimizer.init_theta)(jax.random.split(jax.random.key(theory.seed + 2), len(seeds)))
        curves = train(task, lambda one, o=optimizer: o.optax(one, steps), seeds, theta, steps=steps, every=every)
        shares = curves[:, -1] / task.first_loss
        out["shares"][name] = [float(x) if np.isfinite(x) else None for x in shares]
        out["falls_share"][name] = float(np.mean(np.isfinite(shares) & (curves[:, -1] < curves[:, 0])))
    return out
