"""The pixel engine: trains one network for each pixel, all in one compiled loop."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from models.trainability import kernels, network_kernels
from models.trainability.convergence import Pixels
from models.trainability.lanes import LANES
from models.trainability.problem import Problem
from shammie.errors import UserError

_ACTIVATIONS = {"tanh": network_kernels.TANH, "relu": network_kernels.RELU, "identity": network_kernels.IDENTITY}
_OFFSETS = {None: kernels.NO_OFFSET, "start": kernels.AT_START, "each_step": kernels.EACH_STEP}


def pixel_values(problem: Problem, x: np.ndarray, y: np.ndarray, *, threads: int = 1) -> Pixels:
    """Trains a network for each pixel and measures its convergence.

    A pixel's results are the same bits whatever other pixels are asked for with it, in which order and by how many
    threads. Trainings whose rest is known end early (`models.trainability.kernels.run_pixels` says when and why) and
    make room for others.

    Args:
        problem: what the pixels share.
        x: float64 [P], the input layer's learning rate, or the offset of its weights; itself, not its logarithm.
        y: float64 [P], the output layer's learning rate, or both layers' where x is the offset.
        threads: how many run at once; the interpreter lock is released.

    Raises:
        UserError: x and y differ in shape, or one is not finite.
    """
    x, y = (np.array(axis, np.float64, order="C") for axis in (x, y))
    if x.ndim != 1 or x.shape != y.shape:
        raise UserError(f"x has shape {x.shape}, y {y.shape}", "give two arrays of one length")
    for name, axis in (("x", x), ("y", y)):
        if not np.isfinite(axis).all():
            raise UserError(f"{name} holds {axis[~np.isfinite(axis)][0]}", "give finite hyperparameters")
    draws, condition = problem.draws, problem.condition
    found = Pixels(np.empty(x.size), np.empty(x.size, bool), np.empty(x.size), np.empty(x.size, np.int64))
    counter = np.zeros(1, np.int64)
    # copies, writable and in C order: numba would compile once more for arrays that are read-only
    shared = (draws.features.ravel(), draws.targets, draws.batches, draws.weights.ravel(), draws.readout)
    arrays = [np.array(one, order="C") for one in shared]

    def run() -> None:
        kernels.run_pixels(
            _ACTIVATIONS[condition.activation],
            _OFFSETS[condition.offset],
            problem.steps,
            problem.width,
            *arrays,
            x,
            y,
            counter,
            network_kernels.work_of(problem.width, condition.batch_size or 0),
            found.value,
            found.converged,
            found.final_loss,
            found.steps_run,
        )

    workers = max(1, min(threads, -(-x.size // LANES)))
    if workers == 1:
        run()
    else:
        with ThreadPoolExecutor(workers) as pool:
            for done in [pool.submit(run) for _ in range(workers)]:
                done.result()
    return found
