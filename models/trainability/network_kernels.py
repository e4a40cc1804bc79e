"""One step of gradient descent of LANES networks side by side: losses, gradients, update."""

import math
from typing import NamedTuple

import numpy as np

from models.trainability.lane_math import add_products, add_products_per_lane, tanh
from models.trainability.lanes import LANES, aligned_zeros, differs, fused, load, pick_if_less, spread, store
from shammie.jit import compiled

TANH, RELU, IDENTITY = 0, 1, 2
BLOCK_ROWS = 16  # data that go through the network together: their hidden values stay in the first-level cache


class Work(NamedTuple):
    """The memory of one thread, float64 and aligned: LANES numbers for each weight or hidden value; see `work_of`."""

    weights: np.ndarray
    readout: np.ndarray
    gradient: np.ndarray
    readout_gradient: np.ndarray
    hidden: np.ndarray
    residuals: np.ndarray
    batch: np.ndarray
    batch_targets: np.ndarray
    rate: np.ndarray
    readout_rate: np.ndarray
    offset: np.ndarray
    active: np.ndarray
    step: np.ndarray
    loss: np.ndarray
    before: np.ndarray
    first: np.ndarray
    relative: np.ndarray
    total: np.ndarray
    inverse: np.ndarray
    tail: np.ndarray
    slope: np.ndarray
    moved: np.ndarray
    over: np.ndarray


def work_of(width: int, batch_size: int) -> Work:
    """The memory that a thread of `run_pixels` needs.

    Args:
        width: n.
        batch_size: of a minibatch; 0 where there is none.
    """
    rows = max(BLOCK_ROWS, batch_size)
    sizes = {
        "weights": width * width,
        "readout": width,
        "gradient": width * width,
        "readout_gradient": width,
        "hidden": rows * width,
        "residuals": rows,
        "batch": max(1, batch_size * width),
        "batch_targets": max(1, batch_size),
    }
    return Work(**{name: aligned_zeros(sizes.get(name, 1) * LANES) for name in Work._fields})


@compiled
def _clear(lanes, count):
    zero = spread(0.0)
    for at in range(0, count * LANES, LANES):
        store(lanes, at, zero)


@compiled
def _activate(activation, width, hidden, count):
    """Turns count sums X W into hidden values, in place."""
    zero = spread(0.0)
    if activation == TANH:
        scale = spread(math.sqrt(2 / width))
        for at in range(0, count * LANES, LANES):
            store(hidden, at, tanh(load(hidden, at) * scale))
    elif activation == RELU:
        scale = spread(math.sqrt(2 / width))
        for at in range(0, count * LANES, LANES):
            value = load(hidden, at)
            store(hidden, at, pick_if_less(value, zero, zero, value) * scale)
    else:
        scale = spread(math.sqrt(1 / width))
        for at in range(0, count * LANES, LANES):
            store(hidden, at, load(hidden, at) * scale)


@compiled
def _residuals(width, hidden, readout, targets, first, rows, residuals, loss):
    """Writes outputs minus targets of `rows` data and adds their squares to loss."""
    scale = spread(1 / width)
    total = load(loss, 0)
    for row in range(rows):
        output = spread(0.0)
        for unit in range(width):
            output = fused(load(hidden, (row * width + unit) * LANES), load(readout, unit * LANES), output)
        residual = fused(output, scale, spread(-targets[first + row]))
        store(residuals, row * LANES, residual)
        total = fused(residual, residual, total)
    store(loss, 0, total)


@compiled
def _gradients(activation, width, hidden, residuals, rows, share, readout_gradient, slope):
    """From residuals to the gradient of the readout, added up, and to the hidden sums', in place of hidden values.

    The latter lack two factors, which every datum shares: the readout's weight and the activation's scale. slope
    receives the largest derivative of a tanh: it is 0 only where every hidden value is exactly 1 or -1.
    """
    zero, one, factor = spread(0.0), spread(1.0), spread(share)
    largest = load(slope, 0)
    for row in range(rows):
        store(residuals, row * LANES, load(residuals, row * LANES) * factor)
    for unit in range(width):
        total = load(readout_gradient, unit * LANES)
        for row in range(rows):
            at = (row * width + unit) * LANES
            value, error = load(hidden, at), load(residuals, row * LANES)
            total = fused(error, value, total)
            if activation == TANH:
                derivative = fused(zero - value, value, one)
                largest = pick_if_less(largest, derivative, derivative, largest)
                store(hidden, at, error * derivative)
            elif activation == RELU:
                store(hidden, at, pick_if_less(zero, value, error, zero))
            else:
                store(hidden, at, error)
        store(readout_gradient, unit * LANES, total)
    store(slope, 0, largest)


