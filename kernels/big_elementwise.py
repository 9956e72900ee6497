"""Element-wise operations on BigFloats, each exact and then rounded once: RN(x + y), RN(x s + t), ReLU, comparison.

The number of limbs is an argument of the machine code, not a constant in it: one code serves every precision.
Exponents are added in 64 bits, unchecked: those of what enters are at most 2^60 in size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from ..arithmetic.big_floats import BigFloats
from ..arithmetic.formats import Array
from ..errors import InputError
from .big_rounding import SPARE_LIMBS, ZERO, Address, Planes, Term, address_of, round_sum
from .jit import compiled, kernel
from .limbs import Limbs, add_product, limbs_for, load, store
from .threads import run_all

SHARE = 1 << 14  # elements that a thread takes at once

SIGNS, LIMBS, EXPONENTS = (types.Array(dtype, 1, "C") for dtype in (types.int8, types.uint64, types.int64))
PLANES = types.NamedTuple((SIGNS, LIMBS, EXPONENTS), Planes)


@kernel
def term_at(x: Planes, significands: Address, place: int, limbs: int) -> Term:
    """One number of an array whose significands begin at that address."""
    return Term(np.int64(x.signs[place]), significands + 8 * place * limbs, limbs, x.exponents[place])


@kernel
def add_share(x: Planes, y: Planes, bits: int, sums: Planes, scratch: Limbs, first: int, end: int) -> None:
    """sums[i] = RN(x[i] + y[i modulo the length of y])."""
    limbs, period, window = (bits + 63) >> 6, len(y.signs), address_of(scratch)
    x_limbs, y_limbs, target = address_of(x.significands), address_of(y.significands), address_of(sums.significands)
    j = first % period
    for i in range(first, end):
        a, b = term_at(x, x_limbs, i, limbs), term_at(y, y_limbs, j, limbs)
        sums.signs[i], sums.exponents[i] = round_sum(a, b, window, bits, target + 8 * i * limbs)
        j = j + 1 if j + 1 < period else 0


@kernel
def round_share(
    numbers: Planes,
    width: int,
    columns: int,
    bias: Planes,
    bits: int,
    sums: Planes,
    scratch: Limbs,
    first: int,
    end: int,
) -> None:
    """sums[i] = RN(numbers[i] + bias[i modulo its length]); integers of `width` limbs, an exponent for each row."""
    limbs, period, window = (bits + 63) >> 6, len(bias.signs), address_of(scratch)
    integers, target = address_of(numbers.significands), address_of(sums.significands)
    bias_limbs = address_of(bias.significands)
    row, column, j = first // columns, first % columns, first % period
    for i in range(first, end):
        a = Term(np.int64(numbers.signs[i]), integers + 8 * i * width, width, numbers.exponents[row])
        b = term_at(bias, bias_limbs, j, limbs)
        sums.signs[i], sums.exponents[i] = round_sum(a, b, window, bits, target + 8 * i * limbs)
        j = j + 1 if j + 1 < period else 0
        column += 1
        if column == columns:
            row, column = row + 1, 0


@kernel
def multiply(a: Address, b: Address, limbs: int, product: Address) -> None:
    """The exact product of two integers of `limbs` limbs, column by column."""
    low = middle = high = ZERO
    for column in range(2 * limbs - 1):
        for k in range(max(0, column - limbs + 1), min(column, limbs - 1) + 1):
            low, middle, high = add_product(low, middle, high, load(a, k), load(b, column - k))
        store(product, column, low)
        low, middle, high = middle, high, ZERO
    store(product, 2 * limbs - 1, low)


@kernel
def scale_shift_share(
    x: Planes, s: Planes, t: Planes, bits: int, y: Planes, scratch: Limbs, first: int, end: int
) -> None:
    """y[i] = RN(x[i] s[j] + t[j]), j = i modulo the length of s and t."""
    limbs, period, product = (bits + 63) >> 6, len(s.signs), address_of(scratch)
    window = product + 16 * limbs
    x_limbs, s_limbs, t_limbs = address_of(x.significands), address_of(s.significands), address_of(t.significands)
    target = address_of(y.significands)
    j = first % period
    for i in range(first, end):
        a, b = term_at(x, x_limbs, i, limbs), term_at(s, s_limbs, j, limbs)
        if a.sign * b.sign != 0:
            multiply(a.limbs, b.limbs, limbs, product)
        scaled = Term(a.sign * b.sign, product, 2 * limbs, a.exponent + b.exponent)
        shift = term_at(t, t_limbs, j, limbs)
        y.signs[i], y.exponents[i] = round_sum(scaled, shift, window, bits, target + 8 * i * limbs)
        j = j + 1 if j + 1 < period else 0


@kernel
def copy_number(x: Planes, i: int, y: Planes, j: int, limbs: int) -> None:
    """y[j] = x[i]."""
    y.signs[j] = x.signs[i]
    y.exponents[j] = x.exponents[i]
    for k in range(np.uint64(limbs)):
        y.significands[np.uint64(j * limbs) + k] = x.significands[np.uint64(i * limbs) + k]


@kernel
def relu_share(x: Planes, limbs: int, y: Planes, first: int, end: int) -> None:
    """y[i] = x[i] where that is above 0, else 0."""
    for i in range(first, end):
        if x.signs[i] > 0:
            copy_number(x, i, y, i, limbs)
        else:
            y.signs[i], y.exponents[i] = 0, 0
            y.significands[i * limbs : (i + 1) * limbs] = ZERO


@kernel
def compare(x: Planes, i: int, y: Planes, j: int, limbs: int) -> int:
    """-1, 0 or 1 as x[i] is below, equal to or above y[j]; both of as many bits."""
    sign = x.signs[i]
    if x.signs[i] != y.signs[j]:
        return 1 if x.signs[i] > y.signs[j] else -1
    if x.exponents[i] != y.exponents[j]:
        return sign if x.exponents[i] > y.exponents[j] else -sign
    for k in range(limbs - 1, -1, -1):
        a, b = x.significands[np.uint64(i * limbs + k)], y.significands[np.uint64(j * limbs + k)]
        if a != b:
            return sign if a > b else -sign
    return 0


@kernel
def compare_share(x: Planes, y: Planes, limbs: int, order: Array, first: int, end: int) -> None:
    """order[i] = compare(x[i], y[i modulo the length of y])."""
    for i in range(first, end):
        order[i] = compare(x, i, y, i % len(y.signs), limbs)


def rounded(
    signs: NDArray[np.int8],
    limbs: Limbs,
    exponents: Any,
    bits: int,
    *,
    bias: BigFloats | None = None,
    threads: int = 1,
) -> BigFloats:
    """RN(sign integer 2^exponent + bias) to `bits` bits, ties to even: the exact sum, rounded once.

    signs: int8, of shape S, in {-1, 0, 1}; a sign beside an integer 0 is taken for 0.  limbs: uint64, S + (W,), the
    least first, any W and any integers.  exponents: int64, of a shape that broadcasts to S[:-1], one for each row, or
    one number for all.  bias: None or S[-1:] numbers of `bits` bits, one for each column.
    """
    shape, width = signs.shape, limbs.shape[-1]
    if limbs.shape != (*shape, width) or not shape:
        raise InputError(f"signs {shape} and limbs {limbs.shape}", expected="limbs of one axis more")
    if signs.dtype != np.int8 or limbs.dtype != np.uint64:
        raise InputError(f"signs of {signs.dtype} and limbs of {limbs.dtype}", expected="int8 and uint64")
    rows = np.broadcast_to(np.asarray(exponents, np.int64), shape[:-1])
    numbers = Planes(*(np.ascontiguousarray(array).ravel() for array in (signs, limbs, rows)))
    shift = BigFloats.zeros((1,), bits) if bias is None else _broadcast(bias, shape, bits)
    sums = empty(shape, bits)
    code = compiled(
        round_share, PLANES, types.int64, types.int64, PLANES, types.int64, PLANES, LIMBS, types.int64, types.int64
    )
    how, room = (numbers, width, shape[-1], planes(shift), bits, planes(sums)), max(width, sums.limbs) + SPARE_LIMBS
    share_out(lambda first, end: code(*how, np.empty(room, np.uint64), first, end), sums.size, threads)
    return sums


def add(x: BigFloats, y: BigFloats, *, threads: int = 1) -> BigFloats:
    """RN(x + y) to the bits of x and y; y of x's shape or of its last axis alone."""
    sums = empty(x.shape, x.bits)
    code = compiled(add_share, PLANES, PLANES, types.int64, PLANES, LIMBS, types.int64, types.int64)
    how, room = (planes(x), planes(_broadcast(y, x.shape, x.bits)), x.bits, planes(sums)), x.limbs + SPARE_LIMBS
    share_out(lambda first, end: code(*how, np.empty(room, np.uint64), first, end), x.size, threads)
    return sums


