"""Where training points come from, by name: drawn on the spot from a key, or from images that lie on the device.

    ring, bar, left_bar, right_bar, box, inner_box   the plane's components (`plane`)
    scenes, captions, scenes:PIXELS, captions:PIXELS  scenes of shapes, by position or caption (`scenes`)
    digits, images:WHERE                             labelled images, all on the device: `Images` of their loader
    clevr:FILE, tfds:NAME                            images that come with the rows; there is nothing to draw

X = shape of a point, M = images, B = batch.
"""

import importlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from models.composition.conditions import condition_spec
from models.composition.denoising import Draw
from models.composition.diffusion_config import DiffusionConfig
from shammie.errors import UserError, unknown

PLANES = ("ring", "bar", "left_bar", "right_bar", "box", "inner_box")
SCENES: Mapping[str, str] = {"scenes": "position_scene", "captions": "captioned_scene"}
DIGITS, IMAGES = "digits", "images:"
CLEVR, TFDS = "clevr:", "tfds:"
STREAMED = (CLEVR, TFDS)


class Images(NamedTuple):
    """Labelled images that lie on the device: those of training first, then those held out.

    Attributes:
        x_MX: uint8, or float32 from -1 to 1.
        condition_M: of each, a pytree of arrays [M, …]; None without.
        held_out: how many are, int32 [].
    """

    x_MX: Any
    condition_M: Any
    held_out: Any


def is_streamed(name: str) -> bool:
    """Whether a source's images come with the rows, because they are too many to lie on a device."""
    return name.startswith(STREAMED)


def is_resident(name: str) -> bool:
    """Whether a source draws from `Images`."""
    return name == DIGITS or name.startswith(IMAGES)


def source_of(name: str) -> Draw:
    """The function that draws a point: (key, resident, whether held out, bool []) to the point [X] and its condition.

    Args:
        name: see above; `resident` is `Images` for labelled images, and is not read by the others.

    Raises:
        UserError: no such source, or one without anything to draw.
    """
    if is_resident(name):
        return draw_image
    if is_streamed(name):
        raise UserError(f"the images of {name} come with the rows", "train on them by workflows.composition_training")
    if name in PLANES:
        plane = importlib.import_module("models.composition.plane")
        return lambda key, resident, held_out: (plane.draw(name, key), None)
    kind, _, pixels = name.partition(":")
    if kind in SCENES and (pixels.isdigit() or name == kind):
        scenes = importlib.import_module("models.composition.scenes")
        draw, config = getattr(scenes, SCENES[kind]), {"scenes": scenes.GREY, "captions": scenes.COLOURED}[kind]
        config = replace(config, size=int(pixels)) if pixels else config
        return lambda key, resident, held_out: draw(key, config)
    known = [*PLANES, *SCENES, DIGITS]
    raise unknown("source", name, known, f"or {IMAGES}FOLDER, {CLEVR}FILE.npz, {TFDS}NAME")


def draw_image(key: jax.Array, images: Images, held_out: jax.Array) -> tuple[jax.Array, Any]:
    """An image, float32 [X] from -1 to 1, and its condition."""
    count = images.x_MX.shape[0]
    trained = count - images.held_out
    first, many = jnp.where(held_out, trained, 0), jnp.where(held_out, images.held_out, trained)
    place = first + jax.random.randint(key, (), 0, many)
    at = lambda leaf: jnp.asarray(leaf)[place]  # noqa: E731
    return as_point(at(images.x_MX)), jax.tree.map(at, images.condition_M)


def as_point(image: jax.Array) -> jax.Array:
    """Bytes as numbers from -1 to 1; what is float already stays."""
    return image.astype(jnp.float32) / 127.5 - 1.0 if image.dtype == jnp.uint8 else image


def check_source(config: DiffusionConfig, name: str, draw: Draw, resident: Any) -> None:
    """Raises UserError where what is drawn is not what a model is of; nothing is computed."""
    key, held_out = jax.eval_shape(lambda: (jax.random.key(0), jnp.zeros((), bool)))
    x, condition = jax.eval_shape(draw, key, resident, held_out)
    check_example(config, name, x.shape, condition)


def check_example(config: DiffusionConfig, name: str, shape: tuple[int, ...], condition: Any) -> None:
    """Raises UserError where an example is not what a model is of.

    Args:
        config: the model.
        name: of the data.
        shape: of a point.
        condition: shapes and types of its condition; None without.
    """
    if tuple(shape) != config.shape:
        raise UserError(f"points of {name} have shape {tuple(shape)}, the model's {config.shape}", "change model.shape")
    told = None if condition is None else (tuple(condition.shape), jnp.dtype(condition.dtype))
    wanted = condition_spec(config.condition)
    if wanted is not None and told != wanted:
        shown = "none" if told is None else f"{told[1]} {list(told[0])}"
        raise UserError(
            f"a condition of {name} is {shown}, but the model takes {config.condition.kind!r}, {wanted[1]}"
            f" {list(wanted[0])}",
            "change model.condition",
        )
