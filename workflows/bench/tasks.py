"""`shammie bench tasks`: contexts made on the device beside a NumPy generator, and what they cost a training step.

The peer is what the paper's third-party ports do, in plain NumPy: for each task a Generator seeded by its number, a
Gaussian matrix, a permutation of the labels, a choice of examples without repetition, one matrix product; one task
after the other, into one batch. Ours is `models.in_context.contexts`, compiled, on the same data and shapes, rows made
on the host included. The step's share is of a whole training step of the small Transformer: new rows and contexts at
every step, against the same step on contexts that lie on the device for good. B = tasks, N = examples, F = features.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from shammie.errors import UserError
from workflows.bench.table import Table, Target

SPEED_TARGET, SHARE_TARGET = 10.0, 0.05
NUMBERS_OF_TURN = 8_000_000  # of projections that a turn makes, at least one batch
DIGITS_FEATURES, OTHER_EXAMPLES, CLASSES = 64, 6000, 10
STEP_LEARNER: dict[str, Any] = {  # the one that is meta-trained on digits
    "width": 160,
    "layers": 2,
    "heads": 4,
    "head_width": 40,
    "mlp_width": 256,
    "near": 8,
    "shifted": True,
}
OURS, PEER = "ours", "numpy"
SAMPLED, RESIDENT = "sampled", "resident"

Turns = Sequence[tuple[float, float]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the benchmark's flags."""
    add = parser.add_argument
    add(
        "--sizes",
        nargs="+",
        default=["64x50", "64x100", "784x100"],
        metavar="FxN",
        help="features and examples; 64 are scikit-learn's digits, others Gaussian (default: 64x50 64x100 784x100)",
    )
    add("--batch_size", type=int, default=32, help="tasks made together, and of a training step (default: 32)")
    add("--step_examples", type=int, default=50, help="N of the training step; 0 for no steps (default: 50)")
    add("--steps", type=int, default=10, help="training steps of a turn (default: 10)")
    add("--turns", type=int, default=11, help="both by turns, who begins alternates; medians (default: 11)")