@compiled
def losses(activation, width, features, targets, work):
    """The sum of squares over all data, without gradients."""
    hidden, step = work.hidden, width * LANES
    store(work.loss, 0, spread(0.0))
    for first in range(0, targets.size, BLOCK_ROWS):
        rows = min(BLOCK_ROWS, targets.size - first)
        _clear(hidden, rows * width)
        add_products(features, first * width, width, 1, rows, work.weights, 0, step, width, hidden, 0, step, width)
        _activate(activation, width, hidden, rows * width)
        _residuals(width, hidden, work.readout, targets, first, rows, work.residuals, work.loss)


@compiled
def losses_and_gradients(activation, width, features, targets, work):
    """The sum of squares over all data and the sums that its gradients are made of."""
    count = targets.size
    share = 2 / count / width
    store(work.loss, 0, spread(0.0))
    store(work.slope, 0, spread(0.0))
    _clear(work.gradient, width * width)
    _clear(work.readout_gradient, width)
    hidden, step = work.hidden, width * LANES
    for first in range(0, count, BLOCK_ROWS):
        rows = min(BLOCK_ROWS, count - first)
        _clear(hidden, rows * width)
        add_products(features, first * width, width, 1, rows, work.weights, 0, step, width, hidden, 0, step, width)
        _activate(activation, width, hidden, rows * width)
        _residuals(width, hidden, work.readout, targets, first, rows, work.residuals, work.loss)
        _gradients(activation, width, hidden, work.residuals, rows, share, work.readout_gradient, work.slope)
        add_products(features, first * width, 1, width, width, hidden, 0, step, width, work.gradient, 0, step, rows)


@compiled
def gradients_of_batches(activation, width, features, targets, batches, work):
    """The sums that gradients are made of, over each lane's own batch of this step."""
    size = batches.shape[1]
    for lane in range(LANES):
        step = min(max(np.int64(work.step[lane]), 0), batches.shape[0] - 1)
        for row in range(size):
            datum = batches[step, row]
            work.batch_targets[row * LANES + lane] = targets[datum]
            for place in range(width):
                work.batch[(row * width + place) * LANES + lane] = features[datum * width + place]
    hidden, step = work.hidden, width * LANES
    _clear(work.gradient, width * width)
    _clear(work.readout_gradient, width)
    _clear(hidden, size * width)
    add_products_per_lane(work.batch, step, LANES, size, work.weights, step, width, hidden, step, width)
    _activate(activation, width, hidden, size * width)
    scale = spread(1 / width)
    for row in range(size):
        output = spread(0.0)
        for unit in range(width):
            output = fused(load(hidden, (row * width + unit) * LANES), load(work.readout, unit * LANES), output)
        store(work.residuals, row * LANES, output * scale - load(work.batch_targets, row * LANES))
    _gradients(activation, width, hidden, work.residuals, size, 2 / size / width, work.readout_gradient, work.slope)
    add_products_per_lane(work.batch, LANES, step, width, hidden, step, width, work.gradient, step, size)


@compiled
def update(activation, drifts, width, work):
    """One step of gradient descent; moved receives 1 where a weight changed."""
    zero = spread(0.0)
    scale = spread(math.sqrt((1 if activation == IDENTITY else 2) / width))
    moved = zero
    rate, readout_rate = zero - load(work.rate, 0), zero - load(work.readout_rate, 0)
    for unit in range(width):
        factor = load(work.readout, unit * LANES) * scale
        for place in range(width):
            at = (place * width + unit) * LANES
            old = load(work.weights, at)
            new = fused(rate, load(work.gradient, at) * factor, old)
            moved = differs(new, old, moved)
            store(work.weights, at, new)
    for unit in range(width):
        at = unit * LANES
        old = load(work.readout, at)
        new = fused(readout_rate, load(work.readout_gradient, at), old)
        moved = differs(new, old, moved)
        store(work.readout, at, new)
    if drifts:
        offset = load(work.offset, 0)
        for at in range(0, width * width * LANES, LANES):
            store(work.weights, at, load(work.weights, at) + offset)
    store(work.moved, 0, moved)
