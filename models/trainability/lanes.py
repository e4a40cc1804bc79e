"""Eight numbers side by side: a numba value that is one vector register (SIMD), for loops whose bits must not move.

numba's own vectorisation may change from one compiler to the next, and with it the order in which a sum is added and
where a product and a sum are rounded together. Here each operation is written down: a lane never meets another lane,
sums run in the order of the loop, and where one rounding is meant there is `fused`. A lane's result is so the same
bits beside any other lanes, with any number of threads, and on any processor with IEEE 754 arithmetic; on x86-64 one
operation is one AVX-512 instruction, or two of AVX2. (Without a fused multiply-add of its own a processor is slow.)

These names are for functions that `shammie.jit.compiled` compiles: `load`, `store`, `spread`, `fused`, `magnitude`,
`with_sign_of`, `power_of_two`, `pick_if_less`, `differs`, `any_positive`, `next_of`, and `+ - * /` on lanes.
Arrays are float64 and flat; an index `at` counts numbers, not lanes. No bounds are checked.
"""

import operator
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel.models import PrimitiveModel
from numba.core.datamodel.registry import register_default
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin

LANES = 8
BLOCK = 4  # rows and columns of products that stay in registers: 16 sums hide an addition's latency
_DOUBLE = ir.DoubleType()
_VECTOR = ir.VectorType(_DOUBLE, LANES)
_INTEGERS = ir.VectorType(ir.IntType(64), LANES)
_ALIGNMENT = 64


class LanesType(types.Type):
    """numba's type of eight float64 in a register."""

    def __init__(self) -> None:
        super().__init__(name=f"Lanes{LANES}")


LANES_TYPE = LanesType()


@register_default(LanesType)
class _LanesModel(PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)


def aligned_zeros(count: int) -> np.ndarray:
    """Zeros that begin at a cache line, float64 [count]: no load of lanes then needs two lines."""
    memory = np.zeros(count + _ALIGNMENT // 8)
    skip = -memory.ctypes.data % _ALIGNMENT // 8
    return memory[skip : skip + count]


def _constant(value: float) -> ir.Constant:
    return ir.Constant(_VECTOR, [ir.Constant(_DOUBLE, value)] * LANES)


def _spread(builder: Any, value: Any) -> Any:
    first = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


def _pointer(context: Any, builder: Any, kind: Any, array: Any, at: Any, target: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), target.as_pointer())


def _load(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    loaded = builder.load(_pointer(context, builder, kind, array, at, _VECTOR))
    loaded.align = 8
    return loaded


def _store(context: Any, builder: Any, kind: Any, array: Any, at: Any, value: Any) -> None:
    builder.store(value, _pointer(context, builder, kind, array, at, _VECTOR)).align = 8


def _call(builder: Any, name: str, *values: Any) -> Any:
    """A call of LLVM's own function `name` of vectors."""
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * len(values))
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{LANES}f64")
    return builder.call(function, values)


