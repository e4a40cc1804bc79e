"""Models as bytes: there and back, the same bytes each time, and refused where they are not what they say."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from models.composition.diffusion_config import ConditionConfig
from models.composition.trained import TrainedDiffusion
from shammie.errors import UserError
from tests.models.composition.toys import UNET, params_of

CONFIG = replace(UNET, condition=ConditionConfig("words", 5, 3, width=4))


def trained() -> TrainedDiffusion:
    return TrainedDiffusion(CONFIG, params_of(CONFIG), {"data": "ring", "steps": 3})


def test_there_and_back() -> None:
    data = trained().to_bytes()
    assert data == trained().to_bytes()
    again = TrainedDiffusion.from_bytes(data, "model.bin")
    assert again.config == CONFIG
    assert again.made_with == {"data": "ring", "steps": 3}
    for a, b in zip(jax.tree.leaves(again.params), jax.tree.leaves(trained().params), strict=True):
        np.testing.assert_array_equal(a, b)
    assert again.to_bytes() == data
    assert again.density(np.array([1, 2, 0]), "red").name == "red"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda data: b"{}", "model.bin is not a diffusion model: KeyError"),
        (lambda data: data[:-3], "model.bin is damaged"),
        (lambda data: data[:-3] + b"abc", "model.bin is damaged"),
        (lambda data: data.replace(b'"widths":[4,4]', b'"widths":[4,8]', 1), "model.bin: ['down_1_0']["),
        (lambda data: data.replace(b'"form":"dae"', b'"form":"da"', 1), "unknown form 'da'"),
    ],
)
def test_what_is_none_is_refused(spoil, words: str) -> None:
    data = trained().to_bytes()
    assert spoil(data) != data
    with pytest.raises(UserError) as caught:
        TrainedDiffusion.from_bytes(spoil(data), "model.bin")
    assert str(caught.value).startswith(words)
