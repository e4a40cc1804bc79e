"""A trained model as bytes: the same again, or one line that says why not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.lm import DecoderLM, LMConfig
from models.lm.artefact import TrainedLM
from shammie.errors import UserError

CONFIG = LMConfig(vocab_size=7, width=8, layers=1, heads=1, head_width=8, mlp_width=8)
PARAMS = DecoderLM(CONFIG).init(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]


def test_what_was_written_is_read() -> None:
    data = TrainedLM(CONFIG, jax.device_get(PARAMS), "abc").to_bytes()
    back = TrainedLM.from_bytes(data, made_with="abc")
    assert back.config == CONFIG
    jax.tree.map(np.testing.assert_array_equal, back.params, jax.device_get(PARAMS))
    assert back.to_bytes() == data


def test_other_ids_and_other_bytes_are_refused() -> None:
    data = TrainedLM(CONFIG, jax.device_get(PARAMS), "abc").to_bytes()
    with pytest.raises(UserError, match="reads ids of abc, not of xyz; use the codec or tokenizer"):
        TrainedLM.from_bytes(data, made_with="xyz")
    for wrong in (b"", b"{}\n", data[:-9], data.replace(b'"width"', b'"breadth"')):
        with pytest.raises(UserError, match=r"not a trained language model: .*; give the lm\.bin of a run"):
            TrainedLM.from_bytes(wrong)
