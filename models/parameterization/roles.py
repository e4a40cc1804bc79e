"""Which role each parameter of a network plays, told from what grows with its width, and how its first values shrink.

A parameter with two or more growing axes is hidden; with one, an embedding if it is the last axis (what comes out
grows) and a readout if it is the first (what goes in grows); biases and norms' scales are vectors; what does not grow
is fixed.
"""

import functools
import math
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp

from models.parameterization.exponents import ROLES
from models.parameterization.scaling import ALL_ROLES
from shammie.errors import UserError, unknown

Rules = Sequence[tuple[str, str]]
VECTORS = ("bias", "scale")  # what Flax calls them; of attention with several heads they have two axes
_DRAWN = 65_536  # first values of a parameter are drawn until there are so many, or _MOST_DRAWS times
_MOST_DRAWS = 16


def path_name(path: Any) -> str:
    """A parameter's place in its tree as "mlp_0/out/kernel"."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def roles_of(shapes: Any, shapes_at_other_width: Any, *, rules: Rules = ()) -> Any:
    """The role of each parameter, from the network's shapes at two widths.

    Args:
        shapes: the parameters at one width: a pytree of arrays or ShapeDtypeStructs (`jax.eval_shape`).
        shapes_at_other_width: the same at another width.
        rules: (regular expression, role) pairs that go before what shapes tell, the first one that is found in a
            parameter's path ("mlp_0/out/kernel") decides. A matrix that serves twice, such as a tied embedding, or is
            stored the other way round than its use, needs one.

    Returns:
        A pytree of "embedding", "hidden", "readout", "vector" or "fixed" in the parameters' structure.

    Raises:
        UserError: if trees differ in structure, nothing grows, a rule names an unknown role or matches nothing, or
            parameters cannot be told, which it lists.
    """
    for pattern, role in rules:
        if role not in ALL_ROLES:
            raise unknown("role", role, ALL_ROLES, f"in the rule for {pattern!r}")
    small, structure = jax.tree_util.tree_flatten_with_path(shapes)
    large, other = jax.tree_util.tree_flatten_with_path(shapes_at_other_width)
    if structure != other:
        names = sorted({path_name(path) for path, _ in small} ^ {path_name(path) for path, _ in large})
        raise UserError(
            f"the network has other parameters at another width: {', '.join(names[:8]) or 'their order'}",
            "give a network whose width changes the sizes of its parameters alone",
        )
    if sum(math.prod(leaf.shape) for _, leaf in small) > sum(math.prod(leaf.shape) for _, leaf in large):
        small, large = large, small
    roles, unclear, used = [], [], set()
    for (path, leaf), (_, at_other) in zip(small, large, strict=True):
        name = path_name(path)
        rule = next(((pattern, role) for pattern, role in rules if re.search(pattern, name)), None)
        used.add(rule and rule[0])
        roles.append(rule[1] if rule else _told(name, leaf.shape, at_other.shape))
        if roles[-1] is None:
            unclear.append(f"{name} {tuple(leaf.shape)} -> {tuple(at_other.shape)}")
    if unclear:
        first = re.escape(unclear[0].split(" ")[0])
        raise UserError(
            f"the roles of {len(unclear)} parameters cannot be told from their shapes: {', '.join(unclear)}",
            f"name them by rules such as rules=((r'{first}', 'hidden'),), roles are {', '.join(ALL_ROLES)}",
        )
    unused = [pattern for pattern, _ in rules if pattern not in used]
    if unused:
        known = ", ".join(path_name(path) for path, _ in small[:12])
        raise UserError(f"the rule {unused[0]!r} decides for no parameter", f"parameters are {known}")
    if all(leaf.shape == at_other.shape for (_, leaf), (_, at_other) in zip(small, large, strict=True)):
        raise UserError("no parameter grows with the width", "give a network that gets wider")
    return jax.tree.unflatten(structure, roles)


def _told(name: str, shape: tuple[int, ...], larger: tuple[int, ...]) -> str | None:
    """The role that two shapes tell, or None."""
    if len(shape) != len(larger) or any(a > b for a, b in zip(shape, larger, strict=True)):
        return None
    growing = [axis for axis, (a, b) in enumerate(zip(shape, larger, strict=True)) if a != b]
    if not growing:
        return "fixed"
    if len(shape) == 1 or name.rsplit("/", 1)[-1] in VECTORS:
        return "vector"
    if len(growing) > 1:
        return "hidden"
    return {0: "readout", len(shape) - 1: "embedding"}.get(growing[0])


def own_exponents(
    init: Callable[[int, jax.Array], Any], roles: Any, widths: tuple[int, int], *, key: jax.Array | None = None
) -> Any:
    """How a network's own first values shrink with its width: the exponents b of n^-b, as it draws them, by measure.

    Both widths are drawn a few times; the slope of the root mean squares is rounded to a multiple of 1/2.

    Args:
        init: (width, key) to the parameters at that width; called under `jax.jit`.
        roles: as `roles_of` returns.
        widths: two small widths, the second at least twice the first.
        key: of the draws; None for one that is always the same, of a generator that compiles three times faster than
            Threefry.

    Returns:
        A pytree of Fractions in the structure of `roles`; 0 for vectors, fixed ones, and what starts at zero.

    Raises:
        UserError: if a slope is not near a multiple of 1/2; it lists them.
    """
    if not 0 < 2 * widths[0] <= widths[1]:
        raise UserError(f"the widths {widths[0]} and {widths[1]} are too near", "the second must be at least twice")
    key = jax.random.key(0, impl="unsafe_rbg") if key is None else key
    sizes = jax.tree.map(lambda leaf: leaf.size, jax.eval_shape(functools.partial(init, widths[0]), key))
    drawn = [size for size, role in zip(jax.tree.leaves(sizes), jax.tree.leaves(roles), strict=True) if role in ROLES]
    draws = min(_MOST_DRAWS, -(-_DRAWN // min(drawn, default=_DRAWN)))

    def mean_squares(width: int) -> Any:
        squares = jax.jit(lambda key: jax.tree.map(lambda x: jnp.mean(jnp.square(x)), init(width, key)))
        every = [jax.tree.map(float, squares(one)) for one in jax.random.split(key, draws)]
        return jax.tree.map(lambda *values: sum(values) / draws, *every)

    small, large = mean_squares(widths[0]), mean_squares(widths[1])
    unclear: list[str] = []

    def exponent(path: Any, role: str, before: float, after: float) -> Fraction:
        if role not in ROLES or before == after == 0.0:
            return Fraction(0)
        slope = (
            math.nan if 0.0 in (before, after) else -0.5 * math.log(after / before) / math.log(widths[1] / widths[0])
        )
        nearest = Fraction(round(2 * slope), 2) if math.isfinite(slope) else Fraction(0)
        if not abs(slope - nearest) < 0.2:
            unclear.append(f"{path_name(path)} ~ n^{-slope:.2f}")
        return nearest

    found = jax.tree_util.tree_map_with_path(exponent, roles, small, large)
    if unclear:
        raise UserError(
            f"first values that shrink with the width as no multiple of 1/2: {', '.join(unclear)}",
            "draw them by fan-in, by a constant, or give own= yourself",
        )
    return found
