"""`shammie bench grid`: a column of a grid, 12 rates x 4 seeds, on the engine and as 48 runs of one jitted loop.

The loop is what one writes by hand: `jax.jit` of a whole training (first values, schedule and all, a `lax.scan` over
the steps) for a key, a learning rate and batches, compiled once and called 48 times. The engine's side is what a group
of cells runs, its choice between a group and a loop of its own included, with an empty store. Each turn is a new
process without any compilation cache, and compile time counts for both; imports do not.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from workflows.bench.table import Table, Target

SMALL_TARGET, SMALL_WIDTH = 3.0, 32
LARGE_TARGET, LARGE_WIDTH = 0.95, 128
LOG2_RATES, SEEDS = range(-13, -1), range(4)
SIDES = ("engine", "loop")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the benchmark's flags."""
    add = parser.add_argument
    add("--widths", type=int, nargs="+", default=[8, 16, 32, 128], help="of the MLP (default: 8 16 32 128)")
    add("--optimizer", default="adam", help="adam, sgd or adafactor (default: adam)")
    add("--steps", type=int, default=6000, help="of each training, as in small.gin (default: 6000)")
    add("--turns", type=int, default=3, help="turns that are measured (default: 3)")


def run(args: argparse.Namespace) -> Table:
    """Runs the benchmark.

    Args:
        args: what `add_arguments` declares.
    """
    measured = {
        width: by_turns(lambda side, width=width: in_a_process(side, width, args.optimizer, args.steps), args.turns)
        for width in args.widths
    }
    return table(measured, args.optimizer, args.steps)


def by_turns(measure: Callable[[str], Mapping[str, Any]], turns: int) -> list[dict[str, Mapping[str, Any]]]:
    """What each side measured, one after the other, turn by turn."""
    return [{side: measure(side) for side in SIDES} for _ in range(turns)]


def in_a_process(side: str, width: int, optimizer: str, steps: int) -> dict[str, Any]:
    """Measures one side in a new process: "seconds", "loss" (mean over the cells that stayed finite) and "way"."""
    code = (
        "import json\nfrom workflows.bench import grid\n"
        f"print(json.dumps(grid.measured({side!r}, {width}, {optimizer!r}, {steps})))\n"
    )
    environment = {name: value for name, value in os.environ.items() if "COMPILATION_CACHE" not in name}
    child = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, text=True, env=environment)
    return json.loads(child.stdout.splitlines()[-1])


def measured(side: str, width: int, optimizer: str, steps: int) -> dict[str, Any]:
    """One side in this process, which must not have compiled anything of it."""
    import jax
    import numpy as np

    from beam_jobs.parameterization.cells import TRAINING
    from beam_jobs.sweep.ways import Ways

    cells = column(width, optimizer, steps)
    jax.jit(lambda x: x + 1)(np.ones(2)).block_until_ready()  # the backend starts before the clock
    start = time.perf_counter()
    if side == "engine":
        with tempfile.TemporaryDirectory(prefix="shammie-bench-") as folder:
            rows = TRAINING.run([cell.to_json() for cell in cells], Ways(folder))
            (choice,) = Path(folder).iterdir()
            losses, way = [row["final_loss"] for row in rows], json.loads(choice.read_text())["chosen"]
    else:
        losses, way = by_hand(cells), "loop"
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "loss": float(np.mean([one for one in losses if np.isfinite(one)])), "way": way}


def column(width: int, optimizer: str, steps: int) -> list[Any]:
    """The cells: Standard with each layer's own rates, an MLP of `gin/parameterization/models.gin`."""
    from models.parameterization.grid import Training
    from workflows.parameterization_settings import Sizes, Sweep

    sizes = Sizes(widths=(min(width, SMALL_WIDTH), width) if width > SMALL_WIDTH else (width,))
    sweep = Sweep(sizes=sizes, optimizer=optimizer, steps=steps, seeds=tuple(SEEDS))
    return [
        Training.from_json(sweep.training("standard", "full", width, rate, seed))
        for seed in SEEDS
        for rate in LOG2_RATES
    ]


