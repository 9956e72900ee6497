"""Limbs: unsigned 64-bit digits of long integers, with the carries and the double-length products that Numba lacks.

Each operation is one LLVM expression on integers of 128 or 192 bits, which the CPU does in one to three instructions.
Integers are little-endian: the first limb is the least.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

Limbs = NDArray[np.uint64]

LIMB_BITS = 64
LIMB = ir.IntType(LIMB_BITS)


def limbs_for(bits: Any) -> Any:
    """The limbs that hold so many bits: of an integer, or of each in an array."""
    return -(-bits // LIMB_BITS)


def _wide(builder: Any, parts: list[Any]) -> Any:
    """One integer from 64-bit parts, the least first."""
    type_ = ir.IntType(LIMB_BITS * len(parts))
    whole = builder.zext(parts[0], type_)
    for place, part in enumerate(parts[1:], 1):
        shifted = builder.shl(builder.zext(part, type_), ir.Constant(type_, LIMB_BITS * place))
        whole = builder.or_(whole, shifted)
    return whole


def _parts(builder: Any, whole: Any) -> list[Any]:
    """The 64-bit parts of an integer, the least first."""
    places = range(whole.type.width // LIMB_BITS)
    return [builder.trunc(builder.lshr(whole, ir.Constant(whole.type, LIMB_BITS * place)), LIMB) for place in places]


def _product(builder: Any, a: Any, b: Any, width: int) -> Any:
    """a b as one integer of so many bits; 64 times 64 bits is one multiplication of the CPU's."""
    double = ir.IntType(2 * LIMB_BITS)
    product = builder.mul(builder.zext(a, double), builder.zext(b, double))
    return product if width == double.width else builder.zext(product, ir.IntType(width))


def _signature(arguments: int, results: int) -> Any:
    result = types.UniTuple(types.uint64, results) if results > 1 else types.uint64
    return result(*[types.uint64] * arguments)


def _code(results: int, build: Callable[..., list[Any]]) -> Callable[..., Any]:
    """What an intrinsic asks of its code generator, from `build(builder, *limbs) -> limbs`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        limbs = build(builder, *arguments)
        return cgutils.pack_array(builder, limbs) if results > 1 else limbs[0]

    return generate


@intrinsic
def _mul_wide(typing: Any, a: Any, b: Any) -> Any:
    def build(builder: Any, a: Any, b: Any) -> list[Any]:
        return _parts(builder, _product(builder, a, b, 128))[::-1]

    return _signature(2, 2), _code(2, build)


@intrinsic
def _add_carry(typing: Any, a: Any, b: Any, carry: Any) -> Any:
    def build(builder: Any, *terms: Any) -> list[Any]:
        double = ir.IntType(2 * LIMB_BITS)
        a, b, carry = (builder.zext(term, double) for term in terms)
        return _parts(builder, builder.add(builder.add(a, b), carry))

    return _signature(3, 2), _code(2, build)


@intrinsic
def _add_product(typing: Any, low: Any, middle: Any, high: Any, a: Any, b: Any) -> Any:
    def build(builder: Any, low: Any, middle: Any, high: Any, a: Any, b: Any) -> list[Any]:
        return _parts(builder, builder.add(_wide(builder, [low, middle, high]), _product(builder, a, b, 192)))

    return _signature(5, 3), _code(3, build)


@intrinsic
def _funnel_left(typing: Any, high: Any, low: Any, shift: Any) -> Any:
    def build(builder: Any, *arguments: Any) -> list[Any]:
        function = ir.FunctionType(LIMB, [LIMB] * 3)
        return [builder.call(cgutils.get_or_insert_function(builder.module, function, "llvm.fshl.i64"), arguments)]

    return _signature(3, 1), _code(1, build)


@intrinsic
def _leading_zeros(typing: Any, a: Any) -> Any:
    def build(builder: Any, a: Any) -> list[Any]:
        return [builder.ctlz(a, ir.Constant(ir.IntType(1), 0))]

    return types.int64(types.uint64), _code(1, build)


@intrinsic
def _load(typing: Any, address: Any, place: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_pointer(builder, *arguments))

    return types.uint64(types.int64, types.int64), generate


@intrinsic
def _store(typing: Any, address: Any, place: Any, limb: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], _pointer(builder, *arguments[:2]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.uint64), generate


def _pointer(builder: Any, address: Any, place: Any) -> Any:
    """To the limb that lies so many places after an address."""
    return builder.gep(builder.inttoptr(address, LIMB.as_pointer()), [place])


# An integer's limbs are known by the address of the first: handing an array on costs more than a sum of four limbs.
load: Any = _load  # (address, place) -> limb
store: Any = _store  # (address, place, limb)
# All others take uint64 and give uint64; leading_zeros gives int64.
mul_wide: Any = _mul_wide  # (a, b) -> (high, low): a b = high 2^64 + low
add_carry: Any = _add_carry  # (a, b, carry) -> (sum, carry): the carries 0 or 1
add_product: Any = _add_product  # (low, middle, high, a, b) -> (low, middle, high): a sum of 192 bits, plus a b
funnel_left: Any = _funnel_left  # (high, low, shift) -> the upper limb of (high 2^64 + low) 2^shift, shift 0 to 63
leading_zeros: Any = _leading_zeros  # (a) -> 0 to 64
