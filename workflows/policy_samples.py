"""An iteration's samples of reinforcement learning: which problems, what the policy writes, and the rows of it.

All of it is a function of (seed, iteration) and the parameters alone, so that a resumed run draws the same.
G = prompts, S = samples of each, B = G S rows, L = length of a row, N = most new tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from beam_jobs.inference.lm_handler import LoadedLM
from beam_jobs.inference.requests import Completion, seed_of
from models.lm import DecoderLM
from models.lm.decoding import Sampling
from models.lm.sampler import Slots, sample
from models.rest_em.records import Problem
from shammie.errors import UserError, unknown
from workflows.policy_rewards import Reward

COLUMNS = 16  # a row's length is a multiple of this


@dataclass(frozen=True, eq=False)
class Samples:
    """What a policy wrote, in the order of the problems, and their samples side by side.

    Attributes:
        problems: G, those asked.
        completions: B texts.
        rewards_GS: float [G, S].
        prompts: B prompts' ids, int32 each.
        drawn: B samples' ids, int32 each, the end id included.
    """

    problems: list[Problem]
    completions: list[Completion]
    rewards_GS: np.ndarray
    prompts: list[np.ndarray]
    drawn: list[np.ndarray]

    def rewards_by_family(self) -> dict[str, float]:
        """The mean reward of each family of the problems."""
        means = self.rewards_GS.mean(axis=1)
        families = sorted({one.family for one in self.problems})
        return {
            family: float(np.mean([x for x, one in zip(means, self.problems, strict=True) if one.family == family]))
            for family in families
        }

    def rows(self, length: int, new_tokens: int) -> dict[str, np.ndarray]:
        """Prompts with their samples: "tokens" [B, L], "prompts" [B] and "lengths" [B], as `policy_loss` reads them.

        Args:
            length: L, at least that of each prompt and N more.
            new_tokens: N, which no sample exceeds.
        """
        assert all(len(ids) <= length - new_tokens for ids in self.prompts)
        tokens_BL = np.zeros((len(self.drawn), length), np.int32)
        for row, both in enumerate(zip(self.prompts, self.drawn, strict=True)):
            ids = np.concatenate(both)
            tokens_BL[row, : len(ids)] = ids
        return {
            "tokens": tokens_BL,
            "prompts": np.array([len(ids) for ids in self.prompts], np.int32),
            "lengths": np.array([len(ids) for ids in self.drawn], np.int32),
        }


def row_length(prompts: Sequence[np.ndarray], new_tokens: int) -> int:
    """L for rows of these prompts: one shape for the whole run, so that it is compiled once."""
    return -(-(max(map(len, prompts)) + new_tokens) // COLUMNS) * COLUMNS


class Mix:
    """Which problems an iteration asks: each family has its share of the prompts, and goes round its problems.

    Args:
        problems: all, of one or more families.
        shares: family to its weight; empty, all problems are alike. A family that is not named is not asked.
        prompts: G.
        seed: of the order, which is another each time round.

    Attributes:
        counts: prompts of an iteration by family ("" for all problems together).

    Raises:
        UserError: there are no problems, a share names a family without any, or is no positive number.
    """

    def __init__(self, problems: Sequence[Problem], shares: Mapping[str, float], prompts: int, seed: int) -> None:
        if not problems:
            raise UserError("there are no problems to train on", "give at least one")
        families: dict[str, list[Problem]] = {}
        for one in problems:
            families.setdefault(one.family if shares else "", []).append(one)
        for family, share in shares.items():
            if family not in families:
                raise unknown("family in shares", family, sorted(families))
            if not 0 < share < float("inf"):
                raise UserError(f"the share of family {family!r} is {share!r}", "give a number above 0")
        self._problems, self._seed = families, seed
        self.counts = _parts(prompts, dict(shares) or {"": 1.0})

    def of(self, iteration: int) -> list[tuple[Problem, int]]:
        """An iteration's problems, each with the number of times that the iteration has it before."""
        found: list[tuple[Problem, int]] = []
        for family, count in self.counts.items():
            problems, times = self._problems[family], dict[str, int]()
            for at in range(iteration * count, (iteration + 1) * count):
                turn, place = divmod(at, len(problems))
                one = problems[self._order(family, turn, len(problems))[place]]
                times[one.id] = times.get(one.id, -1) + 1
                found.append((one, times[one.id]))
        return found

    def _order(self, family: str, turn: int, count: int) -> np.ndarray:
        return np.random.default_rng(seed_of(self._seed, "order", family, turn)).permutation(count)


def _parts(whole: int, shares: Mapping[str, float]) -> dict[str, int]:
    """A whole number in parts by their shares, the largest remainders first; none is left without one."""
    total = sum(shares.values())
    exact = {name: whole * share / total for name, share in shares.items()}
    counts = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: counts[name] - exact[name])
    for name in by_remainder[: whole - sum(counts.values())]:
        counts[name] += 1
    if empty := [name for name, count in counts.items() if not count]:
        raise UserError(
            f"family {empty[0]!r} has none of the {whole} prompts of an iteration",
            "raise its share, or PolicyConfig.prompts",
        )
    return counts


def draw_samples(
    model: LoadedLM,
    asked: Sequence[tuple[Problem, int]],
    reward: Reward,
    *,
    samples: int,
    sampling: Sampling,
    new_tokens: int,
    seed: int,
    iteration: int,
) -> Samples:
    """Samples a policy by the shared sampler, and rewards what it wrote.

    Args:
        model: the policy and its codec.
        asked: problems, each with a number that tells it from the same one in this iteration.
        reward: of a completion.
        samples: S of each.
        sampling: how they are drawn.
        new_tokens: N.
        seed: of the run; a sample's is made of (seed, iteration, problem, sample), as in `beam_jobs.rest_em.sample`.
        iteration: its number.

    Raises:
        UserError: a reward is not finite; names the problem.
    """
    ids = model.prompt_ids([one.prompt for one, _ in asked])
    numbers = [(problem, times * samples + s) for problem, times in asked for s in range(samples)]
    prompts = [one for one in ids for _ in range(samples)]
    drawn = sample(
        DecoderLM(model.model.config),
        model.model.params,
        prompts,
        [seed_of(seed, iteration, problem.id, number) for problem, number in numbers],
        slots=Slots(),
        new_tokens=new_tokens,
        sampling=sampling,
    )
    completions = [
        Completion(f"{problem.id}/{number}", model.text(tokens), len(tokens), finished)
        for (problem, number), tokens, finished in zip(numbers, drawn.tokens, drawn.finished, strict=True)
    ]
    rewards = np.zeros(len(numbers))
    for place, ((problem, _), one) in enumerate(zip(numbers, completions, strict=True)):
        rewards[place] = value = float(reward(problem, one))
        if not np.isfinite(value):
            raise UserError(f"the reward of problem {problem.id} is {value}", "give a finite number for every text")
    return Samples([one for one, _ in asked], completions, rewards.reshape(-1, samples), prompts, drawn.tokens)
