"""How a target does on text of its corpus: the held-out reward of its training, and what hardening leaves of it."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from beam_jobs.inference.lm_handler import LoadedLM, answer
from beam_jobs.inference.requests import Generation, Group, Request
from models.adversarial_arithmetic.replies import number_in
from models.equal_info.load import AnyCodec
from models.lm import LMConfig
from models.lm.artefact import TrainedLM
from models.lm.decoding import Sampling
from models.lm.sampler import Slots
from models.rest_em.records import Problem

GREEDY = Sampling(temperature=0.0)


class Answers:
    """How many of some problems a model answers rightly, greedily: the mean over families of each one's share.

    Args:
        problems: with answers.
        model: the network.
        codec: of its ids.
    """

    def __init__(self, problems: Sequence[Problem], model: LMConfig, codec: AnyCodec) -> None:
        self._problems, self._model, self._codec = problems, model, codec

    def __call__(self, params: Any) -> float:
        """0 to 1."""
        shares = self.by_family(TrainedLM(self._model, params, self._codec.fingerprint))
        return sum(shares.values()) / len(shares)

    def by_family(self, model: TrainedLM) -> dict[str, float]:
        """The share of each family."""
        group = Group(0, tuple(Request(one.id, one.prompt, 0) for one in self._problems))
        said = answer(group, LoadedLM(model, self._codec), Generation(GREEDY, 8), Slots()).completions
        right: dict[str, list[bool]] = defaultdict(list)
        for problem, one in zip(self._problems, said, strict=True):
            right[problem.family].append(number_in(one.text) == int(problem.answer))
        return {family: sum(values) / len(values) for family, values in sorted(right.items())}
