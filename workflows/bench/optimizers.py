"""`shammie bench optimizers`: what a learned optimizer's step takes beside Adam's, and a short suite.

- 784-128-10: forward, backward and update of an MLP of 101,770 parameters, batch 128, on one batch; all optimizers by
  turns in one process; the ratio is to Adam's step in the same turn, its median counts. The reference's ratios are of
  google/learned_optimization at 32186aa on 2 CPU cores of this kind (facts of the project: Adam 1.8 ms, Adafactor-MLP
  13.3, STAR 19 to 34, VeLO 42, its MLP optimizer 16.7).
- the suite: so many trainings of a task in one program; ms of one training's step, and the loss that it ends at.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from workflows.bench.table import Table, Target

NETWORK = "784-128-10 MLP"
# the reference's step over its Adam's; of STAR the faster end of what was measured
REFERENCE_RATIOS = {"adafactor_mlp": 13.3 / 1.8, "star": 19 / 1.8, "velo": 42 / 1.8, "mlp": 16.7 / 1.8}
ADAM = "adam"
Measured = Mapping[tuple[str, str], Sequence[float]]  # (where, optimizer) -> ms a step, by turns


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the benchmark's flags."""
    add = parser.add_argument
    add("--turns", type=int, default=7, help="turns that are measured (default: 7)")
    add("--steps", type=int, default=50, help="steps of the MLP in a turn (default: 50)")
    add("--tasks", nargs="*", default=["mlp", "quadratic"], help="of the suite (default: mlp quadratic)")
    add("--suite_steps", type=int, default=200, help="of the suite's trainings (default: 200)")


def run(args: argparse.Namespace) -> Table:
    """Runs the benchmark.

    Args:
        args: what `add_arguments` declares.
    """
    from models.learned_optimizers.suite import suite_task
    from shammie.xla import keep_in_order

    keep_in_order()
    for task in args.tasks:
        suite_task(task)
    ways = {(NETWORK, name): way for name, way in network_ways(args.steps).items()}
    losses: dict[tuple[str, str], float] = {}
    for task in args.tasks:
        for name, way in suite_ways(task, args.suite_steps, losses).items():
            ways[task, name] = way
    return table(by_turns(ways, args.turns), losses)


def by_turns(ways: Mapping[tuple[str, str], Callable[[], float]], turns: int) -> dict[tuple[str, str], list[float]]:
    """What each way measured in every turn, after one that is not kept: it compiles."""
    for way in ways.values():
        way()
    found: dict[tuple[str, str], list[float]] = {place: [] for place in ways}
    for _ in range(turns):
        for place, way in ways.items():
            found[place].append(way())
    return found


def learned_optimizers() -> dict[str, tuple[Any, Any]]:
    """(optimizer, theta) by name: weights that ship where they do, else random ones of the default size."""
    import jax

    from models.learned_optimizers import theta_files
    from models.learned_optimizers.face import shipped
    from shammie.errors import UserError

    found = {}
    for name in REFERENCE_RATIOS:
        try:
            weights = shipped(name)
            found[name] = weights.optimizer, weights.theta
        except UserError:
            optimizer = theta_files.learned_optimizer(name)
            found[name] = optimizer, optimizer.init_theta(jax.random.key(0))
    return found


