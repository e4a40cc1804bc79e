"""Scenes: objects lie where they are said to, apart from each other, and captions tell the truth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.composition.captions import FIRST_RELATION, RELATIONS, objects_of, text_of, words_of
from models.composition.judges import kinds_in
from models.composition.scenes import COLOURED, GREY, SceneConfig, captioned_scene, drawn, position_scene, scene
from shammie.errors import UserError

SHAPES = 3


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


@pytest.fixture(scope="module")
def grey():
    return jax.device_get(jax.jit(jax.vmap(lambda key: scene(key, GREY)))(keys(2000)))


def test_objects_keep_apart_from_each_other_and_from_the_sides(grey):
    gaps = np.linalg.norm(grey.centre_N2[:, :, None] - grey.centre_N2[:, None], axis=-1) + 9.0 * np.eye(5)
    both = grey.present_N[:, :, None] & grey.present_N[:, None]
    assert np.mean(np.min(np.where(both, gaps, 9.0), axis=(1, 2)) < GREY.apart) < 0.005
    assert grey.centre_N2.min() >= GREY.margin
    assert grey.centre_N2.max() <= 1 - GREY.margin


def test_every_number_of_objects_is_as_likely_and_those_present_come_first(grey):
    counts = grey.present_N.sum(axis=1)
    shares = np.bincount(counts, minlength=6)[1:] / 2000
    np.testing.assert_allclose(shares, 0.2, atol=0.04)  # 4.5 standard errors
    np.testing.assert_array_equal(grey.present_N, np.arange(5)[None] < counts[:, None])


def test_images_have_objects_at_their_centres_and_ground_elsewhere(grey):
    at = (np.arange(16) + 0.5) / 16
    places = np.stack(np.meshgrid(at, at), axis=-1)  # [H, W, 2], x and y
    gaps = np.linalg.norm(places[None, :, :, None] - grey.centre_N2[:, None, None], axis=-1)
    nearest = np.min(np.where(grey.present_N[:, None, None], gaps, 9.0), axis=-1)
    image = grey.image_HWC[..., 0]
    assert np.all(image[nearest < 0.04] == 1.0)
    assert np.all(image[nearest > 0.24] == -1.0)
    assert np.all(np.abs(image) <= 1.0)


def test_shapes_have_their_form_and_about_the_same_area():
    config = SceneConfig(size=64, objects=1)
    one = lambda shape: drawn(  # noqa: E731
        config, jnp.full((1, 2), 0.5), jnp.array([shape]), jnp.zeros(1, jnp.int32), jnp.ones(1, bool)
    )
    disc, square, triangle = (np.asarray(one(shape))[..., 0] * 0.5 + 0.5 for shape in range(SHAPES))
    assert disc.mean() == pytest.approx(np.pi * 0.12**2, rel=0.01)
    assert square.mean() == pytest.approx((2 * 0.12 / 1.1) ** 2, rel=0.01)
    for image in (disc, square, triangle):
        assert 0.7 < image.mean() / disc.mean() < 1.3
        np.testing.assert_allclose(image, image[:, ::-1], atol=1e-5)  # all are symmetric from left to right
    rows = triangle.sum(axis=1)
    assert rows[:32].sum() < rows[32:].sum()  # wider at the foot
    assert np.all(np.diff(rows[(rows > 0.5)][:-2]) > -1e-4)


def test_a_position_is_one_object_of_its_scene_and_each_as_likely():
    image, position = jax.device_get(jax.jit(jax.vmap(position_scene))(keys(2000, 1)))
    assert image.shape == (2000, 16, 16, 1)
    pixel = np.clip((position * 16).astype(int), 0, 15)
    assert np.all(image[np.arange(2000), pixel[:, 1], pixel[:, 0], 0] > 0.5)  # not at (y, x)
    assert position[:, 0].mean() == pytest.approx(0.5, abs=0.025)


def test_captions_tell_the_truth():
    def both(key):
        _, words = captioned_scene(key)
        return words, scene(jax.random.split(key, 4)[0], COLOURED)

    words_BL, scenes = jax.device_get(jax.jit(jax.vmap(both))(keys(100)))
    kinds_B2, named_B2 = jax.device_get(jax.vmap(objects_of)(words_BL))
    there_BC = jax.device_get(jax.vmap(kinds_in)(scenes))
    assert np.all(np.take_along_axis(there_BC, kinds_B2, axis=1)[named_B2])
    kind_BN = np.where(scenes.present_N, scenes.colour_N * SHAPES + scenes.shape_N, -1)
    for words, kinds, kind_N, centre_N2 in zip(words_BL, kinds_B2, kind_BN, scenes.centre_N2, strict=True):
        if words[2]:
            relation = RELATIONS[int(words[2]) - FIRST_RELATION]
            axis, sign = {"above": (1, -1), "below": (1, 1), "left-of": (0, -1), "right-of": (0, 1)}[relation]
            first, second = (centre_N2[kind_N == kind, axis] * sign for kind in kinds)
            assert (first[:, None] - second[None]).max() > 0


def test_captions_are_of_one_object_or_of_two():
    _, words = jax.device_get(jax.jit(jax.vmap(captioned_scene))(keys(2000, 2)))
    long = words[:, 2] > 0
    assert np.mean(long) == pytest.approx(1 / 2, abs=0.04)  # all scenes have two
    assert np.all(words[~long, 2:] == 0)
    assert np.all(words[:, :2] > 0)
    assert np.all(words[long] > 0)


def test_colours_are_those_said():
    made = jax.device_get(jax.jit(jax.vmap(lambda key: scene(key, COLOURED, 1)))(keys(200, 3)))
    pixel = (made.centre_N2[:, 0] * 16).astype(int)
    middle = made.image_HWC[np.arange(200), pixel[:, 1], pixel[:, 0]]
    np.testing.assert_array_equal(middle, np.eye(3)[made.colour_N[:, 0]] * 2 - 1)


def test_words_and_text_are_each_others_inverse():
    for text in ("red disc", "blue square above green disc", "green triangle left-of green triangle"):
        assert text_of(words_of(text)) == text
    assert words_of("red disc").tolist() == [1, 4, 0, 0, 0]


@pytest.mark.parametrize("text", ["", "red", "disc red", "red disc above", "red disc near blue disc", "pink disc"])
def test_what_is_no_caption_is_refused(text):
    with pytest.raises(UserError, match="no caption of a scene") as caught:
        words_of(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "shown"),
    [({"size": 2}, "size is 2"), ({"fewest": 6}, "6 to 5 objects"), ({"fewest": 0}, "0 to"), ({"margin": 0.5}, "0.5")],
)
def test_scenes_that_are_none_are_refused(wrong, shown):
    with pytest.raises(UserError, match=shown):
        SceneConfig(**wrong)
