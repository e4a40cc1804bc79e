"""Sources by name: what they draw, from which images, and whether that is what a model is of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.composition import sources
from models.composition.captions import LENGTH, WORDS
from models.composition.diffusion_config import ConditionConfig, DiffusionConfig
from models.composition.sources import Images, as_point, check_source, draw_image, source_of
from shammie.errors import UserError

POSITIONS = ConditionConfig("vector", 2)
CAPTIONS = ConditionConfig("words", len(WORDS), LENGTH)
PIXELS = np.array([0, 51, 102, 153, 204], np.uint8).reshape(5, 1, 1, 1)
IMAGES = Images(PIXELS, np.arange(5, dtype=np.int32), np.int32(2))


def unet(shape: tuple[int, int, int], condition: ConditionConfig) -> DiffusionConfig:
    return DiffusionConfig(shape=shape, network="unet", condition=condition, widths=(8,))


def test_images_are_drawn_from_their_split() -> None:
    keys = jax.random.split(jax.random.key(0), 300)
    images = jax.tree.map(jnp.asarray, IMAGES)
    for held_out, due in ((False, [0, 1, 2]), (True, [3, 4])):
        x_BX, label_B = jax.vmap(lambda key: draw_image(key, images, jnp.array(held_out)))(keys)  # noqa: B023
        assert np.unique(label_B).tolist() == due
        np.testing.assert_allclose(x_BX[:, 0, 0, 0], np.asarray(label_B) * 0.4 - 1, atol=1e-6)
    np.testing.assert_array_equal(as_point(jnp.array([0.25])), [0.25])


@pytest.mark.parametrize(
    ("name", "shape", "condition"),
    [("scenes", (16, 16, 1), POSITIONS), ("scenes:8", (8, 8, 1), POSITIONS), ("captions", (16, 16, 3), CAPTIONS)],
)
def test_scenes_are_drawn(name: str, shape: tuple[int, int, int], condition: ConditionConfig) -> None:
    draw = source_of(name)
    check_source(unet(shape, condition), name, draw, ())
    x, _ = jax.jit(draw)(jax.random.key(0), (), jnp.array(False))
    assert x.shape == shape
    assert -1 <= float(x.min()) < float(x.max()) <= 1
    check_source(unet(shape, ConditionConfig()), name, draw, ())  # a model need not be told
    with pytest.raises(UserError, match=r"points of .* have shape"):
        check_source(unet((4, 4, 3), condition), name, draw, ())
    wrong = ConditionConfig("classes", 3)
    with pytest.raises(UserError, match=rf"a condition of {name} is \w+ \[\d\], but the model takes 'classes'"):
        check_source(unet(shape, wrong), name, draw, ())


def test_names() -> None:
    assert sources.is_streamed("clevr:x.npz")
    assert sources.is_streamed("tfds:imagenet_resized/64x64")
    assert sources.is_resident("digits")
    assert sources.is_resident("images:tfds:mnist")
    assert not any(test("ring") for test in (sources.is_streamed, sources.is_resident))
    for name, words in (
        ("rign", "unknown source 'rign'; did you mean ring?"),
        ("scenes:big", "unknown source 'scenes:big'; did you mean scenes?"),
        ("clevr:x.npz", "the images of clevr:x.npz come with the rows"),
    ):
        with pytest.raises(UserError) as caught:
            source_of(name)
        assert str(caught.value).startswith(words)
