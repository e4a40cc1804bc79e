"""How much attacks look like the corpus's own sentences: those that worked, others, random ones.

The perplexity of a text is that of its tokens under the language model that learned to write such texts, behind what it
is asked for them with (`corpus.instruction_for`; temperature 1). A target cannot tell: it is trained on answers alone
and finds every prompt unlikely. B = texts, L = tokens of a row, N = tokens of the longest text, V = vocabulary.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from beam_jobs.adversarial_arithmetic.search import ATTACKS, CANDIDATES
from beam_jobs.inference.lm_handler import LoadedLM, load_lm
from models.adversarial_arithmetic.corpus import instruction_for
from models.adversarial_arithmetic.measures import perplexity
from models.adversarial_arithmetic.questions import Question
from models.adversarial_arithmetic.records import Attack, Candidate
from models.lm import DecoderLM
from models.rest_em.records import read_records
from models.training.policy_gradient import next_log_probabilities, of_sampled
from shammie.files import join, write_json
from workflows.adversarial_arithmetic_steps import CODEC, LM, questions_in
from workflows.dag import Running

PERPLEXITIES = "perplexities.json"
ROWS = 64  # texts that are scored together
MULTIPLE = 32  # rows are as long as a multiple of this, so that little is compiled
MOST = 2000  # texts of each source
WORKED = "attacks that worked"


def log_probabilities(model: LoadedLM, given: Sequence[str], texts: Sequence[str]) -> list[np.ndarray]:
    """The log-probability of each text's tokens behind what is given; float32 [tokens] each, in nats.

    Args:
        model: that reads both.
        given: what stands before each text.
        texts: at least a token each.
    """
    heads = model.prompt_ids(given)
    tails = [ids[1:] for ids in model.prompt_ids(texts)]  # without the start
    network = DecoderLM(model.model.config)

    def score(params: Any, tokens_BL: jax.Array, prompts_B: jax.Array, most: int) -> jax.Array:
        log_p_BNV = next_log_probabilities(network, params, tokens_BL, prompts_B, new_tokens=most, temperature=1.0)
        return of_sampled(log_p_BNV, tokens_BL, prompts_B)

    compiled = jax.jit(score, static_argnums=3)
    found: list[np.ndarray] = [np.zeros(0, np.float32)] * len(texts)
    order = sorted(range(len(texts)), key=lambda at: len(heads[at]) + len(tails[at]))
    for start in range(0, len(order), ROWS):
        places = order[start : start + ROWS]
        length = max(len(heads[at]) + len(tails[at]) for at in places)
        tokens_BL = np.zeros((ROWS, -(-length // MULTIPLE) * MULTIPLE), np.int32)
        prompts_B = np.ones(ROWS, np.int32)
        for row, at in enumerate(places):
            both = np.concatenate([heads[at], tails[at]])
            tokens_BL[row, : len(both)], prompts_B[row] = both, len(heads[at])
        most = -(-max(len(tails[at]) for at in places) // MULTIPLE) * MULTIPLE
        scored_BN = np.asarray(compiled(model.model.params, jnp.asarray(tokens_BL), jnp.asarray(prompts_B), most))
        for row, at in enumerate(places):
            found[at] = scored_BN[row, : len(tails[at])]
    return found


def measure(running: Running) -> Mapping[str, Any]:
    """Writes perplexities.json: of each source of texts the median perplexity, and how many texts were scored."""
    asked = questions_in(running.input("questions"))
    model = load_lm(join(running.input("writer"), LM), join(running.input("corpus"), CODEC))
    worked = {one.id for one in read_records(join(running.input("attack"), ATTACKS), Attack)}
    groups: dict[str, list[Candidate]] = defaultdict(list)
    for word in ("attack", "controls"):
        for one in read_records(join(running.input(word), CANDIDATES), Candidate):
            if one.text.strip():
                groups[WORKED if one.id in worked else one.source].append(one)
    told = {}
    for source, them in sorted(groups.items()):
        them = sorted(them, key=lambda one: one.id)[:MOST]
        given = [_asked_for(asked[one.question], one) for one in them]
        scored = log_probabilities(model, given, [one.text for one in them])
        told[source] = {"median": median(perplexity(one.tolist()) for one in scored), "texts": len(them)}
    write_json(running.path(PERPLEXITIES), told)
    return {"texts": sum(one["texts"] for one in told.values())}


def _asked_for(question: Question, text: Candidate) -> str:
    wanted = question.answer if text.target is None else text.target
    return instruction_for(question.x, question.sign, question.y, wanted)