def scale_shift(x: BigFloats, s: BigFloats, t: BigFloats, *, threads: int = 1) -> BigFloats:
    """RN(x s + t), one rounding of the exact value; s and t are vectors along the last axis of x, of as many bits."""
    y = empty(x.shape, x.bits)
    if s.shape != t.shape:
        raise InputError(f"s of shape {s.shape} and t of shape {t.shape}", expected="the same shape")
    code = compiled(scale_shift_share, *[PLANES] * 3, types.int64, PLANES, LIMBS, types.int64, types.int64)
    vectors = (planes(_broadcast(vector, x.shape, x.bits)) for vector in (s, t))
    how, room = (planes(x), *vectors, x.bits, planes(y)), 4 * x.limbs + SPARE_LIMBS  # for the product and the window
    share_out(lambda first, end: code(*how, np.empty(room, np.uint64), first, end), x.size, threads)
    return y


def relu(x: BigFloats, *, threads: int = 1) -> BigFloats:
    """x where x > 0, else 0."""
    y = empty(x.shape, x.bits)
    code = compiled(relu_share, PLANES, types.int64, PLANES, types.int64, types.int64)
    inputs, out = planes(x), planes(y)
    share_out(lambda first, end: code(inputs, x.limbs, out, first, end), x.size, threads)
    return y


