"""Reinforcement learning of a language model by a verifiable reward: sample, verify, update, again and again.

Each iteration samples some problems by the shared sampler, rewards every sample, and takes a few optimizer steps on
PPO's clipped objective with a KL penalty towards the model at the start (`models.training.policy_gradient`). The
bundled trainer's loop does not fit, since its data do not depend on what is trained; its step, optimizers, checkpoints,
log and signals are used here. One device.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import jax
import numpy as np

from beam_jobs.inference.lm_handler import LoadedLM
from models.equal_info.load import AnyCodec
from models.lm import DecoderLM
from models.lm.artefact import TrainedLM
from models.lm.decoding import Sampling
from models.rest_em.records import Problem
from models.training import averaged, schedule_of
from models.training.policy_gradient import flat_groups
from shammie import files, lock
from shammie.configs import plain
from shammie.errors import Stopped, UserError
from shammie.progress import Progress
from workflows.policy_rewards import Reward
from workflows.policy_samples import Mix, Samples, draw_samples, row_length
from workflows.policy_settings import PolicyTraining
from workflows.policy_updates import Updates, is_finite
from workflows.train.checkpoints import Checkpoints
from workflows.train.loop import NotFinite
from workflows.train.metric_log import MetricLog, Row
from workflows.train.stopping import stop_signals

__all__ = ["PolicyTraining", "train_policy"]

LM, WORK = "lm.bin", "policy"
HELD_OUT = "held_out"
GREEDY = Sampling(temperature=0.0)


def train_policy(
    config: PolicyTraining,
    *,
    start: str,
    codec: AnyCodec,
    problems: Sequence[Problem],
    held_out: Sequence[Problem],
    reward: Reward,
    seed: int,
    out: str,
    what: str = "policy",
) -> dict[str, Any]:
    """Trains a model to earn a reward, and keeps the best by the held-out reward.

    Args:
        config: the run.
        start: file of the model to start from (`models.lm.artefact`), which is also the KL penalty's reference.
        codec: of its ids.
        problems: what is sampled; their families are what `config.shares` names.
        held_out: what the model is measured on greedily: the mean over families of each one's mean reward decides.
        reward: of a completion, such as `workflows.policy_rewards.VerifiedReward`; the same each time it is asked.
        seed: of samples and orders, 0 or more.
        out: folder for lm.bin, the best model, the start's own where nothing was better; a killed run goes on from
            what lies there, with the same bits.
        what: names the run in its progress line.

    Returns:
        `rows`, one before the first iteration and one after each: step, reward (mean, in all and "reward/FAMILY"), the
        metrics of `policy_loss`, gradient_norm, learning_rate, flat_groups (share of prompts whose samples are all
        rewarded alike: nothing is learned of them), finished (share), tokens (mean of a sample); where it is measured,
        held_out and "held_out/FAMILY". Besides, `iterations`; `best_iteration` and `best_reward`; `samples` and
        `flat_groups` in all.

    Raises:
        NotFinite: a loss, gradient or parameter is no longer finite.
        UserError: problems are missing, the model reads other ids, a reward is not finite, or `out` holds another run.
        KeyboardInterrupt: the run was asked to stop; it is saved, and goes on when called again.
    """
    if not held_out:
        raise UserError("there are no held-out problems to measure on", "give at least one")
    if not files.exists(start):
        raise UserError(f"there is no model {start}", "name the lm.bin of a run")
    mix = Mix(problems, config.shares, config.policy.prompts, seed)
    identity = {
        **plain(config),
        "seed": seed,
        "start_sha256": files.sha256_of(start),
        "codec": codec.fingerprint,
        "problems_sha256": files.digest([one.to_json() for one in problems]),
        "held_out_sha256": files.digest([one.to_json() for one in held_out]),
    }
    loaded = LoadedLM(TrainedLM.from_bytes(files.read_bytes(start), made_with=codec.fingerprint), codec)
    length = row_length(loaded.prompt_ids([one.prompt for one in problems]), config.new_tokens)
    work = files.join(out, WORK)
    files.make_directory(work)
    with ExitStack() as stack:
        stack.enter_context(lock.holding(work, if_dead=f"remove {files.join(work, lock.LOCK)}"))
        checkpoints = Checkpoints(work, identity, keep=1)
        stack.callback(checkpoints.close)
        step = checkpoints.take_up() or 0
        if step:
            checkpoints.check(step)
        log = MetricLog(work, step)
        stack.callback(log.close)
        run = _Run(config, loaded, mix, held_out, reward, seed, out, length, checkpoints, log, what)
        told = run.to_the_end(step)
    files.remove(work)
    return told


class _Run:
    """The parts that a run's loop works with."""

    def __init__(
        self,
        config: PolicyTraining,
        start: LoadedLM,
        mix: Mix,
        held_out: Sequence[Problem],
        reward: Reward,
        seed: int,
        out: str,
        length: int,
        checkpoints: Checkpoints,
        log: MetricLog,
        what: str,
    ) -> None:
        self._config, self._start, self._mix, self._held_out, self._reward = config, start, mix, held_out, reward
        self._seed, self._out, self._checkpoints, self._log, self._what = seed, out, checkpoints, log, what
        updates = config.iterations * config.policy.updates
        self._rate = schedule_of(config.optimizer, updates)
        self._updates = Updates(
            DecoderLM(start.model.config),
            config.policy,
            config.optimizer,
            start.model.params,
            steps=updates,
            length=length,
            new_tokens=config.new_tokens,
        )
        self._state = self._updates.first()

    def to_the_end(self, done: int) -> dict[str, Any]:
        """All iterations after those that are done; what `train_policy` returns."""
        config = self._config
        if done:
            self._state = self._checkpoints.restore(done, jax.tree.map(_place, self._state))
        with stop_signals() as stop, Progress(self._what, config.iterations, "iterations", start=done) as progress:
            if not self._log.rows:
                self._add({"step": 0, **self._measured()})
            while done < config.iterations:
                row = self._iterate(done)
                done += 1
                measured = done % config.eval_every == 0 or done == config.iterations
                if measured:
                    row |= self._measured()
                self._add({"step": done, **row})
                if measured or stop.requested:
                    self._checkpoints.save(done, self._state)
                    self._log.flush()
                best = f"held-out {self._best()[HELD_OUT]:.3f} at best"
                progress.to(done, f"reward {row['reward']:.3f}, KL {row['kl']:.3f}, {best}")
                if stop.requested and done < config.iterations:
                    print(f"{self._what}: stopped after iteration {done}, saved in {self._out}", file=sys.stderr)
                    raise Stopped(stop.number)
        rows = [{name: value for name, value in row.items() if name != "seconds"} for row in self._log.rows]
        best = self._best()
        return {
            "rows": rows,
            "iterations": done,
            "best_iteration": best["step"],
            "best_reward": best[HELD_OUT],
            "samples": done * config.policy.rows,
            "flat_groups": round(sum(row["flat_groups"] for row in rows[1:]) * config.policy.prompts),
        }

    def _best(self) -> Row:
        return max((row for row in self._log.rows if HELD_OUT in row), key=lambda row: (row[HELD_OUT], -row["step"]))

    def _add(self, row: Row) -> None:
        """Logs a row, and first writes the model where it is the best so far: a kill between the two loses nothing."""
        if HELD_OUT in row and (not self._log.rows or row[HELD_OUT] > self._best()[HELD_OUT]):
            model = TrainedLM(self._start.model.config, jax.device_get(self._weights()), self._start.model.made_with)
            files.write_bytes(files.join(self._out, LM), model.to_bytes())
        self._log.add(row)

    def _weights(self) -> Any:
        return averaged(self._state.optimizer_state, self._state.params)

    def _draw(self, params: Any, asked: Any, samples: int, sampling: Sampling, iteration: int) -> Samples:
        made_with = self._start.model.made_with
        return draw_samples(
            LoadedLM(TrainedLM(self._start.model.config, params, made_with), self._start.codec),
            asked,
            self._reward,
            samples=samples,
            sampling=sampling,
            new_tokens=self._config.new_tokens,
            seed=self._seed,
            iteration=iteration,
        )

    def _measured(self) -> Row:
        asked = [(one, 0) for one in self._held_out]
        found = self._draw(self._weights(), asked, 1, GREEDY, 0).rewards_by_family()
        named = {f"{HELD_OUT}/{family}": value for family, value in found.items() if family}
        return {HELD_OUT: float(np.mean(list(found.values()))), **named}

    def _iterate(self, iteration: int) -> Row:
        """One iteration: samples, rewards, updates; its row of numbers."""
        began, policy = time.perf_counter(), self._config.policy
        sampling = Sampling(temperature=policy.temperature)
        drawn = self._draw(self._state.params, self._mix.of(iteration), policy.samples, sampling, iteration)
        batch = self._updates.batch(self._state.params, drawn)
        self._state, metrics = self._updates.update(self._state, batch, seed=self._seed, iteration=iteration)
        found: Any = jax.device_get(metrics)
        told = {name: float(metric.compute()) for name, metric in found.items()}
        self._refuse_bad(told, iteration + 1)
        rate: Any = self._rate((iteration + 1) * policy.updates - 1)
        return {
            "reward": float(drawn.rewards_GS.mean()),
            **{f"reward/{family}": value for family, value in drawn.rewards_by_family().items() if family},
            **told,
            "learning_rate": float(rate),
            "flat_groups": flat_groups(drawn.rewards_GS) / policy.prompts,
            "finished": float(np.mean([one.finished for one in drawn.completions])),
            "tokens": float(np.mean([one.tokens for one in drawn.completions])),
            "seconds": time.perf_counter() - began,
        }

    def _refuse_bad(self, told: Mapping[str, float], iteration: int) -> None:
        bad = next((name for name, value in told.items() if not np.isfinite(value)), "")
        if not bad and not bool(is_finite(self._state.params)):
            bad = "a parameter"
        if not bad:
            return
        good = self._checkpoints.latest()
        kept = f"iteration {good} is saved in {self._out}" if good else "nothing was saved before it"
        raise NotFinite(
            f"{bad} is not finite in iteration {iteration} ({kept})",
            f"lower optimizer.learning_rate={self._config.optimizer.learning_rate:g} or set optimizer.clip_norm,"
            " and train into another folder",
        )


def _place(x: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)