def run(args: argparse.Namespace) -> Table:
    """Runs the benchmark.

    Args:
        args: what `add_arguments` declares.

    Raises:
        UserError: a size that is not FxN.
    """
    sizes = [size_of(text) for text in args.sizes]
    speeds = {}
    for features, examples in sizes:
        batches = max(1, NUMBERS_OF_TURN // (args.batch_size * features**2))
        ours, peer = generators(features, examples, args.batch_size)
        turns = by_turns(partial(repeated, ours, batches), partial(repeated, peer, batches), args.turns)
        speeds[features, examples] = [(own / batches, theirs / batches) for own, theirs in turns]
    steps: Turns = []
    if args.step_examples:
        steps = by_turns(*training_steps(args.step_examples, args.batch_size, args.steps), args.turns)
    return table(speeds, steps, args.batch_size, args.step_examples, args.steps)


def size_of(text: str) -> tuple[int, int]:
    """Features and examples of a text such as 64x50; UserError where it is none."""
    features, _, examples = text.partition("x")
    if not (features.isdecimal() and examples.isdecimal() and int(features) and int(examples)):
        raise UserError(f"--sizes has {text!r}", "give features and examples, such as 64x50")
    return int(features), int(examples)


def by_turns(
    ours: Callable[[], Any], peer: Callable[[], Any], turns: int, clock: Callable[[], float] = time.perf_counter
) -> list[tuple[float, float]]:
    """Seconds of both, turn by turn; the first of each, which compiles, is not timed. Who begins alternates."""
    ours()
    peer()
    found = []
    for turn in range(turns):
        seconds = {}
        for way in (ours, peer)[:: -1 if turn % 2 else 1]:
            begun = clock()
            way()
            seconds[way] = clock() - begun
        found.append((seconds[ours], seconds[peer]))
    return found


def repeated(way: Callable[[], Any], times: int) -> None:
    """Calls it so often."""
    for _ in range(times):
        way()


def data_of(features: int) -> tuple[np.ndarray, np.ndarray]:
    """Standardised examples float32 [M, F] and their classes int32 [M]."""
    from seqio_tasks.image_data import gaussian_data, load_images, standardized, with_moments

    if features == DIGITS_FEATURES:
        train = load_images("digits", "train")
        data = with_moments(train, *standardized(train))
    else:
        data = gaussian_data(CLASSES, OTHER_EXAMPLES // CLASSES, features, seed=0)
    return data.flat, data.labels


def numpy_context(x_MF: np.ndarray, labels_M: np.ndarray, examples: int, id: int) -> tuple[np.ndarray, np.ndarray]:
    """The peer's context of a task: float32 [N, F] and int32 [N]."""
    generator = np.random.default_rng(id)
    features = x_MF.shape[1]
    projection_FF = generator.standard_normal((features, features), np.float32) * np.float32(features**-0.5)
    permutation_C = generator.permutation(CLASSES).astype(np.int32)
    chosen_N = generator.choice(len(x_MF), examples, replace=False)
    return x_MF[chosen_N] @ projection_FF, permutation_C[labels_M[chosen_N]]


def generators(features: int, examples: int, batch_size: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Ours and the peer's; each call makes the next batch, float32 [B, N, F] and int32 [B, N], and gives it."""
    import jax

    from models.in_context.tasks import rows_of

    x_MF, labels_M = data_of(features)
    mixture, bank, contexts = _sampler(x_MF, labels_M, examples)
    compiled = jax.jit(contexts)
    made = {OURS: 0, PEER: 0}

    def ours() -> Any:
        rows_B3 = rows_of(mixture, 0, made[OURS], batch_size)
        made[OURS] += batch_size
        return jax.block_until_ready(compiled(bank, rows_B3))

    def peer() -> Any:
        x_BNF = np.empty((batch_size, examples, features), np.float32)
        labels_BN = np.empty((batch_size, examples), np.int32)
        for place in range(batch_size):
            x_BNF[place], labels_BN[place] = numpy_context(x_MF, labels_M, examples, made[PEER] + place)
        made[PEER] += batch_size
        return x_BNF, labels_BN

    return ours, peer


def _sampler(x_MF: np.ndarray, labels_M: np.ndarray, examples: int) -> tuple[Any, Any, Callable[[Any, Any], Any]]:
    """A mixture of all tasks of a data set, its bank, and the function from a bank and rows to contexts."""
    from models.in_context.base_data import Examples, bank_of
    from models.in_context.contexts import check_bank, contexts_of
    from models.in_context.tasks import Mixture

    mixture, bank = Mixture(), bank_of([Examples(x_MF, labels_M)], x_MF.shape[1])
    check_bank(mixture, bank, examples=examples, classes=CLASSES)
    return mixture, bank, partial(contexts_of, mixture, examples=examples, classes=CLASSES)


def training_steps(examples: int, batch_size: int, steps: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Some steps of the small Transformer on digits: with new contexts at each, and on resident ones."""
    import jax
    import optax

    from models.in_context.learner import first_params, network_of
    from models.in_context.learner_config import LearnerConfig
    from models.in_context.objective import in_context_loss
    from models.in_context.tasks import rows_of
    from models.training import OptimizerConfig, optimizer_of

    network = network_of(LearnerConfig(features=DIGITS_FEATURES, classes=CLASSES, examples=examples, **STEP_LEARNER))
    mixture, bank, contexts = _sampler(*data_of(DIGITS_FEATURES), examples)
    optimizer = optimizer_of(OptimizerConfig(), 1000)
    first = jax.jit(partial(first_params, network))(jax.random.key(0))
    gradient = jax.value_and_grad(in_context_loss(network), has_aux=True)

    @partial(jax.jit, donate_argnums=0, static_argnums=1)
    def step(state: Any, make: Callable[[Any], Any], given: Any) -> Any:
        params, optimizer_state = state
        (loss, _), grads = gradient(params, make(given))
        updates, optimizer_state = optimizer.update(grads, optimizer_state, params)
        return (optax.apply_updates(params, updates), optimizer_state), loss

    def several(make: Callable[[Any], Any], given: Callable[[int], Any]) -> Callable[[], Any]:
        held, done = [jax.tree.map(jax.numpy.array, (first, optimizer.init(first)))], [0]

        def call() -> Any:
            loss = None
            for _ in range(steps):
                held[0], loss = step(held[0], make, given(done[0]))
                done[0] += 1
            return jax.block_until_ready(loss)

        return call

    def sample(given: Any) -> Any:
        return contexts(*given)

    def keep(given: Any) -> Any:
        return given

    rows = lambda number: rows_of(mixture, 0, number * batch_size, batch_size)  # noqa: E731
    resident = jax.jit(contexts)(bank, rows(0))
    return several(sample, lambda number: (bank, rows(number))), several(keep, lambda _: resident)


def table(
    speeds: Mapping[tuple[int, int], Turns], steps: Turns, batch_size: int, step_examples: int, steps_of_turn: int
) -> Table:
    """The result.

    Args:
        speeds: by features and examples, seconds that a batch of ours and of the peer's takes in each turn.
        steps: seconds of steps with new contexts, and of those on resident ones, in each turn; may be empty.
        batch_size: B.
        step_examples: N of the steps.
        steps_of_turn: steps in each.
    """
    rows: list[list[Any]] = []
    targets = []
    for (features, examples), turns in speeds.items():
        ours, peer = (batch_size / statistics.median(side) for side in zip(*turns, strict=True))
        ratios = sorted(theirs / own for own, theirs in turns)
        ratio = round(statistics.median(ratios), 2)
        what = f"F = {features}, N = {examples}"
        rows.append([f"tasks/s, {what}", round(ours, 1), round(peer, 1), ratio, f"{ratios[0]:.2f} to {ratios[-1]:.2f}"])
        targets.append(Target(f"{what}: tasks/s, ours / NumPy", ratio, SPEED_TARGET))
    if steps:
        shares = sorted(1 - resident / sampled for sampled, resident in steps)
        share = round(statistics.median(shares), 4)
        sampled, resident = (statistics.median(side) / steps_of_turn * 1e3 for side in zip(*steps, strict=True))
        span = f"{shares[0]:.3f} to {shares[-1]:.3f}"
        rows.append([f"ms a step, N = {step_examples}", round(sampled, 3), round(resident, 3), share, span])
        targets.append(Target("share of a training step that sampling takes", share, SHARE_TARGET, "less"))
    return Table(
        title=f"tasks made on the device, {batch_size} at a time",
        columns=["measure", "ours", "NumPy, or resident contexts", "ratio, or share", "over turns"],
        rows=rows,
        notes=[
            "medians of turns, both one after the other; ratios and shares are of such pairs",
            "ours makes its rows on the host and contexts on the device; NumPy one task at a time",
            "a step: loss, gradient, optimizer of a Transformer of width 160, 2 layers; new contexts at each or none",
        ],
        targets=targets,
    )
