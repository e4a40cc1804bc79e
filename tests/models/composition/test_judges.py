"""Judges: right on scenes they have not seen, wrong on those of others, and sharp about distance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.composition.judges import JudgeConfig, kinds_in, kinds_seen, objects_at, questions, trained
from models.composition.scenes import COLOURED, GREY, scene
from shammie.errors import UserError


def made(config, count, many=None):
    one = lambda key: scene(key, config, many)  # noqa: E731
    return jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(7), count))


@pytest.fixture(scope="module")
def positions():
    config = JudgeConfig(steps=150)
    return config, *trained(config)


def test_the_judge_of_positions_is_right_on_held_out_scenes(positions):
    _, _, scores = positions
    assert scores["accuracy"] >= 0.97
    assert scores["recall"] >= 0.97
    assert scores["false_alarms"] <= 0.03


def test_all_objects_of_a_scene_are_found_and_those_of_others_are_not(positions):
    config, params, _ = positions
    scenes = made(GREY, 200, 5)
    found = objects_at(config, params, scenes.image_HWC, scenes.centre_N2)
    assert found.shape == (200, 5)
    assert np.mean(np.all(found, axis=1)) >= 0.97
    others = objects_at(config, params, jnp.roll(scenes.image_HWC, 1, axis=0), scenes.centre_N2)
    assert np.mean(others) < 0.4  # by chance: five discs of radius .09 cover .24 of where objects lie
    turned = objects_at(config, params, jnp.swapaxes(scenes.image_HWC, 1, 2), scenes.centre_N2)
    assert np.mean(turned) < 0.6  # x is not y


def test_images_that_are_no_scenes_hold_nothing(positions):
    """What a reverse process makes of many conditions is white all over; a judge of scenes alone found all in it."""
    config, params, scores = positions
    assert scores["spoilt_alarms"] < 0.25
    places = made(GREY, 200, 5).centre_N2
    white = jnp.clip(1.0 - 0.3 * jnp.abs(jax.random.normal(jax.random.key(1), (200, 16, 16, 1))), -1.0, 1.0)
    assert np.mean(objects_at(config, params, white, places)) < 0.1


def test_spoilt_images_are_as_many_as_asked_and_their_answer_is_no():
    config, key = JudgeConfig(), jax.random.key(3)
    (whole, at), here = questions(config, key, 400, 0.0)
    (images, same), told = questions(config, key, 400, 0.0, share=0.25)
    changed = np.abs(np.asarray(images - whole)).max(axis=(1, 2, 3)) > 0
    np.testing.assert_array_equal(at, same)
    assert 0.18 < changed.mean() < 0.32
    assert not np.asarray(told)[changed].any()
    np.testing.assert_array_equal(np.asarray(told)[~changed], np.asarray(here)[~changed])
    assert np.abs(np.asarray(images)).max() <= 1.0


def test_the_judge_is_sharp_about_distance(positions):
    config, params, _ = positions
    scenes = made(GREY, 300, 1)
    shifted = lambda far: scenes.centre_N2[:, :1] + far * jnp.array([[[0.8, 0.6]]])  # noqa: E731
    near = objects_at(config, params, scenes.image_HWC, shifted(0.05))
    far = objects_at(config, params, scenes.image_HWC, shifted(0.14))
    assert np.mean(near) > 0.95
    assert np.mean(far) < 0.05


def test_questions_are_answered_by_distance():
    config = JudgeConfig()
    key = jax.random.key(3)
    (_, asked), here = questions(config, key, 500, 0.0)
    scenes = jax.vmap(lambda key: scene(key, GREY))(jax.random.split(jax.random.split(key, 4)[0], 500))
    gaps = np.linalg.norm(np.asarray(scenes.centre_N2 - asked[:, None]), axis=-1)
    nearest = np.min(np.where(scenes.present_N, gaps, 9.0), axis=1)
    here = np.asarray(here)
    assert 0.4 < here.mean() < 0.65
    assert np.all(nearest[here] <= config.near + 1e-5)
    assert np.all(nearest[~here] >= config.far - 1e-5)


@pytest.mark.slow
def test_the_judge_of_captions_is_right_on_held_out_scenes():
    config = JudgeConfig(kind="captions")
    params, scores = trained(config)
    assert scores["accuracy"] >= 0.97
    scenes = made(COLOURED, 500)
    right = kinds_seen(config, params, scenes.image_HWC) == jax.vmap(kinds_in)(scenes)
    assert np.mean(np.all(right, axis=1)) >= 0.95


def test_judges_that_are_none_are_refused():
    with pytest.raises(UserError, match="unknown kind of judge 'colours'"):
        JudgeConfig(kind="colours")
    with pytest.raises(UserError, match=r"near and far are 0.2 and 0.1"):
        JudgeConfig(near=0.2, far=0.1)
