"""The run: resume or start, call after call of steps, log, validate, save, and stop when asked."""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from models.training import TrainState, averaged, schedule_of
from shammie import files, lock
from shammie.errors import Stopped, UserError
from shammie.progress import Progress
from workflows.train import exchange
from workflows.train.ahead import Ahead
from workflows.train.checkpoints import Checkpoints
from workflows.train.compute import Compute, Gathered, compute_of
from workflows.train.job import Evaluate, Job
from workflows.train.mesh import make_mesh
from workflows.train.metric_log import MetricLog, Row
from workflows.train.run_config import RunConfig, check_devices
from workflows.train.stopping import any_asked, stop_signals

CONFIG = "config.json"
CALLS_AHEAD = 2  # calls that the device is given before the oldest has ended: enough to never idle
OnLog = Callable[[Row], Any]
Until = Callable[[Row], bool]


class NotFinite(UserError):
    """The loss, its gradient or a parameter is no longer finite."""


@dataclass(frozen=True)
class TrainResult:
    """A finished run: its last state (on the devices), all its log rows (on process 0), and the steps done."""

    state: TrainState
    rows: list[Row]
    steps_done: int


def train_job(
    job: Job,
    out: str,
    on_log: OnLog | None = None,
    *,
    evaluate: Evaluate | None = None,
    until: Until | None = None,
    what: str = "train",
) -> TrainResult:
    """Trains, or resumes, to job.config.steps.

    Args:
        job: the run, with what it trains.
        out: folder of its checkpoints, metrics.jsonl, event files and config.json; made where missing.
        on_log: called with each new row, on process 0.
        evaluate: weights to what is logged every config.eval_every steps, instead of the job's own evaluation.
        until: told of each row of an evaluation; the run ends there, saved, where it says True.
        what: names the run in its progress line.

    Raises:
        NotFinite: the loss is no longer finite.
        UserError: devices, the state to start from or an earlier run in `out` do not fit the config, or there is
            nothing to evaluate on.
        shammie.errors.Stopped: the run was asked to stop; it is saved, and resumes when called again.
    """
    config, hosts, first_process = job.config, jax.process_count(), jax.process_index() == 0
    mesh = make_mesh(*check_devices(config, devices=jax.device_count(), hosts=hosts))
    evaluate = evaluate or job.evaluate
    if config.eval_every and not evaluate and not job.validation:
        raise UserError(f"eval_every={config.eval_every}, but this run has nothing to evaluate on", "set eval_every=0")
    files.make_directory(out)
    with ExitStack() as stack:
        if first_process:
            stack.enter_context(lock.holding(out, if_dead=f"remove {files.join(out, lock.LOCK)}"))
            files.remove_leftovers(out)
        checkpoints = Checkpoints(out, config.identity(**job.hashes), config.keep)
        stack.callback(checkpoints.close)
        step = checkpoints.take_up() or 0
        if step:
            checkpoints.check(step)
        compute = compute_of(job.objective, config, mesh, job.resident)
        compute.prepare(next((size for _, size in calls(config, step)), 1))
        if step:
            state, gathered = checkpoints.restore(step, compute.places)
        elif config.start_from:
            state, gathered = exchange.read(config.start_from, compute.places[0]), compute.nothing()
            step = int(state.step)
        else:
            state, gathered = begin(job, compute)
        if step > config.steps:
            place, cure = (out, "choose another --out") if checkpoints.latest() else (config.start_from, "raise steps")
            raise UserError(f"{place} holds a run of {step} steps, beyond steps={config.steps}", cure)
        log = None
        if first_process:
            files.write_json(files.join(out, CONFIG), config.to_json())
            log = MetricLog(out, step)
            stack.callback(log.close)
        run = _Run(job, out, compute, checkpoints, log, on_log, evaluate, until, what)
        batches = Ahead(lambda call: compute.rows_on_devices(job.load(*call), call[1]), calls(config, step))
        stack.callback(batches.close)
        state, step = run.to_the_end(state, gathered, step, batches)
        return TrainResult(state, log.rows if log else [], step)


def begin(job: Job, compute: Compute) -> tuple[TrainState, Gathered]:
    """The state before a run's first step: drawn from its seed, or from the weights that it begins with."""
    if job.start is None:
        return compute.start(job.config.seed)
    return compute.start_with(job.start(compute.places[0].params))


def calls(config: RunConfig, step: int) -> Iterator[tuple[int, int]]:
    """The calls of a run from a step on: (steps done before, steps in it); a resumed run has the same ones."""
    while step < config.steps:
        size = config.steps_per_call
        if step % size or step + size > config.steps:
            size = 1
        yield step, size
        step += size


