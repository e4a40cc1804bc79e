"""`shammie bench composition`: the annealed sampler beside a bare loop of the same kernels, and what energies cost.

The bare loops are written by hand: for each level, its kernel on all chains, a number of times, and nothing else; one
of this project's kernels, one of blackjax's MALA. The driver does as much, and finds the acceptance and energy error of
each level, keeps count of chains that are not finite, and takes any config. The target is the product of two mixtures
of Gaussians, with networks out of the way. Training: a step of an energy model, whose gradient is of second order,
beside one of a score model with the same network. T = levels, N = chains, B = batch.
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from workflows.bench.table import Table, Target
from workflows.bench.tasks import by_turns

OVERHEAD_TARGET, ENERGY_TARGET = 1.05, 2.5
STEP_SIZES = {"ula": 1e-3, "mala": 1e-3, "uhmc": 0.03, "hmc": 0.03}
RING_MODES = 8

Turns = Sequence[tuple[float, float]]
Call = Callable[[], Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the benchmark's flags."""
    add = parser.add_argument
    add("--kinds", nargs="*", default=["mala", "hmc"], choices=list(STEP_SIZES), help="kernels (default: mala hmc)")
    add("--chains", type=int, default=4000, help="N (default: 4000)")
    add("--levels", type=int, default=100, help="T (default: 100)")
    add("--steps", type=int, default=10, help="of the kernel at each level (default: 10)")
    add("--width", type=int, default=64, help="of the network that is trained; 0 for no training (default: 64)")
    add("--batch_size", type=int, default=256, help="of its training steps (default: 256)")
    add("--training_steps", type=int, default=20, help="of a turn (default: 20)")
    add("--turns", type=int, default=11, help="both by turns, who begins alternates; medians (default: 11)")


def run(args: argparse.Namespace) -> Table:
    """Runs the benchmark.

    Args:
        args: what `add_arguments` declares.
    """
    sizes = (args.chains, args.levels, args.steps)
    found: dict[str, Turns] = {
        f"{kind}, bare loop": by_turns(driver(kind, *sizes), bare(kind, *sizes), args.turns) for kind in args.kinds
    }
    if "mala" in args.kinds:
        found["mala, bare loop of blackjax"] = by_turns(driver("mala", *sizes), bare_blackjax(*sizes), args.turns)
    training = []
    if args.width:
        steps = [training_steps(form, args.width, args.batch_size, args.training_steps) for form in ("dae", "score")]
        training = by_turns(steps[0], steps[1], args.turns)
    return table(
        found, training, f"{args.chains} chains, {args.levels} levels of {args.steps} steps", args.training_steps
    )


def target_of(levels: int) -> Any:
    """The product of eight modes on a ring and three modes (composition facts 7.3): a `Density` of points [2]."""
    from models.composition.gaussians import gaussian_mixture
    from models.composition.schedule import NoiseSchedule

    schedule = NoiseSchedule(levels=levels)
    angle_K = np.arange(RING_MODES) * 2 * np.pi / RING_MODES
    ring_K2 = 0.5 * np.stack([np.cos(angle_K), np.sin(angle_K)], axis=1)
    three_K2 = np.array([[0, 0.5], [0, -0.5], [0.5, 0]])
    return gaussian_mixture(ring_K2, 0.1, schedule) * gaussian_mixture(three_K2, 0.15, schedule)


def driver(kind: Any, chains: int, levels: int, steps: int) -> Call:
    """Ours; each call draws points and waits for them."""
    import jax

    from models.composition.annealing import sample
    from models.composition.sampler_config import SamplerConfig

    density, config = target_of(levels), SamplerConfig(kind=kind, step_size=STEP_SIZES[kind], steps=steps)
    return _repeated(jax.jit(lambda key: sample(key, density, config, chains)))


def bare(kind: Any, chains: int, levels: int, steps: int) -> Call:
    """The same kernels in a loop by hand: points alone come back."""
    import jax

    from models.composition.hmc import first_momentum, kernel_of
    from models.composition.sampler_config import HAMILTONIAN_KINDS, SamplerConfig

    density, config = target_of(levels), SamplerConfig(kind=kind, step_size=STEP_SIZES[kind], steps=steps)

    def draw(key: Any) -> Any:
        key, x_key, momentum_key = jax.random.split(key, 3)
        x_N2 = jax.random.normal(x_key, (chains, 2))
        momentum_N2 = first_momentum(momentum_key, x_N2.shape) if kind in HAMILTONIAN_KINDS else None

        def of_level(number: Any, carried: Any) -> Any:
            x_N2, momentum_N2, key = carried
            kernel = kernel_of(config, density.at(levels - 1 - number), config.step_size)

            def step(_: Any, carried: Any) -> Any:
                states, key = carried
                key, step_key = jax.random.split(key)
                return jax.vmap(kernel.step)(jax.random.split(step_key, chains), states)[0], key

            states, key = jax.lax.fori_loop(0, steps, step, (jax.vmap(kernel.init)(x_N2, momentum_N2), key))
            return states.position, states.momentum, key

        return jax.lax.fori_loop(0, levels, of_level, (x_N2, momentum_N2, key))[0]

    return _repeated(jax.jit(draw))


