"""The coordinate check, alignment and what epsilon swallows, measured on small trainings."""

import math

import numpy as np
import pytest

from models.parameterization.coordinates import EPSILON_POWERS, Observed, observe
from models.parameterization.grid import Shape, Training
from models.parameterization.group_training import losses_of
from models.parameterization.scaling import ParameterizationConfig
from models.parameterization.text import text_digest
from shammie.errors import UserError

WIDTHS = (64, 256)
LAYERS = ["embedding", "hidden_0", "hidden_1", "readout"]


def _observed(
    name: str, alignment: str, width: int, at_steps: tuple[int, ...] = (1,), optimizer: str = "adam"
) -> Observed:
    shape = Shape(width=width, optimizer=optimizer, steps=4, schedule="constant", warmup_steps=1)
    scaled = ParameterizationConfig(name, optimizer, alignment, WIDTHS[0])
    return observe(Training(shape, scaled, -9.0 if optimizer == "adam" else -3.0, 0, text_digest()), at_steps)


def _slopes(column: str, name: str, alignment: str, optimizer: str = "adam") -> np.ndarray:
    small, large = (getattr(_observed(name, alignment, width, optimizer=optimizer), column) for width in WIDTHS)
    return np.log2(large / small) / math.log2(WIDTHS[1] / WIDTHS[0])


@pytest.mark.parametrize("name", ["standard", "ntk", "mup", "mean_field"])
def test_a_first_step_moves_every_layer_alike_under_full_alignment_and_not_under_none(name: str) -> None:
    np.testing.assert_allclose(_slopes("alone_rms_L", name, "full"), 0, atol=0.1)
    # a first step is aligned with its batch in full: rates for none must fail here, by the root of the width
    np.testing.assert_allclose(_slopes("alone_rms_L", name, "none"), [0, 0.5, 0.5, 0.5], atol=0.1)


@pytest.mark.slow
def test_sgd_is_flat_too() -> None:
    np.testing.assert_allclose(_slopes("alone_rms_L", "standard", "full", optimizer="sgd"), 0, atol=0.15)


@pytest.mark.parametrize(("name", "logits"), [("standard", 0.0), ("mean_field", -0.5)])
def test_first_outputs_have_the_size_that_the_parameterization_says(name: str, logits: float) -> None:
    np.testing.assert_allclose(_slopes("output_rms_L", name, "full"), [0, 0, 0, logits], atol=0.12)


def test_what_is_looked_at_is_the_training_that_is_run() -> None:
    shape = Shape(width=64, steps=4, schedule="constant", warmup_steps=1)
    cell = Training(shape, ParameterizationConfig("mup", "adam", "full", 64), -6.0, 1, text_digest())
    found = observe(cell, (1, 2, 4))
    np.testing.assert_allclose(found.losses, losses_of([cell], "loop")[0], rtol=1e-4)
    assert (found.layers, found.steps) == (LAYERS, [1, 2, 4])
    assert found.parameters == ["embedding/table", "hidden_0/kernel", "hidden_1/kernel", "readout/kernel"]
    # the first layer's own step is all that moves its output; those above move by what is below them too
    assert found.change_rms_SL[0, 0] == pytest.approx(found.alone_rms_L[0], rel=1e-5)
    assert (found.change_rms_SL[0, 1:] > found.alone_rms_L[1:]).all()
    assert (np.diff(found.change_rms_SL, axis=0) > 0).all()
    alignment = found.alignment["alignment"]
    assert alignment.shape == (3, 4)
    assert np.isnan(alignment[:, 0]).all()
    assert ((alignment[:, 1:] > 0.4) & (alignment[:, 1:] < 1)).all()
    assert (found.alignment["alpha"][0, 1:] > alignment[0, 1:]).all()


def test_shares_below_epsilon_rise_with_it_and_with_the_width_under_mean_field() -> None:
    small, large = (_observed("mean_field", "full", width).below_KE for width in WIDTHS)
    assert small.shape == (4, len(EPSILON_POWERS))
    assert (np.diff(small, axis=1) >= 0).all()
    assert (small[:, 0] == 0).all()  # entries without any gradient are no small ones
    assert (small[:, -1] == 1).all()
    assert (large[1] >= small[1]).all()
    assert (large[1] > small[1]).any()


@pytest.mark.slow
def test_sgd_has_no_epsilon() -> None:
    assert _observed("mean_field", "full", WIDTHS[0], optimizer="sgd").below_KE.shape == (4, 0)


@pytest.mark.parametrize("at_steps", [(), (0, 1), (2, 1), (1, 1), (5,)])
def test_steps_to_look_at_must_rise_within_the_training(at_steps: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="steps to look at are"):
        _observed("standard", "full", 64, at_steps)