@intrinsic
def _load_lanes(typing_context: Any, array: Any, at: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _load(context, builder, signature.args[0], *arguments)

    return LANES_TYPE(array, types.int64), generate


@intrinsic
def _store_lanes(typing_context: Any, array: Any, at: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _store(context, builder, signature.args[0], *arguments)
        return context.get_dummy_value()

    return types.void(array, types.int64, LANES_TYPE), generate


@intrinsic
def _spread_value(typing_context: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _spread(builder, arguments[0])

    return LANES_TYPE(types.float64), generate


@intrinsic
def _fused(typing_context: Any, left: Any, right: Any, added: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _call(builder, "fma", *arguments)

    return LANES_TYPE(LANES_TYPE, LANES_TYPE, LANES_TYPE), generate


@intrinsic
def _magnitude(typing_context: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _call(builder, "fabs", *arguments)

    return LANES_TYPE(LANES_TYPE), generate


@intrinsic
def _with_sign_of(typing_context: Any, value: Any, sign: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _call(builder, "copysign", *arguments)

    return LANES_TYPE(LANES_TYPE, LANES_TYPE), generate


@intrinsic
def _power_of_two(typing_context: Any, shifted: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits = builder.bitcast(arguments[0], _INTEGERS)
        exponent = builder.shl(bits, ir.Constant(_INTEGERS, [52] * LANES))
        one = builder.bitcast(_constant(1.0), _INTEGERS)
        return builder.bitcast(builder.add(exponent, one), _VECTOR)

    return LANES_TYPE(LANES_TYPE), generate


@intrinsic
def _pick_if_less(typing_context: Any, left: Any, right: Any, chosen: Any, other: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        left, right, chosen, other = arguments
        return builder.select(builder.fcmp_ordered("<", left, right), chosen, other)

    return LANES_TYPE(LANES_TYPE, LANES_TYPE, LANES_TYPE, LANES_TYPE), generate


@intrinsic
def _differs(typing_context: Any, left: Any, right: Any, before: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        left, right, before = arguments
        return builder.select(builder.fcmp_unordered("!=", left, right), _constant(1.0), before)

    return LANES_TYPE(LANES_TYPE, LANES_TYPE, LANES_TYPE), generate


@intrinsic
def _any_positive(typing_context: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        above = builder.fcmp_ordered(">", arguments[0], _constant(0.0))
        bits = builder.bitcast(above, ir.IntType(LANES))
        return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    return types.boolean(LANES_TYPE), generate


@intrinsic
def _next_of(typing_context: Any, counter: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        zero, one = (ir.Constant(ir.IntType(64), number) for number in (0, 1))
        place = _pointer(context, builder, signature.args[0], arguments[0], zero, ir.IntType(64))
        return builder.atomic_rmw("add", place, one, "monotonic")

    return types.int64(counter), generate


load: Any = _load_lanes
"""load(array, at): the eight numbers from `at` on."""
store: Any = _store_lanes
"""store(array, at, lanes): writes them from `at` on."""
spread: Any = _spread_value
"""spread(number): the number in every lane."""
fused: Any = _fused
"""fused(a, b, c): a b + c, rounded once."""
magnitude: Any = _magnitude
"""magnitude(a): its absolute value."""
with_sign_of: Any = _with_sign_of
"""with_sign_of(a, b): a with b's sign."""
power_of_two: Any = _power_of_two
"""power_of_two(k + 1.5 * 2**52): 2**k, for whole k in [-1022, 1023]."""
pick_if_less: Any = _pick_if_less
"""pick_if_less(a, b, c, d): in each lane c where a < b, else d; d where either is not a number."""
differs: Any = _differs
"""differs(a, b, c): in each lane 1 where a is not b (or not a number), else c."""
any_positive: Any = _any_positive
"""any_positive(a): whether some lane is above 0."""
next_of: Any = _next_of
"""next_of(int64 [1]): takes a number from a counter that threads share, and raises it."""


def _declare_operator(operation: Callable[..., Any], instruction: str) -> None:
    """Declares an operator of two lanes that is one instruction."""

    class Typed(ConcreteTemplate):
        key = operation
        cases: ClassVar = [signature(LANES_TYPE, LANES_TYPE, LANES_TYPE)]

    infer_global(operation)(Typed)  # pyright: ignore[reportOptionalCall]

    @lower_builtin(operation, LanesType, LanesType)
    def lower(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return getattr(builder, instruction)(*arguments)


_declare_operator(operator.add, "fadd")
_declare_operator(operator.sub, "fsub")
_declare_operator(operator.mul, "fmul")
_declare_operator(operator.truediv, "fdiv")


def products(rows: int, columns: int, *, per_lane: bool) -> Any:
    """The block of sums of products that `add_products` is made of: rows x columns, all in registers.

    Args:
        rows: of the left factor.
        columns: of the right factor.
        per_lane: whether the left factor has a number for each lane, in place of one for all.
    """

    @intrinsic
    def block(
        typing_context: Any,
        left: Any,
        left_at: Any,
        left_row: Any,
        left_step: Any,
        right: Any,
        right_at: Any,
        right_step: Any,
        sums: Any,
        sums_at: Any,
        sums_row: Any,
        count: Any,
    ) -> Any:
        whole = types.int64
        typed = types.void(left, whole, whole, whole, right, whole, whole, sums, whole, whole, whole)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            left, left_at, left_row, left_step, right, right_at, right_step, sums, sums_at, sums_row, count = arguments
            kinds = signature.args
            number = lambda value: ir.Constant(ir.IntType(64), value)  # noqa: E731
            places, held = [], []
            for row in range(rows):
                start = builder.add(sums_at, builder.mul(sums_row, number(row)))
                for column in range(columns):
                    places.append(builder.add(start, number(column * LANES)))
                    held.append(cgutils.alloca_once(builder, _VECTOR))
                    builder.store(_load(context, builder, kinds[7], sums, places[-1]), held[-1])
            with cgutils.for_range(builder, count) as loop:
                left_now = builder.add(left_at, builder.mul(left_step, loop.index))
                right_now = builder.add(right_at, builder.mul(right_step, loop.index))
                factors = []
                for row in range(rows):
                    at = builder.add(left_now, builder.mul(left_row, number(row)))
                    if per_lane:
                        factors.append(_load(context, builder, kinds[0], left, at))
                    else:
                        value = builder.load(_pointer(context, builder, kinds[0], left, at, _DOUBLE))
                        factors.append(_spread(builder, value))
                for column in range(columns):
                    at = builder.add(right_now, number(column * LANES))
                    other = _load(context, builder, kinds[4], right, at)
                    for row in range(rows):
                        one = held[row * columns + column]
                        builder.store(_call(builder, "fma", factors[row], other, builder.load(one)), one)
            for place, one in zip(places, held, strict=True):
                _store(context, builder, kinds[7], sums, place, builder.load(one))
            return context.get_dummy_value()

        return typed, generate

    return block