def bare_blackjax(chains: int, levels: int, steps: int) -> Call:
    """The MALA of blackjax, without anything of this project but the density, in a loop by hand."""
    import blackjax.mcmc.mala as mala
    import jax

    density, kernel, step_size = target_of(levels), mala.build_kernel(), STEP_SIZES["mala"]

    def draw(key: Any) -> Any:
        key, x_key = jax.random.split(key)

        def of_level(number: Any, carried: Any) -> Any:
            x_N2, key = carried
            log_density = lambda x: density.log_density(x, levels - 1 - number)  # noqa: E731
            one = lambda key, state: kernel(key, state, log_density, step_size)[0]  # noqa: E731

            def step(_: Any, carried: Any) -> Any:
                states, key = carried
                key, step_key = jax.random.split(key)
                return jax.vmap(one)(jax.random.split(step_key, chains), states), key

            begun = jax.vmap(lambda x: mala.init(x, log_density))(x_N2)
            states, key = jax.lax.fori_loop(0, steps, step, (begun, key))
            return states.position, key

        return jax.lax.fori_loop(0, levels, of_level, (jax.random.normal(x_key, (chains, 2)), key))[0]

    return _repeated(jax.jit(draw))


def _repeated(compiled: Callable[[Any], Any]) -> Call:
    import jax

    keys = iter(range(1 << 30))
    return lambda: jax.block_until_ready(compiled(jax.random.key(next(keys))))


def training_steps(form: Any, width: int, batch_size: int, steps: int) -> Call:
    """Some training steps of a model of points of the plane: batches made on the spot, loss, gradient, optimizer."""
    import jax
    import optax

    from models.composition.denoising import denoising_loss, noised_batch
    from models.composition.diffusion import first_variables
    from models.composition.diffusion_config import DiffusionConfig
    from models.training import OptimizerConfig, optimizer_of

    config = DiffusionConfig(form=form, width=width)
    optimizer = optimizer_of(OptimizerConfig(), 1000)
    gradient = jax.value_and_grad(denoising_loss(config), has_aux=True)
    params = jax.jit(partial(first_variables, config))(jax.random.key(0))["params"]

    @jax.jit
    def several(state: Any, key: Any) -> Any:
        def step(state: Any, key: Any) -> Any:
            params, optimizer_state = state
            x_key, noise_key = jax.random.split(key)
            x_B2 = jax.random.uniform(x_key, (batch_size, 2), minval=-1.0)
            batch = noised_batch(config.schedule, x_B2, None, jax.random.split(noise_key, batch_size))
            (loss, _), grads = gradient(params, batch)
            updates, optimizer_state = optimizer.update(grads, optimizer_state, params)
            return (optax.apply_updates(params, updates), optimizer_state), loss

        return jax.lax.scan(step, state, jax.random.split(key, steps))[1]

    first = (params, optimizer.init(params))
    return _repeated(partial(several, first))


def table(found: dict[str, Turns], training: Turns, sizes: str, training_steps: int) -> Table:
    """The result.

    Args:
        found: by what the driver is beside, seconds of the driver and of that in each turn.
        training: seconds of energy and of score steps in each turn; may be empty.
        sizes: of the sampling, in words.
        training_steps: of each turn.
    """
    rows: list[list[Any]] = []
    targets = []
    for what, turns in found.items():
        ratio = _add(rows, f"s, {what}", turns, 1.0)
        targets.append(Target(f"the driver's time / that of {what}", ratio, OVERHEAD_TARGET, "less"))
    if training:
        ratio = _add(rows, "ms a training step, energy and score", training, 1e3 / training_steps)
        targets.append(Target("an energy model's training step / a score model's", ratio, ENERGY_TARGET, "less"))
    return Table(
        title=f"annealed sampling, {sizes}",
        columns=["measure", "ours, or energy", "bare, or score", "ratio", "over turns"],
        rows=rows,
        notes=[
            "medians of turns, both one after the other; ratios are of such pairs",
            "the driver also finds each level's acceptance and energy error; the bare loops give points alone",
            "a training step: making the batch, loss, gradient, optimizer, of one network in both forms",
        ],
        targets=targets,
    )


def _add(rows: list[list[Any]], what: str, turns: Turns, scale: float) -> float:
    """Adds a row; the median ratio."""
    ratios = sorted(ours / other for ours, other in turns)
    ratio = round(statistics.median(ratios), 3)
    ours, other = (round(statistics.median(side) * scale, 4) for side in zip(*turns, strict=True))
    rows.append([what, ours, other, ratio, f"{ratios[0]:.2f} to {ratios[-1]:.2f}"])
    return ratio
