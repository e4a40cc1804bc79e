"""Training on pairs with the held-out reward in view: the parameters of the best measurement are kept."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import jax
import numpy as np

from beam_jobs.inference.lm_handler import LoadedLM, answer
from beam_jobs.inference.requests import Generation, Group, Request
from beam_jobs.rest_em.verifiers import Verifiers
from models.equal_info.ids import SPECIAL_IDS
from models.equal_info.load import AnyCodec
from models.lm import LMConfig
from models.lm.artefact import TrainedLM
from models.lm.decoding import Sampling
from models.lm.sampler import Slots
from models.rest_em.records import Problem
from seqio_tasks.pair_rows import rows_of_pairs
from shammie.files import exists, join, read_json, remove, write_bytes, write_json
from shammie.processors import processors
from workflows.rest_em_settings import Tuning
from workflows.train import TrainConfig, train

__all__ = ["SPECIAL_IDS", "Reward", "tune"]

REWARD = "validation_reward"


class Reward:
    """The share of held-out problems that a model's greedy solutions solve; a context, since it owns the verifiers.

    Args:
        problems: the held-out ones.
        config: the network.
        codec: of its ids.
        new_tokens: the most of a solution.
    """

    def __init__(self, problems: Sequence[Problem], config: LMConfig, codec: AnyCodec, *, new_tokens: int) -> None:
        self._problems, self._config, self._codec = problems, config, codec
        self._generation = Generation(Sampling(temperature=0.0), new_tokens)
        self._group = Group(0, tuple(Request(one.id, one.prompt, 0) for one in problems))
        self._verifiers = Verifiers(workers=processors())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._verifiers.close()

    def __call__(self, params: Any) -> float:
        """The share of passes, 0 to 1."""
        loaded = LoadedLM(TrainedLM(self._config, params, self._codec.fingerprint), self._codec)
        completions = answer(self._group, loaded, self._generation, Slots()).completions
        judged = [
            self._verifiers.verify(problem, one.text).passed
            for problem, one in zip(self._problems, completions, strict=True)
        ]
        return float(np.mean(judged))


def tune(
    model: LMConfig,
    tuning: Tuning,
    *,
    pairs: str,
    made_with: str,
    start: str,
    seed: int,
    reward: Callable[[Any], float] | None,
    out: str,
    what: str,
) -> dict[str, Any]:
    """Trains while the held-out reward rises.

    Args:
        model: the network.
        tuning: how.
        pairs: folder of pairs (`seqio_tasks.pairs`).
        made_with: the codec's fingerprint.
        start: file of the model to start from; "" for new parameters.
        seed: of new parameters and of the order of the rows.
        reward: what is measured of parameters, such as a `Reward`; None: training goes on to its end, and the last
            parameters are kept.
        out: folder for lm.bin, the best model; a killed run goes on from what lies there.
        what: names the run in its progress line.

    Returns:
        `curve`: a row [step, loss, reward] a measurement; `steps` done; `best_step` and `best_reward`.
    """
    noted = join(out, "best.json")
    found: dict[str, Any] = read_json(noted) if exists(noted) else {"curve": [], "best_step": 0, "best_reward": -1.0}

    def measure(params: Any) -> dict[str, float]:
        held = jax.device_get(params)
        value = reward(held) if reward else float(len(found["curve"]))  # without one the later is the better
        if value > found["best_reward"]:
            found.update(best_reward=value, best_step=-1)  # the step is known when the row is told
            write_bytes(join(out, "lm.bin"), TrainedLM(model, held, made_with).to_bytes())
        return {REWARD: value}

    def enough(row: dict[str, Any]) -> bool:
        found["curve"] = [one for one in found["curve"] if one[0] < row["step"]]
        found["curve"].append([row["step"], row["loss"], row[REWARD]])
        if found["best_step"] < 0:
            found["best_step"] = row["step"]
        write_json(noted, found)
        return over()

    def over() -> bool:
        rewards = [one[2] for one in found["curve"]]
        return bool(rewards) and len(rewards) - 1 - rewards.index(max(rewards)) >= tuning.patience

    every = min(tuning.eval_every, tuning.steps)
    rows = rows_of_pairs(pairs, "train", tuning.length).info.tokens // tuning.length
    config = TrainConfig(
        model=model,
        optimizer=tuning.optimizer,
        data=pairs,
        tokenizer=made_with,
        length=tuning.length,
        batch_size=min(tuning.batch_size, rows),  # of a few solutions a whole epoch is a batch
        steps=tuning.steps,
        seed=seed,
        start_params=start,
        mesh_data=1,
        checkpoint_every=every,
        keep=1,
        log_every=every,
        eval_every=every,
    )
    if not over():  # a run that was killed after its end
        train(config, join(out, "train"), evaluate=measure, until=enough, what=what)
    remove(join(out, "train"))
    remove(noted)
    return {**found, "steps": found["curve"][-1][0]}