def order_of(x: BigFloats, y: BigFloats, *, threads: int = 1) -> NDArray[np.int8]:
    """-1, 0 or 1 as x is below, equal to or above y, of x's shape; y of that shape or of its last axis alone."""
    order = np.empty(x.size, np.int8)
    code = compiled(compare_share, PLANES, PLANES, types.int64, SIGNS, types.int64, types.int64)
    left, right = planes(x), planes(_broadcast(y, x.shape, x.bits))
    share_out(lambda first, end: code(left, right, x.limbs, order, first, end), x.size, threads)
    return order.reshape(x.shape)


def planes(x: BigFloats) -> Planes:
    """The arrays of x as kernels take them: flat and contiguous, copied where they are not."""
    return Planes(*(np.ascontiguousarray(array).reshape(-1) for array in (x.signs, x.significands, x.exponents)))


def share_out(work: Callable[[int, int], object], count: int, threads: int) -> None:
    """work(first, end) for ranges that make up range(count), on so many threads."""
    shares = [(first, min(first + SHARE, count)) for first in range(0, count, SHARE)]
    run_all(lambda share: work(*share), shares, threads)


def empty(shape: tuple[int, ...], bits: int) -> BigFloats:
    """An array for a kernel to fill."""
    significands = np.empty((*shape, limbs_for(bits)), np.uint64)
    return BigFloats(np.empty(shape, np.int8), significands, np.empty(shape, np.int64), bits)


def _broadcast(y: BigFloats, shape: tuple[int, ...], bits: int) -> BigFloats:
    """y, which must fit the last axis or all of an array of this shape and have as many bits."""
    if y.shape not in (shape, shape[-1:]):
        raise InputError(f"numbers of shape {y.shape}", expected=f"the shape {shape} or {shape[-1:]}")
    if y.bits != bits:
        raise InputError(f"numbers of {y.bits} bits", expected=f"{bits} bits as their partner has")
    return y
