"""Scenes and captions composed: guidance as the algebra has it, wishes that can be met, outcomes that are counted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.composition import algebra
from models.composition.diffusion import density_of, first_variables
from models.composition.diffusion_config import ConditionConfig, DiffusionConfig
from models.composition.judges import JudgeConfig
from models.composition.sampler_config import SamplerConfig
from models.composition.schedule import NoiseSchedule
from shammie.errors import UserError
from workflows.composition_captions import CaptionSettings, Wish, cases_of, fulfilled
from workflows.composition_digits import NamedSampler
from workflows.composition_scenes import REAL, SceneSettings, accuracy_by, composed, wished_scenes
from workflows.composition_scenes_pictures import accuracy_figure, captions_figure, scenes_figure
from workflows.composition_training import DiffusionTrainConfig

POSITION = ConditionConfig("vector", size=2, width=4)
MODEL = DiffusionConfig(
    shape=(3,), form="l2", condition=POSITION, schedule=NoiseSchedule(levels=5), width=8, blocks=1, level_width=4
)
PLACES = jnp.array([[0.1, 0.9], [0.5, 0.5], [0.8, 0.3]])
X = jnp.array([0.3, -1.0, 0.7])


@pytest.fixture(scope="module")
def params():
    variables = first_variables(MODEL, jax.random.key(0))["params"]
    noise = iter(jax.random.split(jax.random.key(1), 100))
    return jax.tree.map(lambda x: x + 0.3 * jax.random.normal(next(noise), x.shape), variables)  # nothing is zero


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_composing_is_the_algebras_guidance(params, weight):
    free, given = density_of(MODEL, params), [density_of(MODEL, params, place) for place in PLACES]
    wished = algebra.guided(free, given, weight)
    found = composed(MODEL, params, PLACES, jnp.full(3, weight))
    for level in (0, 4):
        np.testing.assert_allclose(found.score(X, level), wished.score(X, level), rtol=2e-4, atol=1e-4)
        np.testing.assert_allclose(found.log_density(X, level), wished.log_density(X, level), rtol=1e-4)
    assert np.linalg.norm(found.score(X, 2) - free.score(X, 2)) > 0.1


def test_weights_of_nothing_leave_the_model_and_unwanted_conditions_divide(params):
    free, given = density_of(MODEL, params), [density_of(MODEL, params, place) for place in PLACES]
    nothing = composed(MODEL, params, PLACES, jnp.zeros(3))
    np.testing.assert_allclose(nothing.score(X, 1), free.score(X, 1), rtol=1e-5, atol=1e-5)
    one_not_two = composed(MODEL, params, PLACES, jnp.array([1.0, -0.5, 0.0]))
    by_hand = given[0] * (free / given[1]) ** 0.5
    np.testing.assert_allclose(one_not_two.score(X, 1), by_hand.score(X, 1), rtol=1e-4, atol=1e-4)


def test_wishes_are_where_the_objects_of_a_scene_lie():
    image, places = jax.device_get(wished_scenes(3, 40, 4))
    assert image.shape == (40, 16, 16, 1)
    assert places.shape == (40, 4, 2)
    pixel = (places * 16).astype(int)
    assert np.all(image[np.arange(40)[:, None], pixel[..., 1], pixel[..., 0], 0] > 0.5)
    again, other = jax.device_get(wished_scenes(3, 40, 4))[1], jax.device_get(wished_scenes(4, 40, 4))[1]
    np.testing.assert_array_equal(places, again)
    assert np.abs(places - other).min() > 0


def test_cases_are_padded_with_weights_of_nothing():
    wishes = (Wish(("red disc",), ("blue square",)), Wish(("red disc above blue disc", "green disc", "blue square")))
    words, weights = cases_of(wishes, 2, 1.5, 0.5)
    assert words.shape == (4, 3, 5)
    assert weights.tolist() == [[1.5, -0.5, 0.0]] * 2 + [[1.5, 1.5, 1.5]] * 2
    assert words[0, 1].tolist() == [3, 5, 0, 0, 0]
    assert words[2, 0].tolist() == [1, 4, 7, 3, 4]


def test_wishes_are_judged_by_all_that_is_wanted_and_any_that_is_not():
    red_disc, blue_square, blue_disc = 0, 7, 6
    kinds = np.zeros((4, 9), bool)
    kinds[0, [red_disc]] = kinds[1, [red_disc, blue_square]] = kinds[2, [blue_disc, red_disc]] = True
    wanted, unwanted = fulfilled(Wish(("red disc",), ("blue square", "blue disc")), kinds)
    assert wanted.tolist() == [True, True, True, False]
    assert unwanted.tolist() == [False, True, True, False]
    wanted, unwanted = fulfilled(Wish(("red disc above blue disc",)), kinds)
    assert wanted.tolist() == [False, False, True, False]
    assert not unwanted.any()


def test_a_wish_reads_as_people_say_it_and_a_wrong_one_is_refused():
    assert Wish(("red disc", "blue disc"), ("green disc",)).text == "red disc AND blue disc AND NOT green disc"
    with pytest.raises(UserError, match="no captions"):
        Wish((), ())
    with pytest.raises(UserError, match="'rad disc' is no caption"):
        Wish(("rad disc",))
    with pytest.raises(UserError, match="name one object"):
        Wish(("red disc",), ("red disc above blue disc",))


def test_settings_that_do_not_go_together_are_refused():
    run = DiffusionTrainConfig(model=MODEL, data="scenes", batch_size=2, steps=2)
    hmc = NamedSampler("hmc", SamplerConfig(), forms=("dae",))
    with pytest.raises(UserError, match=r"sampler hmc is for \('dae',\), none of \['l2'\]"):
        SceneSettings(models=(run,), samplers=(hmc,))
    with pytest.raises(UserError, match="different seeds"):
        SceneSettings(models=(run, run))
    with pytest.raises(UserError, match="conditions has 6"):
        SceneSettings(conditions=(6,))
    with pytest.raises(UserError, match="judge is of captions"):
        SceneSettings(judge=JudgeConfig(kind="captions"))
    with pytest.raises(UserError, match="judge is of positions"):
        CaptionSettings(judge=JudgeConfig())


def row(sampler, count, accuracy, seed=0):
    form = REAL if sampler == REAL else "dae"
    return {"form": form, "sampler": sampler, "conditions": count, "accuracy": accuracy, "seed": seed}


def test_pictures_show_what_they_are_given():
    rows = [row("hmc", count, 1.0 / (count + seed), seed) for count in (1, 3) for seed in (0, 1)] + [row(REAL, 1, 1.0)]
    assert accuracy_by(rows, "dae", "hmc") == {1: [1.0, 0.5], 3: [1 / 3, 0.25]}
    figure = accuracy_figure([*rows, row(REAL, 3, 0.9)])
    lines = {one.get_label(): one.lines[0].get_ydata() for one in figure.axes[0].containers}
    np.testing.assert_allclose(lines["hmc, dae"], [0.75, 7 / 24])
    np.testing.assert_allclose(lines["real scenes: the judge's ceiling"], [1.0, 0.9])

    image, places = jax.device_get(wished_scenes(0, 2, 3))
    figure = scenes_figure({"dae hmc 3": image, "wished 3": places}, ("dae", "hmc"), (3,))
    np.testing.assert_allclose(figure.axes[1].lines[0].get_xydata(), places[1], atol=1e-6)
    np.testing.assert_allclose(figure.axes[1].images[0].get_array(), image[1, ..., 0] * 0.5 + 0.5, atol=1e-6)

    told = {"form": "dae", "sampler": "hmc", "wish": "red disc AND NOT blue disc"}
    figure = captions_figure({"dae hmc 0": np.zeros((2, 16, 16, 3))}, [told])
    assert figure.axes[0].get_ylabel() == "red disc\nAND NOT blue disc"