def by_hand(cells: Sequence[Any]) -> list[float]:
    """The final losses of the cells, from one jitted training that is called for each."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    from models.parameterization.group_training import batches, final_loss, inputs_and_targets
    from models.parameterization.parameterized import Parameterized
    from models.training import OptimizerConfig, cross_entropy, optimizer_of

    first = cells[0]
    shape = first.shape
    roles, own = shape.roles()
    network = Parameterized(shape.network(), first.parameterization, width=shape.width, roles=roles, own=own)
    settings = {"warmup_steps": shape.warmup_steps, "weight_decay": 0.0, "clip_norm": 0.0, "eps": shape.eps}
    config = OptimizerConfig(shape.optimizer, 1.0, shape.schedule, min_learning_rate=0.0, **settings)
    optimizer = optimizer_of(config, shape.steps, network.scales)

    @jax.jit
    def train(key: jax.Array, rate: jax.Array, windows_TB: jax.Array) -> jax.Array:
        params = network.init(key, jnp.zeros((1, shape.context), jnp.int32))["params"]

        def loss_of(params: Any, window: jax.Array) -> jax.Array:
            inputs, targets = inputs_and_targets(shape, window)
            return jnp.mean(cross_entropy(network.apply({"params": params}, inputs), targets)[0])

        def step(state: Any, window: jax.Array) -> tuple[Any, jax.Array]:
            params, optimizer_state = state
            loss, gradient = jax.value_and_grad(loss_of)(params, window)
            updates, optimizer_state = optimizer.update(gradient, optimizer_state, params)
            updates = jax.tree.map(lambda update: rate * update, updates)
            return (optax.apply_updates(params, updates), optimizer_state), loss

        return jax.lax.scan(step, (params, optimizer.init(params)), windows_TB)[1]

    windows_of = {seed: batches(shape, seed) for seed in {cell.seed for cell in cells}}
    runs = ((jax.random.key(one.seed), 2.0**one.log2_learning_rate, windows_of[one.seed]) for one in cells)
    return [final_loss(np.asarray(train(*one))) for one in runs]


def table(measured: Mapping[int, Sequence[Mapping[str, Any]]], optimizer: str, steps: int) -> Table:
    """The result: medians over turns of seconds and of each turn's ratio, and the targets.

    Args:
        measured: by width, what `by_turns` gives.
        optimizer: its name.
        steps: of each training.
    """
    rows, targets = [], []
    for width, turns in measured.items():
        seconds = {side: statistics.median(turn[side]["seconds"] for turn in turns) for side in SIDES}
        ratios = [turn["loop"]["seconds"] / turn["engine"]["seconds"] for turn in turns]
        ratio = statistics.median(ratios)
        ways = "/".join(sorted({turn["engine"]["way"] for turn in turns}))
        losses = [round(statistics.median(turn[side]["loss"] for turn in turns), 3) for side in SIDES]
        span = f"{min(ratios):.2f} to {max(ratios):.2f}"
        rows.append([width, seconds["engine"], ways, seconds["loop"], round(ratio, 2), span, *losses])
        if width <= SMALL_WIDTH:
            targets.append(Target(f"times the loop's speed at width {width}", round(ratio, 2), SMALL_TARGET))
        elif width <= LARGE_WIDTH:
            targets.append(Target(f"times the loop's speed at width {width}", round(ratio, 2), LARGE_TARGET))
    cells = len(LOG2_RATES) * len(SEEDS)
    return Table(
        title=f"a column of {cells} trainings of an MLP, {optimizer}, {steps:,} steps; compile time counts",
        columns=["width", "engine, s", "chose", "48 runs, s", "ratio", "over turns", "engine's loss", "48 runs' loss"],
        rows=rows,
        notes=["each side draws its first values in its own way: losses, means over the column, agree but for that"],
        targets=targets,
    )
