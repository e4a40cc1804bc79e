"""Reinforcement learning of a tiny model over bytes that answers with any digit: it learns which one earns a reward."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from beam_jobs.inference.lm_handler import LoadedLM
from beam_jobs.inference.requests import Completion
from models.equal_info.plain import BytesCodec
from models.lm import DecoderLM, LMConfig
from models.lm.artefact import TrainedLM
from models.lm.decoding import Sampling
from models.rest_em.records import Problem
from models.training import OptimizerConfig, initial_state, lm_loss, optimizer_of, packed_batch, train_step
from models.training.policy_gradient import PolicyConfig
from shammie.errors import UserError
from workflows.policy_rewards import VerifiedReward
from workflows.policy_samples import Mix, draw_samples
from workflows.policy_training import PolicyTraining, train_policy
from workflows.train import NotFinite

CODEC = BytesCodec()
MODEL = LMConfig(vocab_size=258, width=32, layers=1, heads=2, head_width=16, mlp_width=64)


def _problem(number: int, prompt: str, answer: str, family: str = "") -> Problem:
    return Problem(f"{family}/{number}", f"{prompt} Answer:", "number", family=family, answer=answer)


ONES = [_problem(n, letter, "1") for n, letter in enumerate("abcd")]
SHORT = PolicyTraining(
    PolicyConfig(prompts=4, samples=8, epochs=2, minibatches=2, kl_weight=0.02),
    OptimizerConfig(learning_rate=3e-3, warmup_steps=2, factors="constant * linear_warmup", weight_decay=0.0),
    iterations=5,
    eval_every=2,
    new_tokens=3,
)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model that answers every question with one of ten digits."""
    pairs = [(f"{letter} Answer:", str(digit)) for letter in "abcdxy" for digit in range(10)]
    rows = np.zeros((len(pairs), 12), np.int32)
    for row, (prompt, answer) in zip(rows, pairs, strict=True):
        ids = [-(byte + 2) for byte in prompt.encode()] + [byte + 2 for byte in answer.encode()] + [1]
        row[: len(ids)] = ids
    network, optimizer = DecoderLM(MODEL), optimizer_of(OptimizerConfig(learning_rate=1e-2, warmup_steps=10), 150)
    step = jax.jit(train_step(lm_loss(network), optimizer))
    params: Any = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]
    state, metrics = initial_state(params, optimizer), {}
    for _ in range(150):
        state, metrics = step(state, packed_batch(jnp.asarray(rows)))
    assert float(metrics["loss"].compute()) < 1.3  # log(10) / 2 = 1.15 nats a token at best
    path = tmp_path_factory.mktemp("start") / "lm.bin"
    path.write_bytes(TrainedLM(MODEL, jax.device_get(state.params), CODEC.fingerprint).to_bytes())
    return str(path)


def _train(start: str, out: Path, config: PolicyTraining = SHORT, **changed: Any) -> dict[str, Any]:
    given = {"problems": ONES, "held_out": ONES[:2], "reward": VerifiedReward(), "seed": 0, **changed}
    out.mkdir(exist_ok=True)
    return train_policy(config, start=start, codec=CODEC, out=str(out), what="test", **given)


def test_it_learns_the_answer_that_is_rewarded(start: str, tmp_path: Path) -> None:
    told = _train(start, tmp_path / "out", replace(SHORT, iterations=25, eval_every=5))
    rewards = [row["reward"] for row in told["rows"][1:]]
    assert rewards[0] < 0.3
    assert np.mean(rewards[-3:]) > 0.9
    assert told["rows"][0] == {"step": 0, "held_out": 0.0}
    assert told["best_reward"] == 1.0
    assert told["best_iteration"] in (5, 10, 15, 20, 25)
    assert [row["step"] for row in told["rows"] if "held_out" in row] == [0, 5, 10, 15, 20, 25]
    assert told["iterations"] == 25
    assert told["samples"] == 25 * 32
    kl = [row["kl"] for row in told["rows"][1:]]
    assert kl[0] < 0.05
    assert kl[-1] > 0.3  # it has gone from one in ten to nearly always: log 10 nats over two tokens
    assert told["rows"][1]["tokens"] == pytest.approx(2.0, abs=0.1)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["lm.bin"]
    kept = TrainedLM.from_bytes((tmp_path / "out" / "lm.bin").read_bytes(), made_with=CODEC.fingerprint)
    assert kept.config == MODEL


def test_a_heavy_kl_keeps_the_model_where_it_was(start: str, tmp_path: Path) -> None:
    """Under the weight of the test before it is above 0.3 by then."""
    held = replace(SHORT, policy=replace(SHORT.policy, kl_weight=20.0), iterations=15, eval_every=15)
    assert 0 < _train(start, tmp_path, held)["rows"][-1]["kl"] < 0.03


class Killed(Exception):
    """Instead of a signal that cannot be caught."""


def _until(samples: int) -> Any:
    reward, left = VerifiedReward(), [samples]

    def killed(problem: Problem, completion: Completion) -> float:
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return reward(problem, completion)

    return killed


