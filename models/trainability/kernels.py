"""The pixel engine's hot loop: eight trainings side by side in vector registers, each at a step of its own.

A lane whose training is over, or whose rest is known, takes the next waiting pixel at once, so that no lane idles
while pixels wait. What a lane computes does not depend on its neighbours (`models.trainability.lanes`).
"""

import numpy as np

from models.trainability.lanes import LANES, any_positive, load, next_of, pick_if_less, spread, store
from models.trainability.network_kernels import TANH, gradients_of_batches, losses, losses_and_gradients, update
from shammie.jit import compiled

NO_OFFSET, AT_START, EACH_STEP = 0, 1, 2
CLIP = 1e6  # of a loss relative to the first; also what stands for a loss that is not finite
TAIL = 20  # the last steps, whose mean decides


@compiled
def _account(count, steps, work):
    """Enters the losses before this step's update."""
    zero, one, clip = spread(0.0), spread(1.0), spread(CLIP)
    loss = load(work.loss, 0) / spread(np.float64(count))
    store(work.loss, 0, loss)
    value = pick_if_less(loss, spread(np.inf), loss, clip)  # what is not a number is not less
    step = load(work.step, 0)
    first = pick_if_less(step, one, value, load(work.first, 0))
    store(work.first, 0, first)
    value = value / first
    value = pick_if_less(clip, value, clip, value)
    store(work.relative, 0, value)
    store(work.total, 0, load(work.total, 0) + value)
    store(work.inverse, 0, load(work.inverse, 0) + one / value)
    in_tail = pick_if_less(step, spread(np.float64(steps - TAIL)), zero, value)
    store(work.tail, 0, load(work.tail, 0) + in_tail)
    store(work.step, 0, step + one)


@compiled
def _some_end(activation, repeats, steps, work):
    """Sets work.over where a lane is done or its rest is known (`run_pixels`), and tells whether one is."""
    zero, one = spread(0.0), spread(1.0)
    over = pick_if_less(load(work.loss, 0), spread(np.inf), zero, one)
    over = pick_if_less(spread(steps - 0.5), load(work.step, 0), one, over)
    if repeats:
        over = pick_if_less(load(work.moved, 0), one, one, over)
        if activation == TANH:
            loss, before = load(work.loss, 0), load(work.before, 0)
            lost = pick_if_less(before * spread(1 + 1e-6), loss, one, zero)
            lost = pick_if_less(load(work.relative, 0), spread(CLIP), zero, lost)
            over = pick_if_less(zero, lost, one, over)
            # infinite where hidden values change with this update, so that nothing has risen at the next step
            store(work.before, 0, pick_if_less(zero, load(work.slope, 0), spread(np.inf), loss))
    over = over * load(work.active, 0)
    store(work.over, 0, over)
    return any_positive(over)


@compiled
def _finish(lane, steps, work, pixel, value, converged, final_loss, steps_run):
    """Writes a pixel's results; the steps that were not run count as the last that was."""
    left, rest = steps - work.step[lane], work.relative[lane]
    in_tail = min(left, TAIL)
    total = work.total[lane] + left * rest
    inverse = work.inverse[lane]
    if left > 0:
        inverse += left / rest if rest > 0 else np.inf
    converged[pixel] = (work.tail[lane] + in_tail * rest) / min(TAIL, steps) < 1
    value[pixel] = -total if converged[pixel] else inverse
    final_loss[pixel] = work.loss[lane]
    steps_run[pixel] = work.step[lane]


@compiled
def _begin(lane, offset_kind, width, weights, readout, x, y, work):
    """Puts a new pixel into a lane."""
    offset = x if offset_kind != NO_OFFSET else 0.0
    for at in range(width * width):
        work.weights[at * LANES + lane] = weights[at] + offset
    for at in range(width):
        work.readout[at * LANES + lane] = readout[at]
    work.offset[lane] = offset
    work.rate[lane] = y if offset_kind != NO_OFFSET else x
    work.readout_rate[lane] = y
    work.active[lane] = 1
    work.step[lane] = work.total[lane] = work.inverse[lane] = work.tail[lane] = 0
    work.before[lane] = np.inf


@compiled
def run_pixels(
    activation,
    offset_kind,
    steps,
    width,
    features,
    targets,
    batches,
    weights,
    readout,
    x,
    y,
    counter,
    work,
    value,
    converged,
    final_loss,
    steps_run,
):
    """Trains pixels until none is left to take; several threads may do so together.

    A pixel ends early where its rest is known:

    - Its loss is not finite. With the full batch, where a residual is not finite it is so for ever: no readout weight
      is after the update, whatever the hidden values are (0 times infinity is not a number), hence no output is. Where
      only a square overflows, or in a minibatch, this is no proof but what was found: in whole pictures of every
      condition no loss has come back from there (though from 1e19 times the first one has, and converged).
    - Full batch, and no weight changed in an update: the loss stays what it is.
    - Full batch, tanh, and all hidden values are exactly 1 or -1. The input layer's gradient is then 0, now and ever
      after, and the readout descends on one fixed quadratic; its loss is a sum of terms c q^t, q >= 0, and convex in
      t: once it rises it rises for ever. Where it has risen from the step before and is above the clip, all to come
      are clipped (if they overflow later, that counts as the clip too, not as 1e6 / first loss).

    Where the offset is added at each step, only the first holds.

    Args:
        activation: TANH, RELU or IDENTITY.
        offset_kind: NO_OFFSET, AT_START or EACH_STEP.
        steps: of gradient descent.
        width: n, of the inputs and of the hidden layer.
        features: float64 [N * n].
        targets: float64 [N].
        batches: int64 [steps, B], data of each step's gradient; [0, 0] for all data.
        weights: float64 [n * n], the input layer's at the start, inputs first.
        readout: float64 [n], the output layer's.
        x: float64 [P], the input layer's learning rate, or the offset.
        y: float64 [P], the output layer's, or both layers'.
        counter: int64 [1], the next pixel to take; shared by threads.
        work: a `Work` of this thread.
        value: float64 [P], receives the measure.
        converged: bool [P], receives whether the mean of the last relative losses is below 1.
        final_loss: float64 [P], receives the last loss that was measured.
        steps_run: int64 [P], receives the steps that were run.
    """
    pixels = np.zeros(LANES, np.int64)
    repeats = batches.shape[0] == 0 and offset_kind != EACH_STEP
    work.active[:] = 0
    work.step[:] = 0
    work.rate[:] = 0
    work.readout_rate[:] = 0
    running = 0
    for lane in range(LANES):
        pixel = next_of(counter)
        if pixel < x.size:
            _begin(lane, offset_kind, width, weights, readout, x[pixel], y[pixel], work)
            pixels[lane] = pixel
            running += 1
    while running > 0:
        if batches.shape[0] > 0:
            store(work.slope, 0, spread(0.0))
            losses(activation, width, features, targets, work)
            gradients_of_batches(activation, width, features, targets, batches, work)
        else:
            losses_and_gradients(activation, width, features, targets, work)
        _account(targets.size, steps, work)
        update(activation, offset_kind == EACH_STEP, width, work)
        if not _some_end(activation, repeats, steps, work):
            continue
        for lane in range(LANES):
            if work.over[lane] == 0:
                continue
            _finish(lane, steps, work, pixels[lane], value, converged, final_loss, steps_run)
            pixel = next_of(counter)
            if pixel < x.size:
                _begin(lane, offset_kind, width, weights, readout, x[pixel], y[pixel], work)
                pixels[lane] = pixel
            else:
                work.active[lane] = 0
                running -= 1
