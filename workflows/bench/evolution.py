"""`shammie bench evolution`: NRES on Lorenz beside the bare dynamics, a loop over steps, and the reference.

All make windows of 100 steps of N antithetic pairs with the paper's settings; a worker-step is one step of a pair.

- ours, a call: the jitted estimate, called from Python; ours, a loop: many estimates in one compiled loop.
- bare: a compiled scan of the plain Euler step over the same 2 N trajectories, without losses, noise or episodes; and
  the same with as many steps in a turn as ours.
- with the true system: the same, where each trajectory carries the system that it follows, as the paper's code does.
- loop over steps: our estimate of one step, jitted, called from Python for every step.
- reference: google/learned_optimization's TruncatedESSharedNoise, in the Python that --reference names.
"""

import argparse
import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from shammie.errors import UserError
from workflows.bench.table import Table, Target

WINDOW, SIGMA = 100, 0.04
PEER_TARGET, BARE_TARGET = 2.0, 0.6
LOOPED_STEPS = 4_000_000  # of pairs, in one compiled loop


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the benchmark's flags."""
    add = parser.add_argument
    add("--particles", type=int, nargs="+", default=[200, 2000], help="N; the paper's is 200 (default: 200 2000)")
    add("--turns", type=int, default=7, help="all by turns; the best of each counts (default: 7)")
    add("--unroll", type=int, default=4, help="steps laid out in one turn of our loop (default: 4)")
    add("--reference", metavar="PYTHON", help="an interpreter that can import learned_optimization (see PYTHONPATH)")


def run(args: argparse.Namespace) -> Table:
    """Runs the benchmark.

    Args:
        args: what `add_arguments` declares.
    """
    measured = {}
    for particles in args.particles:
        ways = ways_of(particles, args.unroll)
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for way in ways.values():
            way()  # compiles
        for _ in range(args.turns):
            for name, way in ways.items():
                begun = time.perf_counter()
                windows = way()
                seconds[name].append((time.perf_counter() - begun) / windows)
        if args.reference:
            seconds["reference"] = reference_seconds(args.reference, particles, args.turns)
        measured[particles] = {name: particles * WINDOW / min(times) for name, times in seconds.items()}
    return table(measured)


