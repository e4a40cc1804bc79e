"""Scenes of simple shapes, drawn on the spot: a stand-in for CLEVR that trains in minutes (arXiv:2302.11552, 5.2).

One to five discs, squares and triangles lie on a dark ground, apart from each other. A model of them is told the
position of one object, or a caption about one or two; what it never sees together, compositions of it should draw.
Positions are in [0, 1], x to the right and y down. H, W, C = an image's axes, N = objects at most, L = words.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from models.composition.captions import COLOURS, LENGTH, SHAPES, caption
from shammie.errors import UserError

CANDIDATES = 64  # places tried for an object
COLOUR_VALUES = np.eye(len(COLOURS), dtype=np.float32) * 2.0 - 1.0  # of the channels: red, green, blue


@dataclass(frozen=True)
class SceneConfig:
    """What scenes look like.

    Attributes:
        size: pixels of a side.
        coloured: whether objects are red, green or blue on three channels; else white on one.
        objects: the most in a scene.
        fewest: the fewest; all numbers from this one to `objects` are as likely.
        radius: of an object, a share of the side.
        apart: distance that centres keep from each other, where 64 tries suffice to find such places.
        margin: distance that centres keep from the sides.

    Raises:
        UserError: numbers that make no scene.
    """

    size: int = 16
    coloured: bool = False
    objects: int = 5
    fewest: int = 1
    radius: float = 0.12
    apart: float = 0.24
    margin: float = 0.14

    def __post_init__(self) -> None:
        if self.size < 4:
            raise UserError(f"SceneConfig.size is {self.size!r}", "give 4 pixels or more")
        if not 1 <= self.fewest <= self.objects:
            raise UserError(
                f"SceneConfig has {self.fewest} to {self.objects} objects", "give 1 or more, the fewest first"
            )
        if not (0 < self.radius < 0.5 and 0 <= self.margin < 0.5 and self.apart >= 0):
            raise UserError(
                f"SceneConfig.radius, margin and apart are {self.radius!r}, {self.margin!r} and {self.apart!r}",
                "give shares of the side: radius and margin below 0.5",
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """H, W and C of an image."""
        return (self.size, self.size, 3 if self.coloured else 1)


class Scene(NamedTuple):
    """A scene and what is in it.

    Attributes:
        image_HWC: float32, -1 the ground, 1 an object.
        centre_N2: x and y of each object.
        shape_N: its shape, int32, a place in `captions.SHAPES`.
        colour_N: its colour, int32, a place in `captions.COLOURS`; 0 where scenes have none.
        present_N: bool; where False there is no such object.
    """

    image_HWC: jax.Array
    centre_N2: jax.Array
    shape_N: jax.Array
    colour_N: jax.Array
    present_N: jax.Array


GREY = SceneConfig()
# two objects, so that a caption says much about a scene and one has room for what two captions wish
COLOURED = SceneConfig(coloured=True, objects=2, fewest=2, radius=0.2, apart=0.44, margin=0.22)


def scene(key: jax.Array, config: SceneConfig, count: jax.typing.ArrayLike | None = None) -> Scene:
    """A random scene.

    Args:
        key: all of it is made of this.
        config: what it looks like.
        count: how many objects, int32 []; None for a random number.
    """
    count_key, place_key, shape_key, colour_key = jax.random.split(key, 4)
    many = config.objects
    if count is None:
        count = jax.random.randint(count_key, (), config.fewest, many + 1)
    centre_N2 = _places(place_key, config)
    shape_N = jax.random.randint(shape_key, (many,), 0, len(SHAPES))
    colour_N = jax.random.randint(colour_key, (many,), 0, len(COLOURS) if config.coloured else 1)
    present_N = jnp.arange(many) < count
    return Scene(drawn(config, centre_N2, shape_N, colour_N, present_N), centre_N2, shape_N, colour_N, present_N)


def position_scene(key: jax.Array, config: SceneConfig = GREY) -> tuple[jax.Array, jax.Array]:
    """An image, float32 [H, W, C], and the position of one of its objects, float32 [2]."""
    scene_key, one_key = jax.random.split(key)
    made = scene(scene_key, config)
    one = jax.random.randint(one_key, (), 0, jnp.sum(made.present_N))  # those present come first
    return made.image_HWC, made.centre_N2[one]


def captioned_scene(key: jax.Array, config: SceneConfig = COLOURED) -> tuple[jax.Array, jax.Array]:
    """An image, float32 [H, W, C], and a caption about one or two of its objects, int32 [L]."""
    scene_key, first_key, second_key, about_key = jax.random.split(key, 4)
    made = scene(scene_key, config)
    count = jnp.sum(made.present_N)
    first = jax.random.randint(first_key, (), 0, count)
    second = (first + jax.random.randint(second_key, (), 1, jnp.maximum(count, 2))) % count
    both = jax.random.bernoulli(about_key) & (count > 1)
    described = [(made.colour_N[one], made.shape_N[one], made.centre_N2[one]) for one in (first, second)]
    words = caption(*described[0], *described[1])
    return made.image_HWC, jnp.where(both | (jnp.arange(LENGTH) < 2), words, 0)


def drawn(
    config: SceneConfig, centre_N2: jax.Array, shape_N: jax.Array, colour_N: jax.Array, present_N: jax.Array
) -> jax.Array:
    """The image of some objects, float32 [H, W, C]; edges are one pixel wide. Arguments as in `Scene`."""
    at = (jnp.arange(config.size) + 0.5) / config.size

    def cover(centre_2: jax.Array, shape: jax.Array, present: jax.Array) -> jax.Array:
        right, down = at[None, :] - centre_2[0], at[:, None] - centre_2[1]
        distances = (_disc(right, down), _square(right, down), _triangle(right, down))
        outside_HW = jnp.stack([distance - config.radius for distance in distances])[shape]
        return jnp.where(present, jnp.clip(0.5 - config.size * outside_HW, 0.0, 1.0), 0.0)

    cover_NHW = jax.vmap(cover)(centre_N2, shape_N, present_N)
    if not config.coloured:
        return (2.0 * jnp.max(cover_NHW, axis=0) - 1.0)[..., None]
    image_HWC = jnp.full(config.shape, -1.0)
    for one in range(config.objects):  # a later object covers an earlier one
        share_HW1 = cover_NHW[one][..., None]
        image_HWC = (1.0 - share_HW1) * image_HWC + share_HW1 * jnp.asarray(COLOUR_VALUES)[colour_N[one]][None, None]
    return image_HWC


def _places(key: jax.Array, config: SceneConfig) -> jax.Array:
    candidates = (config.objects, CANDIDATES, 2)
    tried_NK2 = jax.random.uniform(key, candidates, minval=config.margin, maxval=1.0 - config.margin)
    taken = [tried_NK2[0, 0]]
    for number in range(1, config.objects):
        gaps_KM2 = tried_NK2[number][:, None] - jnp.stack(taken)[None]
        nearest_K = jnp.min(jnp.sqrt(jnp.sum(gaps_KM2**2, axis=-1)), axis=1)
        # argmax finds the first that is far enough, or where none is the farthest
        taken.append(tried_NK2[number][jnp.argmax(jnp.minimum(nearest_K, config.apart))])
    return jnp.stack(taken)


# how far each pixel lies from a shape's centre, counted so that the shape of radius r is where that is r or less; all
# have about the same area
def _disc(right: jax.Array, down: jax.Array) -> jax.Array:
    return jnp.sqrt(right**2 + down**2)


def _square(right: jax.Array, down: jax.Array) -> jax.Array:
    return jnp.maximum(jnp.abs(right), jnp.abs(down)) * 1.1


def _triangle(right: jax.Array, down: jax.Array) -> jax.Array:
    lowered = down - 0.015
    sides = jnp.maximum(0.866 * jnp.abs(right) - 0.5 * lowered, lowered)
    return sides * 1.35