OTHER = replace(
    SHORT,
    policy=replace(SHORT.policy, kl="k3", scaled=True, temperature=0.9, minibatches=4),
    optimizer=OptimizerConfig(learning_rate=3e-3, warmup_steps=2, average=0.5),
)


@pytest.mark.parametrize("config", [SHORT, OTHER], ids=["exact", "k3"])
def test_a_killed_run_goes_on_with_the_same_bits(start: str, tmp_path: Path, config: PolicyTraining) -> None:
    whole = _train(start, tmp_path / "whole", config)
    with pytest.raises(Killed):  # in iteration 4, after the row of iteration 3, which is not saved: 2 is
        _train(start, tmp_path / "out", config, reward=_until(2 + 2 * 32 + 2 + 32 + 5))
    rows = (tmp_path / "out" / "policy" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [0, 1, 2, 3]
    calls: list[str] = []

    def counted(problem: Problem, completion: Completion) -> float:
        calls.append(problem.id)
        return VerifiedReward()(problem, completion)

    told = _train(start, tmp_path / "out", config, reward=counted)
    assert len(calls) == 3 * 32 + 2 + 2  # three iterations and two measurements were left
    assert told == whole
    assert (tmp_path / "out" / "lm.bin").read_bytes() == (tmp_path / "whole" / "lm.bin").read_bytes()


def test_a_run_that_is_asked_to_stop_is_saved(start: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reward, asked = VerifiedReward(), [0]

    def stopping(problem: Problem, completion: Completion) -> float:
        asked[0] += 1
        if asked[0] == 10:
            os.kill(os.getpid(), signal.SIGTERM)
        return reward(problem, completion)

    with pytest.raises(KeyboardInterrupt):
        _train(start, tmp_path / "out", reward=stopping)
    assert asked == [2 + 32]
    assert "stopped after iteration 1, saved in" in capsys.readouterr().err
    asked[0] = 10
    told = _train(start, tmp_path / "out", reward=stopping)
    assert asked == [10 + 4 * 32 + 3 * 2]  # iteration 1 was not drawn again
    assert told == _train(start, tmp_path / "whole")


def test_rewards_that_are_all_alike_are_counted_and_teach_nothing(start: str, tmp_path: Path) -> None:
    config = replace(SHORT, policy=replace(SHORT.policy, kl_weight=0.0), iterations=2)
    told = _train(start, tmp_path / "out", config, reward=lambda problem, completion: 1.0)
    assert told["flat_groups"] == 8
    assert [row["flat_groups"] for row in told["rows"][1:]] == [1.0, 1.0]
    assert told["rows"][-1]["gradient_norm"] == 0.0
    assert told["rows"][-1]["kl"] == pytest.approx(0.0, abs=1e-6)
    assert told["best_iteration"] == 0  # nothing was better than the start, whose parameters are kept
    kept = TrainedLM.from_bytes((tmp_path / "out" / "lm.bin").read_bytes())
    begun = TrainedLM.from_bytes(Path(start).read_bytes())
    assert all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (kept.params, begun.params)), strict=True))


def test_the_best_model_is_kept(start: str, tmp_path: Path) -> None:
    """The same training under three scripts of held-out rewards, whose best is at 0, 2 and 4."""
    kept = []
    for best, script in enumerate(([0.9, 0.1, 0.2], [0.1, 0.9, 0.9], [0.1, 0.2, 0.9])):
        values = iter(script)

        def reward(problem: Problem, completion: Completion, values: Any = values) -> float:
            return next(values) if problem.id == "held out" else float(completion.text == "1")

        held_out = [replace(ONES[0], id="held out")]
        told = _train(start, tmp_path / str(best), replace(SHORT, iterations=4), held_out=held_out, reward=reward)
        assert (told["best_iteration"], told["best_reward"]) == (2 * best, 0.9)
        kept.append(TrainedLM.from_bytes((tmp_path / str(best) / "lm.bin").read_bytes()).params)
    begun = TrainedLM.from_bytes(Path(start).read_bytes()).params
    moved = [
        max(float(np.abs(a - b).max()) for a, b in zip(*map(jax.tree.leaves, (one, begun)), strict=True))
        for one in kept
    ]
    assert moved[0] == 0.0
    assert 0.0 < moved[1] < moved[2]


def test_draws_are_told_apart_by_iteration_problem_and_turn(start: str) -> None:
    model = LoadedLM(TrainedLM.from_bytes(Path(start).read_bytes()), CODEC)

    def drawn(asked: Any, *, seed: int = 0, iteration: int = 0) -> list[list[str]]:
        found = draw_samples(
            model,
            asked,
            VerifiedReward(),
            samples=8,
            sampling=Sampling(),
            new_tokens=3,
            seed=seed,
            iteration=iteration,
        )
        texts = [one.text for one in found.completions]
        rewards = [float(text == "1") for text in texts]
        assert found.rewards_GS.reshape(-1).tolist() == rewards
        return [texts[at : at + 8] for at in range(0, len(texts), 8)]

    one = [(ONES[0], 0)]
    (first,) = drawn(one)
    assert len(set(first)) > 3
    assert drawn(one) == [first]
    others = [*drawn([(ONES[0], 1)]), *drawn(one, iteration=1), *drawn(one, seed=1), *drawn([(ONES[1], 0)])]
    assert len({tuple(some) for some in [first, *others]}) == 5
    both = drawn([*one, (ONES[0], 1)])
    assert both == [first, others[0]]  # and not by what is drawn beside them