def ways_of(particles: int, unroll: int) -> dict[str, Callable[[], int]]:
    """What is timed, by name: each makes some windows and returns how many."""
    import jax
    import jax.numpy as jnp

    from models.evolution import EvolutionConfig, nres
    from models.evolution.lorenz import LorenzConfig, LorenzState, euler_step, first_theta, lorenz

    lorenz_config = LorenzConfig()
    theta, problem, key = first_theta(lorenz_config), lorenz(lorenz_config), jax.random.key(0)
    windows = max(1, LOOPED_STEPS // (particles * WINDOW))
    ours = nres(problem, EvolutionConfig(particles, WINDOW, SIGMA, unroll=unroll))
    workers, estimate = jax.jit(ours.init)(theta, key), jax.jit(ours.gradient)

    def call() -> int:
        after, few = workers, min(windows, 50)
        for _ in range(few):
            _, after, _ = estimate(theta, after, key)
        jax.block_until_ready(after)
        return few

    @jax.jit
    def many_estimates(theta: Any, workers: Any, key: Any) -> Any:
        def turn(workers: Any, number: Any) -> Any:
            gradient, workers, info = ours.gradient(theta, workers, jax.random.fold_in(key, number))
            return workers, (gradient, info)

        return jax.lax.scan(turn, workers, jnp.arange(windows))

    def loop() -> int:
        jax.block_until_ready(many_estimates(theta, workers, key))
        return windows

    start = LorenzState(*(jnp.full(2 * particles, value, jnp.float32) for value in lorenz_config.start))
    spread = 1 + 0.01 * jax.random.normal(key, (2, 2 * particles))
    a, r = jnp.exp(theta["log_a"]) * spread[0], jnp.exp(theta["log_r"]) * spread[1]
    step = jax.vmap(partial(euler_step, lorenz_config))

    @partial(jax.jit, static_argnums=3)
    def bare_steps(state: LorenzState, a: Any, r: Any, unroll: int) -> LorenzState:
        turn = lambda s, _: (step(s, a, r), None)  # noqa: E731
        return jax.lax.scan(turn, state, None, windows * WINDOW, unroll=unroll)[0]

    @jax.jit
    def steps_of_both(states: Any, a: Any, r: Any) -> Any:
        true_a, true_r = jnp.full_like(a, lorenz_config.a), jnp.full_like(r, lorenz_config.r)
        turn = lambda s, _: ((step(s[0], a, r), step(s[1], true_a, true_r)), None)  # noqa: E731
        return jax.lax.scan(turn, states, None, windows * WINDOW)[0]

    def bare(unroll: int = 1) -> int:
        jax.block_until_ready(bare_steps(start, a, r, unroll))
        return windows

    def both() -> int:
        jax.block_until_ready(steps_of_both((start, start), a, r))
        return windows

    single = nres(problem, EvolutionConfig(particles, 1, SIGMA, burn_in=0))
    first, one_step = jax.jit(single.init)(theta, key), jax.jit(single.gradient)
    add = jax.jit(partial(jax.tree.map, jnp.add))

    def python_loop() -> int:
        after, total = first, jax.tree.map(jnp.zeros_like, theta)
        for _ in range(WINDOW):
            gradient, after, _ = one_step(theta, after, key)
            total = add(total, gradient)
        jax.block_until_ready((total, after))
        return 1

    bare_unrolled = partial(bare, unroll)
    ways = {"call": call, "loop": loop, "bare": bare, "bare unrolled": bare_unrolled, "both": both}
    return {**ways, "python loop": python_loop}


def reference_seconds(python: str, particles: int, repeats: int) -> list[float]:
    """The seconds of the reference's estimates, in a process of its own.

    Raises:
        UserError: it does not run there.
    """
    program = Path(__file__).with_name("_shared_noise.py")
    command = [python, str(program), *map(str, (particles, WINDOW, 2000, repeats))]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env={**os.environ, "JAX_PLATFORMS": "cpu"}
        )
        return json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.CalledProcessError, IndexError, ValueError) as error:
        last = (getattr(error, "stderr", "") or str(error)).strip().splitlines()[-1]
        raise UserError(
            f"the reference does not run under {python}: {last}",
            "install haiku, flax, gin-config and tensorflow there, and put google/learned_optimization on PYTHONPATH",
        ) from error


def table(measured: Mapping[int, Mapping[str, float]]) -> Table:
    """The result: worker-steps a second and their ratios.

    Args:
        measured: by N, worker-steps a second of each way; "reference" may be missing.
    """
    rows, targets = [], []
    for particles, rates in measured.items():
        peer = "reference" if "reference" in rates else "python loop"
        against = rates["call"] / rates[peer]
        against_bare, against_both = rates["loop"] / rates["bare"], rates["loop"] / rates["both"]
        names = ("call", "loop", "bare", "bare unrolled", "both", "python loop", "reference")
        millions = [round(rates[name] / 1e6, 3) if name in rates else None for name in names]
        rows.append([particles, *millions, round(against, 1), round(against_bare, 2), round(against_both, 2)])
        targets.append(Target(f"N={particles}: ours, a call / {peer}", round(against, 1), PEER_TARGET))
        targets.append(Target(f"N={particles}: ours, a loop / bare dynamics", round(against_bare, 2), BARE_TARGET))
    return Table(
        title=f"NRES on Lorenz, windows of {WINDOW} steps: millions of worker-steps a second",
        columns=[
            "N",
            "ours, a call",
            "ours, a loop",
            "bare",
            "bare, laid out",
            "with the true system",
            "loop over steps",
            "reference",
            "call / peer",
            "loop / bare",
            "loop / true",
        ],
        rows=rows,
        notes=[
            "a worker-step moves an antithetic pair; the best of all turns of each",
            "bare: 2 N trajectories without losses; with the true system: each beside the one it follows",
            "the reference moves the true system with every trajectory; ours looks it up in a table",
        ],
        targets=targets,
    )