def network_ways(steps: int) -> dict[str, Callable[[], float]]:
    """By optimizer, what trains the MLP for some steps and returns the ms of one."""
    import jax
    import jax.numpy as jnp
    import optax

    batch, sizes = 128, (784, 128, 10)
    keys = jax.random.split(jax.random.key(0), 4)
    images = jax.random.normal(keys[0], (batch, sizes[0]))
    labels = jax.random.randint(keys[1], (batch,), 0, sizes[-1])
    params = {
        f"layer_{number}": {"w": jax.random.normal(keys[2 + number], (a, b)) / a**0.5, "b": jnp.zeros(b)}
        for number, (a, b) in enumerate(itertools.pairwise(sizes))
    }

    def loss_of(params: Any) -> jax.Array:
        hidden = jax.nn.relu(images @ params["layer_0"]["w"] + params["layer_0"]["b"][None])
        logits = hidden @ params["layer_1"]["w"] + params["layer_1"]["b"][None]
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))

    def way_of(optimizer: optax.GradientTransformationExtraArgs) -> Callable[[], float]:
        @jax.jit
        def step(params: Any, state: Any) -> tuple[Any, Any]:
            loss, gradient = jax.value_and_grad(loss_of)(params)
            updates, state = optimizer.update(gradient, state, params, value=loss)
            return optax.apply_updates(params, updates), state

        def way() -> float:
            now = params, optimizer.init(params)
            jax.block_until_ready(now)
            start = time.perf_counter()
            for _ in range(steps):
                now = step(*now)
            jax.block_until_ready(now)
            return (time.perf_counter() - start) / steps * 1e3

        return way

    found = {ADAM: way_of(optax.with_extra_args_support(optax.adam(1e-3)))}
    return found | {name: way_of(one.optax(theta, 10_000)) for name, (one, theta) in learned_optimizers().items()}


def suite_ways(task: str, steps: int, losses: dict[tuple[str, str], float]) -> dict[str, Callable[[], float]]:
    """By optimizer, what trains a task over a few seeds and returns the ms of a training's step.

    Args:
        task: of the suite.
        steps: of each training.
        losses: gets the mean final loss by (task, optimizer); the lowest learning rate's of Adam.
    """
    import numpy as np

    from models.learned_optimizers.suite import baseline, suite_task
    from models.learned_optimizers.suite_training import train

    made, seeds, every = suite_task(task), [0, 1, 2], max(1, steps // 10)
    rates = (0.001, 0.003, 0.01, 0.03, 0.1)

    def adam() -> float:
        start = time.perf_counter()
        given = np.repeat(np.array(rates, np.float32), len(seeds))
        found = train(made, baseline(ADAM), seeds * len(rates), given, steps=every * 10, every=every)
        seconds = time.perf_counter() - start
        losses[task, ADAM] = float(np.nanmin(found[:, -1].reshape(len(rates), -1).mean(axis=1)))
        return seconds / (every * 10 * len(given)) * 1e3

    def way_of(name: str, optimizer: Any, theta: Any) -> Callable[[], float]:
        def make(one: Any) -> Any:
            return optimizer.optax(one, every * 10)

        lanes = seeds * len(rates)

        def way() -> float:
            start = time.perf_counter()
            found = train(made, make, lanes, theta, steps=every * 10, every=every, shared=True)
            seconds = time.perf_counter() - start
            losses[task, name] = float(found[: len(seeds), -1].mean())
            return seconds / (every * 10 * len(lanes)) * 1e3

        return way

    return {ADAM: adam} | {name: way_of(name, *one) for name, one in learned_optimizers().items()}


def table(measured: Measured, losses: Mapping[tuple[str, str], float]) -> Table:
    """The result: medians over turns, and ratios to Adam's step in the same turn.

    Args:
        measured: ms of a step by turns.
        losses: final losses of the suite's.
    """
    rows, targets = [], []
    for (where, name), ms in measured.items():
        ratios = [own / adam for own, adam in zip(ms, measured[where, ADAM], strict=True)]
        ratio = statistics.median(ratios)
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        reference = REFERENCE_RATIOS.get(name) if where == NETWORK else None
        shown = None if reference is None else round(reference, 1)
        loss = losses.get((where, name))
        rows.append(
            [where, name, round(statistics.median(ms), 3), round(ratio, 2), spread, shown, loss and round(loss, 4)]
        )
        if reference is not None:
            targets.append(Target(f"{name}: step / Adam's step", round(ratio, 2), round(reference, 2), better="less"))
    return Table(
        title="Learned optimizers: ms of a training step",
        columns=["where", "optimizer", "ms a step", "/ Adam", "over turns", "reference's / Adam", "final loss"],
        rows=rows,
        notes=[
            f"{NETWORK}: forward, backward, update, batch 128; the suite: many trainings in one program, ms for each",
            "medians of turns; a ratio is to Adam in the same turn; targets: the reference's ratios on like hardware",
            "Adam's final loss in the suite is that of the best of five learning rates",
        ],
        targets=targets,
    )
