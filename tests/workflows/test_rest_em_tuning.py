"""Training with the held-out reward in view."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from models.equal_info.plain import BytesCodec
from models.lm import LMConfig
from models.lm.artefact import TrainedLM
from models.rest_em.records import Problem
from models.training import OptimizerConfig
from seqio_tasks.pairs import write_pairs_text
from workflows.rest_em_settings import Tuning
from workflows.rest_em_tuning import Reward, tune

MODEL = LMConfig(vocab_size=258, width=16, layers=1, heads=1, head_width=16, mlp_width=32)
PAIRS = [(f"{a}+{b}=", f"{a + b}") for a in range(4) for b in range(4)]
TUNING = Tuning(
    OptimizerConfig(learning_rate=1e-2, warmup_steps=2), length=24, batch_size=64, steps=12, eval_every=2, patience=2
)


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    write_pairs_text(str(tmp_path / "pairs"), "train", PAIRS, BytesCodec())
    return str(tmp_path / "pairs")


def _tune(pairs: str, out: Path, rewards: list[float], start: str = "", tuning: Tuning = TUNING):
    seen, values = [], iter(rewards)

    def reward(params) -> float:
        seen.append(jax.device_get(params))
        return next(values)

    given = {"pairs": pairs, "made_with": BytesCodec().fingerprint, "start": start, "seed": 0}
    out.mkdir(exist_ok=True)
    told = tune(MODEL, tuning, **given, reward=reward, out=str(out), what="test")
    return told, seen, TrainedLM.from_bytes((out / "lm.bin").read_bytes()).params


def _same(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_it_ends_when_the_reward_no_longer_rises_and_keeps_the_best(pairs: str, tmp_path: Path) -> None:
    told, seen, kept = _tune(pairs, tmp_path / "out", [0.1, 0.3, 0.3, 0.2, 0.9])
    assert (told["steps"], told["best_step"], told["best_reward"]) == (8, 4, 0.3)
    assert [row[::2] for row in told["curve"]] == [[2, 0.1], [4, 0.3], [6, 0.3], [8, 0.2]]
    assert _same(kept, seen[1])
    assert not _same(kept, seen[3])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["lm.bin"]


def test_a_rising_reward_trains_to_the_end(pairs: str, tmp_path: Path) -> None:
    told, seen, kept = _tune(pairs, tmp_path / "out", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert (told["steps"], told["best_step"]) == (12, 12)
    assert _same(kept, seen[-1])


def test_a_killed_run_goes_on_and_ends_the_same(pairs: str, tmp_path: Path) -> None:
    _, _, whole = _tune(pairs, tmp_path / "whole", [0.1, 0.3, 0.2, 0.2])
    with pytest.raises(StopIteration):  # at the third measurement
        _tune(pairs, tmp_path / "out", [0.1, 0.3])
    noted = json.loads((tmp_path / "out" / "best.json").read_text())
    assert (noted["best_step"], [row[0] for row in noted["curve"]]) == (4, [2, 4])
    told, seen, kept = _tune(pairs, tmp_path / "out", [0.2, 0.2])
    assert len(seen) == 2
    assert (told["steps"], told["best_step"]) == (8, 4)
    assert _same(kept, whole)


def test_it_starts_from_the_given_model(pairs: str, tmp_path: Path) -> None:
    _tune(pairs, tmp_path / "base", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    slow = Tuning(OptimizerConfig(learning_rate=1e-9, warmup_steps=1), length=24, batch_size=64, steps=2, eval_every=2)
    _, _, begun = _tune(pairs, tmp_path / "next", [0.5], start=str(tmp_path / "base" / "lm.bin"), tuning=slow)
    base = TrainedLM.from_bytes((tmp_path / "base" / "lm.bin").read_bytes()).params
    for a, b in zip(jax.tree.leaves(begun), jax.tree.leaves(base), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_the_reward_of_a_model_that_knows_the_answers(pairs: str, tmp_path: Path) -> None:
    """Sixteen sums by heart, of which the verifier is told four wrong answers."""
    problems = [
        Problem(id=prompt, prompt=prompt, verifier="number", answer=str(int(answer) + (n < 4)))
        for n, (prompt, answer) in enumerate(PAIRS)
    ]
    long = Tuning(
        OptimizerConfig(learning_rate=2e-2, warmup_steps=10), length=24, batch_size=8, steps=300, eval_every=150
    )
    with Reward(problems, MODEL, BytesCodec(), new_tokens=3) as reward:
        given = {"pairs": pairs, "made_with": BytesCodec().fingerprint, "start": "", "seed": 0}
        told = tune(MODEL, long, **given, reward=reward, out=str(tmp_path / "pairs"), what="test")
    assert told["best_reward"] == 0.75