class _Run:
    """The parts that a run's loop works with."""

    def __init__(
        self,
        job: Job,
        out: str,
        compute: Compute,
        checkpoints: Checkpoints,
        log: MetricLog | None,
        on_log: OnLog | None,
        evaluate: Evaluate | None,
        until: Until | None,
        what: str,
    ) -> None:
        self.job, self.config, self.out, self.compute, self.checkpoints = job, job.config, out, compute, checkpoints
        self.log, self.on_log, self.until, self.what = log, on_log, until, what
        weights_of = job.objective.weights_of
        self.evaluate = (lambda params: evaluate(weights_of(params))) if evaluate else self._validate
        self._resident = compute.resident_on_devices(job.resident)
        self._learning_rate = jax.jit(schedule_of(job.config.optimizer, job.config.steps))
        self._saved = checkpoints.latest()

    def to_the_end(
        self, state: TrainState, gathered: Gathered, step: int, batches: Iterator[jax.Array]
    ) -> tuple[TrainState, int]:
        job, config, hosts = self.job, self.config, jax.process_count()
        begun: set[int] = set()
        waiting: deque[Gathered] = deque()
        clock_step, clock = step, time.perf_counter()
        note = ""
        with ExitStack() as stack:
            stop = stack.enter_context(stop_signals())
            progress = stack.enter_context(Progress(self.what, config.steps, "steps", start=step)) if self.log else None
            for _, size in calls(config, step):
                state, gathered = self.compute.call(size)(state, gathered, next(batches), self._resident)
                step += size
                waiting.append(gathered)
                if len(waiting) > CALLS_AHEAD:
                    jax.block_until_ready(waiting.popleft().first_bad)
                if size not in begun:  # the time of compiling says nothing about the speed
                    begun.add(size)
                    jax.block_until_ready(gathered.first_bad)
                    clock_step, clock = step, time.perf_counter()
                row = None
                if any(self._due(step, every) for every in (config.log_every, config.eval_every, job.measure_every)):
                    row = self._row(state, gathered, step, clock_step, clock)
                    note = f"loss {row['loss']:.4f}, {row[f'{job.unit}_per_s']:,.0f} {job.unit}/s"
                    gathered = self.compute.nothing()
                    waiting.clear()
                enough = bool(row and self.until and self._evaluated(step) and self.until(row))
                if enough or self._due(step, config.checkpoint_every):
                    self._save(state, gathered, step)
                if progress:
                    progress.to(step, note)
                if row:
                    self._tell(row)
                    clock_step, clock = step, time.perf_counter()
                if enough:
                    break
                if step < config.steps and any_asked(stop, hosts=hosts, at_log_point=bool(row)):
                    self._save(state, gathered, step)
                    self.checkpoints.close()
                    print(f"{self.what}: stopped after step {step}, saved in {self.out}", file=sys.stderr)
                    raise Stopped(stop.number)
        return state, step

    def _due(self, step: int, every: int) -> bool:
        return step == self.config.steps or bool(every and step % every == 0)

    def _evaluated(self, step: int) -> bool:
        return bool(self.config.eval_every) and self._due(step, self.config.eval_every)

    def _row(self, state: TrainState, gathered: Gathered, step: int, since_step: int, since: float) -> Row:
        host = jax.device_get(gathered)
        seconds = time.perf_counter() - since
        self._refuse_bad(int(host.first_bad))
        job, done = self.job, step - since_step
        speed = done / seconds if done else 0.0  # none is known of a row that is all compiling
        units = step * job.units_per_step
        row: Row = {
            "step": step,
            **{name: float(metric.compute()) for name, metric in host.metrics.items()},
            "learning_rate": float(self._learning_rate(step - 1)),
            job.unit: units,
            **({} if job.flops_per_unit is None else {"flops": units * job.flops_per_unit}),
            "steps_per_s": speed,
            f"{job.unit}_per_s": speed * job.units_per_step,
        }
        if self._evaluated(step):
            row |= self.evaluate(averaged(state.optimizer_state, state.params))
        if job.measure_every and self._due(step, job.measure_every):
            row |= self._measure(state.params)
        if self.log:
            self.log.add(row)
        return row

    def _tell(self, row: Row) -> None:
        if self.on_log and self.log:
            self.on_log(row)

    def _validate(self, params: Any) -> Row:
        total: dict[str, Any] = {}
        for rows in self.job.validation:
            metrics = self.compute.evaluate(params, self.compute.rows_on_devices(rows), self._resident)
            total = {name: total[name].merge(one) for name, one in metrics.items()} if total else dict(metrics)
        host: Any = jax.device_get(total)
        names = host if self.job.validated is None else self.job.validated
        return {f"validation_{name}": float(host[name].compute()) for name in names}

    def _measure(self, params: Any) -> Row:
        first = begin(self.job, self.compute)[0].params  # made again: memory is dearer
        rows = self.compute.rows_on_devices(self.job.load(0, 1))
        found = jax.device_get(self.compute.measure(first, params, rows, self._resident))
        return {name: float(value) for name, value in found.items() if np.isfinite(value)}

    def _save(self, state: TrainState, gathered: Gathered, step: int) -> None:
        if self._saved == step:
            return
        self._refuse_bad(int(gathered.first_bad))
        if not self.compute.is_finite(state):
            self._refuse_bad(step)
        self.checkpoints.save(step, (state, gathered))
        self._saved = step
        if self.log:
            self.log.flush()

    def _refuse_bad(self, step: int) -> None:
        if not step:
            return
        good = self.checkpoints.latest()
        kept = f"checkpoint {good} in {self.out} is the last good one" if good else "no checkpoint was saved before it"
        raise NotFinite(
            f"the loss, its gradient or a parameter is not finite at step {step} ({kept})",
            f"lower optimizer.learning_rate={self.config.optimizer.learning_rate:g} or set optimizer.clip_norm,"
            " and train into another --out",
        )
