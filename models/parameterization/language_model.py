"""The shared language model by its width, and its parameters' roles."""

import functools
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp

from models.lm import DecoderLM, LMConfig
from models.parameterization.parameterized import Parameterized
from models.parameterization.roles import roles_of
from models.parameterization.scaling import ParameterizationConfig
from shammie.errors import UserError

# attention's `distance` [R, K] is added to keys of every head, so its sizes do not follow the width: fixed
OWN_EMBEDDING = Fraction(1, 2)  # DecoderLM draws its table from N(0, 1 / D)


def lm_of_width(
    width: int,
    head_width: int = 128,
    *,
    layers: int = 8,
    vocab_size: int = 32_101,
    mlp_width: int | None = None,
    max_distance: int = 128,
    dtype: str = "float32",
) -> LMConfig:
    """The sizes of a decoder of a width, the paper's family by default: heads of 128, 8 layers, MLPs of 8 D^2.

    Args:
        width: D, a multiple of the head width: more heads, not wider ones.
        head_width: K, the same at all widths.
        layers: blocks, the same at all widths.
        vocab_size: V.
        mlp_width: M; None gives the gated MLP, 3 D M, the size of the paper's plain one of F = 4 D, 2 D F: the whole
            number of a head's part nearest to 8/3 D, times heads (341 a head of 128).
        max_distance: R, of relative positions.
        dtype: of activations.

    Raises:
        UserError: for a width that is not a multiple of the head width.
    """
    if head_width < 1:
        raise UserError(f"the head width is {head_width}", "give at least 1")
    if width < 1 or width % head_width:
        below, above = width - width % head_width, width - width % head_width + head_width
        near = f"{below} or {above}" if below > 0 else f"{above}"
        raise UserError(
            f"the width {width} is not a multiple of the head width {head_width}", f"give {near}, or another head width"
        )
    heads = width // head_width
    return LMConfig(
        vocab_size=vocab_size,
        width=width,
        layers=layers,
        heads=heads,
        head_width=head_width,
        mlp_width=heads * round(head_width * 8 / 3) if mlp_width is None else mlp_width,
        max_distance=max_distance,
        dtype=dtype,  # pyright: ignore[reportArgumentType]
    )


def lm_shapes(config: LMConfig) -> Any:
    """The shapes of the decoder's parameters, a pytree of ShapeDtypeStructs; allocates nothing."""
    shapes: Any = jax.eval_shape(DecoderLM(config).init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32))
    return shapes["params"]


def lm_roles(config: LMConfig) -> Any:
    """The role of each of the decoder's parameters, a pytree of names in their structure."""
    return roles_of(_small_shapes(config.layers, 1), _small_shapes(config.layers, 2))


@functools.cache
def _small_shapes(layers: int, heads: int) -> Any:
    """Shapes of the smallest decoder of so many layers; roles depend on no other size."""
    width = 2 * heads
    return lm_shapes(LMConfig(3, width, layers, heads, head_width=2, mlp_width=width, max_distance=2))


def lm_own_exponents(roles: Any) -> Any:
    """How the decoder's own first values shrink: n^-1/2 for every matrix, its embedding too."""
    return jax.tree.map(
        lambda role: OWN_EMBEDDING if role in ("embedding", "hidden", "readout") else Fraction(0), roles
    )


def parameterized_lm(config: LMConfig, parameterization: ParameterizationConfig) -> Parameterized:
    """The decoder under a parameterization; its width is the residual stream's."""
    roles = lm_roles(config)
    return Parameterized(
        DecoderLM(config), parameterization, width=config.width, roles=roles, own=lm_own_exponents(roles)
    )