def test_families_are_told_apart_and_weigh_alike(start: str, tmp_path: Path) -> None:
    """One family is always rewarded, the other never: 3 of 4 prompts and 2 of 3 held-out problems are the former's."""
    problems = [_problem(n, "a", "1", "clean") for n in range(4)] + [_problem(0, "x", "7", "copy")]
    held_out = [_problem(9, "a", "1", "clean"), _problem(8, "b", "1", "clean"), _problem(9, "y", "7", "copy")]
    config = replace(SHORT, iterations=1, eval_every=1, shares={"clean": 3.0, "copy": 1.0})
    paid = lambda problem, completion: float(problem.family == "clean")  # noqa: E731
    row = _train(start, tmp_path / "out", config, problems=problems, held_out=held_out, reward=paid)["rows"][1]
    assert (row["reward"], row["reward/clean"], row["reward/copy"]) == (0.75, 1.0, 0.0)
    assert (row["held_out"], row["held_out/clean"], row["held_out/copy"]) == (0.5, 1.0, 0.0)


def test_a_mix_goes_round_each_familys_problems() -> None:
    problems = [_problem(n, "a", "1", "clean") for n in range(5)] + [_problem(n, "x", "7", "copy") for n in range(2)]
    mix = Mix(problems, {"clean": 0.6, "copy": 0.4}, 8, seed=3)
    assert mix.counts == {"clean": 5, "copy": 3}
    asked = [mix.of(iteration) for iteration in range(4)]
    assert asked == [Mix(problems, {"clean": 0.6, "copy": 0.4}, 8, seed=3).of(iteration) for iteration in range(4)]
    for one in asked:
        assert sorted(problem.id for problem, _ in one[:5]) == [f"clean/{n}" for n in range(5)]
        assert len({(problem.id, times) for problem, times in one}) == 8  # what is asked twice is drawn apart
    copies = [problem.id for one in asked for problem, _ in one[5:]]
    assert copies.count("copy/0") == copies.count("copy/1") == 6
    assert len({tuple(problem.id for problem, _ in one[:5]) for one in asked}) > 1
    assert len(Mix(problems, {}, 7, seed=3).of(0)) == 7
    with pytest.raises(UserError, match="unknown family in shares 'cleam'"):
        Mix(problems, {"cleam": 1.0}, 8, seed=0)
    with pytest.raises(UserError, match="share of family 'copy' is -1"):
        Mix(problems, {"clean": 1.0, "copy": -1.0}, 8, seed=0)
    with pytest.raises(UserError, match="'copy' has none of the 2 prompts"):
        Mix(problems, {"clean": 1.0, "copy": 0.01}, 2, seed=0)
    with pytest.raises(UserError, match="no problems"):
        Mix([], {}, 2, seed=0)


def test_numbers_that_are_no_longer_finite_end_the_run(start: str, tmp_path: Path) -> None:
    wild = OptimizerConfig("sgd", learning_rate=1e30, factors="constant", clip_norm=0.0)
    config = replace(SHORT, optimizer=wild, eval_every=1)
    with pytest.raises(NotFinite, match=r"is not finite in iteration 1 \(nothing was saved before it\); lower"):
        _train(start, tmp_path / "out", config, reward=_alternating())
    with pytest.raises(UserError, match=r"the reward of problem /\d is nan; give a finite number"):
        _train(start, tmp_path / "nan", reward=lambda problem, completion: float("nan"))


def _alternating() -> Any:
    turn = [0]

    def reward(problem: Problem, completion: Completion) -> float:
        turn[0] += 1
        return float(turn[0] % 2)

    return reward


def test_another_run_in_the_folder_and_other_bad_input(start: str, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        _train(start, tmp_path / "out", reward=_until(2 + 2 * 32 + 2 + 1))
    with pytest.raises(UserError, match="holds a run with seed=0, not 1"):
        _train(start, tmp_path / "out", seed=1)
    with pytest.raises(UserError, match="holds a run with problems_sha256="):
        _train(start, tmp_path / "out", problems=ONES[:3])
    with pytest.raises(UserError, match="no held-out problems"):
        _train(start, tmp_path / "new", held_out=[])
    with pytest.raises(UserError, match="there is no model"):
        _train(str(tmp_path / "none.bin"), tmp_path / "new")
    with pytest.raises(UserError, match="iterations is 0"):
        PolicyTraining(iterations=0)


def test_settings_go_through_json() -> None:
    from shammie.configs import plain

    config = PolicyTraining(PolicyConfig(kl="k3"), OptimizerConfig("sgd"), shares={"clean": 1.0})
    assert PolicyTraining.from_json(json.loads(json.dumps(plain(config)))) == config
