"""Captions of scenes: "red disc", "blue square above green disc", as ids of a closed vocabulary. L = words."""

import jax
import jax.numpy as jnp
import numpy as np

from shammie.errors import UserError

COLOURS = ("red", "green", "blue")
SHAPES = ("disc", "square", "triangle")
RELATIONS = ("above", "below", "left-of", "right-of")
WORDS = ("", *COLOURS, *SHAPES, *RELATIONS)  # a word's id is its place; 0 is padding
LENGTH = 5  # words of the longest caption: colour, shape, relation, colour, shape
FIRST_COLOUR, FIRST_SHAPE, FIRST_RELATION = (WORDS.index(kind[0]) for kind in (COLOURS, SHAPES, RELATIONS))


def caption(
    colour: jax.Array,
    shape: jax.Array,
    centre_2: jax.Array,
    other_colour: jax.Array,
    other_shape: jax.Array,
    other_centre_2: jax.Array,
) -> jax.Array:
    """The caption of two objects, int32 [L]; its first two words alone are that of the first.

    Args:
        colour: of the first object, int32 [], a place in COLOURS.
        shape: a place in SHAPES.
        centre_2: x to the right, y down.
        other_colour: of the second object.
        other_shape: likewise.
        other_centre_2: likewise.
    """
    right, down = centre_2 - other_centre_2
    relation = jnp.where(jnp.abs(down) >= jnp.abs(right), jnp.where(down < 0, 0, 1), jnp.where(right < 0, 2, 3))
    first = (FIRST_COLOUR + colour, FIRST_SHAPE + shape)
    second = (FIRST_COLOUR + other_colour, FIRST_SHAPE + other_shape)
    return jnp.stack([*first, FIRST_RELATION + relation, *second]).astype(jnp.int32)


def words_of(text: str) -> np.ndarray:
    """The ids of a caption, int32 [L], padded with 0.

    Raises:
        UserError: it is no caption of this vocabulary.
    """
    words = text.split()
    kinds = (COLOURS, SHAPES, RELATIONS, COLOURS, SHAPES)
    known = all(word in kind for word, kind in zip(words, kinds, strict=False))
    if len(words) not in (2, LENGTH) or not known:
        raise UserError(
            f"{text!r} is no caption of a scene",
            f"write such as 'red disc' or 'blue square above green disc', of {', '.join(WORDS[1:])}",
        )
    ids = [WORDS.index(word) for word in words]
    return np.array(ids + [0] * (LENGTH - len(ids)), np.int32)


def text_of(words_L: np.ndarray) -> str:
    """The caption of some ids, int32 [L]."""
    return " ".join(WORDS[int(word)] for word in words_L if word)


def objects_of(words_L: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The one or two objects that a caption names.

    Args:
        words_L: int32 [L].

    Returns:
        kinds: int32 [2], colour * len(SHAPES) + shape of each.
        named: bool [2]; False where there is no second.
    """
    places = jnp.array([0, 3])
    colour, shape = words_L[places] - FIRST_COLOUR, words_L[places + 1] - FIRST_SHAPE
    named = words_L[places] > 0
    return jnp.where(named, colour * len(SHAPES) + shape, 0), named
