"""What guidance and tapestries of `composition` are made of: the guided density, the judge, the windows."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.composition.classifier import features_of, log_probability
from models.composition.diffusion import first_variables, output
from models.composition.diffusion_config import ConditionConfig, DiffusionConfig
from models.composition.schedule import NoiseSchedule
from models.composition.trained import TrainedDiffusion
from shammie.errors import UserError
from workflows import composition_digits as digits

SCHEDULE = NoiseSchedule(levels=4)
SMALL: dict[str, Any] = {"network": "unet", "schedule": SCHEDULE, "widths": (4,), "blocks": 1, "groups": 2}


def _trained(form: Any, condition: ConditionConfig, seed: int) -> TrainedDiffusion:
    """A model with random parameters in every layer, also in those that begin as zeros."""
    config = DiffusionConfig((4, 4, 1), form, condition=condition, **SMALL)
    params = first_variables(config, jax.random.key(seed))["params"]
    keys = iter(jax.random.split(jax.random.key(seed + 1), len(jax.tree.leaves(params))))
    return TrainedDiffusion(config, jax.tree.map(lambda x: 0.3 * jax.random.normal(next(keys), x.shape), params), {})


MODEL = _trained("dae", ConditionConfig(), 0)
GUIDE = _trained("classifier", ConditionConfig("classes", 3), 7)


def test_a_guided_model_is_the_model_times_a_power_of_the_classifier() -> None:
    x, label = jax.random.normal(jax.random.key(3), (4, 4, 1)), jnp.asarray(2)
    params = {"model": MODEL.params, "guide": GUIDE.params}
    guided = digits.guided_density(MODEL, GUIDE, params, label, 2.5)
    told = 2.5 * log_probability(GUIDE.config, GUIDE.params, x, 1, label)
    assert abs(told) > 0.1
    np.testing.assert_allclose(guided.log_density(x, 1), MODEL.density().log_density(x, 1) + told, rtol=1e-5)


def test_features_are_what_the_last_layer_reads() -> None:
    x_BHWC = jax.random.normal(jax.random.key(4), (5, 4, 4, 1))
    features_BF, logits_BC = features_of(GUIDE.config, GUIDE.params, x_BHWC)
    np.testing.assert_allclose(logits_BC, output(GUIDE.config, GUIDE.params, x_BHWC, jnp.zeros(5, int)), rtol=1e-5)
    last = GUIDE.params["out"]
    np.testing.assert_allclose(features_BF @ last["kernel"] + last["bias"][None], logits_BC, rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="'dae' has no features"):
        features_of(MODEL.config, MODEL.params, x_BHWC)


def test_a_judge_says_whether_its_likeliest_label_is_the_wished_one() -> None:
    images = jax.random.normal(jax.random.key(5), (32, 4, 4, 1))
    mean_C = jnp.mean(features_of(GUIDE.config, GUIDE.params, images)[1], axis=0)
    out = {**GUIDE.params["out"], "bias": GUIDE.params["out"]["bias"] - mean_C}  # or one label always wins
    judge = TrainedDiffusion(GUIDE.config, {**GUIDE.params, "out": out}, {})
    labels_N = np.asarray(features_of(judge.config, judge.params, images)[1]).argmax(axis=1)
    x_NX = np.asarray(images)
    assert len(set(labels_N)) > 1
    assert digits.judged(judge, x_NX, labels_N)[1].all()
    np.testing.assert_array_equal(digits.judged(judge, x_NX, np.ones(32))[1], labels_N == 1)


def test_each_window_is_judged_by_its_own_label(monkeypatch: pytest.MonkeyPatch) -> None:
    corners = ((0, 0, 0), (0, 3, 0), (2, 1, 0))
    canvas_NX = np.linspace(-1, 1, 2 * 6 * 7).reshape(2, 6, 7, 1)
    windows = [canvas_NX[:, y : y + 4, x : x + 4] for y, x, _ in corners]
    seen: list[tuple[np.ndarray, np.ndarray]] = []

    def judged(judge: Any, x_NX: np.ndarray, wished_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        seen.append((x_NX, wished_N))
        return x_NX, wished_N == 1

    monkeypatch.setattr(digits, "judged", judged)
    wished_NW = np.array([[0, 1, 2], [1, 1, 0]])
    np.testing.assert_array_equal(digits._judged_windows(GUIDE, canvas_NX, wished_NW, corners), wished_NW == 1)
    for (x_NX, wished_N), window, place in zip(seen, windows, range(3), strict=True):
        np.testing.assert_array_equal(x_NX, window)
        np.testing.assert_array_equal(wished_N, wished_NW[:, place])


def test_the_first_images_of_each_label_are_kept_for_the_page() -> None:
    x_NX = np.arange(6.0).reshape(6, 1, 1, 1)
    kept = digits._some_of_each(x_NX, np.array([1, 0, 1, 1, 1, 1]), 2).reshape(2, digits.SHOWN)
    np.testing.assert_array_equal(kept, [[1, -1, -1, -1], [0, 2, 3, 4]])
