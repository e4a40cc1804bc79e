import jax
import jax.numpy as jnp
import numpy as np
import pytest

from beam_jobs.inference.lm_handler import LoadedLM
from models.equal_info.plain import BytesCodec
from models.lm import DecoderLM, LMConfig
from models.lm.artefact import TrainedLM
from workflows import adversarial_arithmetic_perplexity as perplexities


@pytest.fixture(scope="module")
def model() -> LoadedLM:
    network = LMConfig(vocab_size=258, width=16, layers=1, heads=1, head_width=16, mlp_width=16, max_distance=8)
    params = DecoderLM(network).init(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]
    params = jax.tree.map(lambda x: 3.0 * x, params)
    return LoadedLM(TrainedLM(network, params, BytesCodec().fingerprint), BytesCodec())


def test_texts_are_scored_behind_what_is_given_as_one_by_one(model: LoadedLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of several lengths, padded and in batches, against the network on each sequence alone."""
    monkeypatch.setattr(perplexities, "ROWS", 2)
    given = ["What is 3 + 4? ", "Q ", "What is 12 + 40? Well, ", "Q "]
    texts = ["It is 9.", "No.", "x" * 40, "It is 9."]
    found = perplexities.log_probabilities(model, given, texts)
    for head, text, scored in zip(given, texts, found, strict=True):
        (ids,) = model.prompt_ids([head + text])  # bytes: the codes of a whole are those of its parts
        logits = DecoderLM(model.model.config).apply({"params": model.model.params}, jnp.asarray(ids)[None])
        own = jax.nn.log_softmax(jnp.asarray(logits)[0].astype(jnp.float32))
        expected = [float(own[at - 1, ids[at]]) for at in range(len(ids) - len(text), len(ids))]
        np.testing.assert_allclose(scored, expected, rtol=1e-4, atol=1e-4)
    assert np.abs(found[0] - found[3]).max() > 1e-3  # what is given counts
