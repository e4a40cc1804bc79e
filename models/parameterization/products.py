"""The matrix products of a network's parameters, found in what it computes: any Flax model, whatever its layers are."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend import core

from models.parameterization.roles import path_name

KERNEL = "/kernel"  # Flax's name of a layer's weights, left out of the layer's
# what leaves a parameter itself, but for its shape, type, place or a number that it is multiplied by
SAME = ("convert_element_type", "copy", "mul", "div", "neg", "reshape", "transpose", "squeeze", "broadcast_in_dim",
        "sharding_constraint", "stop_gradient")  # fmt: skip


class Product(NamedTuple):
    """A product of a parameter and what a network multiplies it with.

    Attributes:
        kernel: the parameter as it is multiplied: after multipliers and changes of its shape or type.
        x: what with.
        fan_in: numbers that each output is a sum over.
        of: (kernel, x) to the product, for others of the same shapes.
    """

    kernel: jax.Array
    x: jax.Array
    fan_in: int
    of: Callable[[jax.Array, jax.Array], jax.Array]


def products_of(function: Callable[[Any], Any], params: Any) -> dict[str, Product]:
    """Every matrix product and convolution of one parameter with something that is none.

    The function's operations are carried out one by one; where one of them multiplies a parameter, it is noted. Inside
    `jax.jit` the notes are traced too. Loops (`jax.lax.scan`, so `nn.scan`) and branches are carried out, not looked
    into.

    Args:
        function: of the parameters; its result does not matter.
        params: a pytree of arrays.

    Returns:
        The products in order, by the parameter's path ("mlp_0/gate", "/kernel" left out); later ones of the same
        parameter as "mlp_0/gate:2".
    """
    leaves, structure = jax.tree.flatten(params)
    names = [path_name(path).removesuffix(KERNEL) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    traced = jax.make_jaxpr(lambda *leaves: function(jax.tree.unflatten(structure, leaves)))(*leaves)
    found: dict[str, Product] = {}
    _follow(traced.jaxpr, traced.consts, leaves, names, found)
    return found


def _follow(
    jaxpr: core.Jaxpr,
    consts: Sequence[Any],
    values: Sequence[Any],
    names: Sequence[str | None],
    found: dict[str, Product],
) -> tuple[list[Any], list[str | None]]:
    """Carries out operations; gives their results, and the parameter that each one still is."""
    known: dict[Any, tuple[Any, str | None]] = {}
    known.update(zip(jaxpr.constvars, ((const, None) for const in consts), strict=True))
    known.update(zip(jaxpr.invars, zip(values, names, strict=True), strict=True))

    def read(one: Any) -> tuple[Any, str | None]:
        return (one.val, None) if isinstance(one, core.Literal) else known[one]

    for step in jaxpr.eqns:
        given = [read(one) for one in step.invars]
        arguments, origins = [value for value, _ in given], [name for _, name in given]
        inner = _inside(step)
        if inner is not None:
            results, kept = _follow(*inner, arguments, origins, found)
        else:
            _note(step, arguments, origins, found)
            with step.ctx.manager:
                made = step.primitive.bind(*arguments, **step.primitive.get_bind_params(step.params))
            results = made if step.primitive.multiple_results else [made]
            kept = [_still(step, arguments, origins)] * len(results)
        known.update(zip(step.outvars, zip(results, kept, strict=True), strict=True))
    last = [read(one) for one in jaxpr.outvars]
    return [value for value, _ in last], [name for _, name in last]


def _inside(step: core.JaxprEqn) -> tuple[core.Jaxpr, Sequence[Any]] | None:
    """The operations of a call, such as those of `jax.jit`, `jax.checkpoint` or a function with its own derivative."""
    if step.primitive.name in ("scan", "while", "cond"):
        return None
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        inner = step.params.get(name)
        if isinstance(inner, core.ClosedJaxpr) and len(inner.jaxpr.invars) == len(step.invars):
            return inner.jaxpr, inner.consts
        if isinstance(inner, core.Jaxpr) and len(inner.invars) == len(step.invars) and not inner.constvars:
            return inner, ()
    return None


def _still(step: core.JaxprEqn, arguments: Sequence[Any], origins: Sequence[str | None]) -> str | None:
    """The parameter that a result still is: if all else that went in is a single number."""
    named = [name for name in origins if name is not None]
    others = [value for value, name in zip(arguments, origins, strict=True) if name is None]
    plain = step.primitive.name in SAME and all(jax.numpy.size(value) == 1 for value in others)
    return named[0] if plain and len(named) == 1 else None


def _note(
    step: core.JaxprEqn, arguments: Sequence[Any], origins: Sequence[str | None], found: dict[str, Product]
) -> None:
    """Notes an operation that multiplies one parameter with what is none."""
    kind = step.primitive.name
    if kind not in ("dot_general", "conv_general_dilated") or sum(name is not None for name in origins) != 1:
        return
    side = next(index for index, name in enumerate(origins) if name is not None)
    kernel, x = arguments[side], arguments[1 - side]
    if kind == "dot_general":
        fan_in = math.prod(kernel.shape[axis] for axis in step.params["dimension_numbers"][0][side])
    else:
        fan_in = kernel.size // kernel.shape[step.params["dimension_numbers"].rhs_spec[0]]

    def of(kernel: jax.Array, x: jax.Array) -> jax.Array:
        pair = (kernel, x) if side == 0 else (x, kernel)
        with step.ctx.manager:
            return step.primitive.bind(*pair, **step.primitive.get_bind_params(step.params))

    name = str(origins[side])
    count = sum(one.partition(":")[0] == name for one in found)
    found[f"{name}:{count + 1}" if count else name] = Product(kernel, x, fan_in, of)
