"""BigFloats rounded to float64, and to pairs of float64 with a bound of what is cut."""

from __future__ import annotations

import math

import numpy as np
from numba import types
from numpy.typing import NDArray

from ..arithmetic.big_floats import BigFloats
from ..arithmetic.double_double import DoubleDouble
from ..arithmetic.formats import FORMATS, Array
from ..errors import InputError
from .big_elementwise import LIMBS, PLANES, planes, share_out
from .big_rounding import (
    ONE,
    ZERO,
    Address,
    Planes,
    Term,
    add_shifted,
    address_of,
    bit_length,
    has_bits_below,
    negate,
    round_integer,
)
from .jit import compiled, kernel
from .limbs import Limbs, load, store

PRECISION = FORMATS["float64"].precision
LEAST = FORMATS["float64"].emin - PRECISION + 1  # the exponent of the smallest subnormal number
BEYOND = 4096  # an exponent at which everything is infinite, and at its negative 0

FLOATS = types.Array(types.float64, 1, "C")


@kernel
def take_nearest(window: Address, size: int, exponent: int, integer: Address) -> float:
    """RN(window 2^exponent) to float64, which is then taken away from the window, a signed integer of `size` limbs.

    integer: one limb for this function's use.
    """
    negative = load(window, size - 1) >> np.uint64(63) != ZERO
    if negative:
        negate(window, size)
    length = bit_length(window, size)
    precision = min(PRECISION, length + exponent - LEAST)
    if length == 0 or precision < 0 or (precision == 0 and not has_bits_below(window, size, length - 1)):
        nearest = 0.0
    else:
        store(integer, 0, ONE)  # the smallest number, for what is above half of it
        dropped = round_integer(window, size, length, False, precision, integer) if precision > 0 else length
        add_shifted(window, size, Term(1, integer, 1, 0), dropped, 1)
        nearest = math.ldexp(float(load(integer, 0)), min(max(exponent + dropped, -BEYOND), BEYOND))
    if negative:
        negate(window, size)
    return -nearest if negative else nearest


@kernel
def split_share(x: Planes, limbs: int, hi: Array, lo: Array, cut: Array, scratch: Limbs, first: int, end: int) -> None:
    """hi = RN(x), lo = RN(x - hi), cut >= |x - hi - lo|; lo and cut only where they have room for all."""
    window, size = address_of(scratch), limbs + 1
    integer = window + 8 * size
    for i in range(first, end):
        scratch[:limbs] = x.significands[i * limbs : (i + 1) * limbs]
        scratch[limbs] = ZERO
        hi[i] = x.signs[i] * take_nearest(window, size, x.exponents[i], integer)
        if len(lo) == len(hi):
            lo[i] = x.signs[i] * take_nearest(window, size, x.exponents[i], integer)
            rest = abs(take_nearest(window, size, x.exponents[i], integer))
            cut[i] = rest if bit_length(window, size) == 0 else np.nextafter(rest, np.inf)


def to_floats(x: BigFloats, *, threads: int = 1) -> NDArray[np.float64]:
    """RN of each number to float64: subnormals are kept, what is too large becomes infinite."""
    hi, none = np.empty(x.size), np.empty(0)
    _split(x, hi, none, none, threads)
    return hi.reshape(x.shape)


def to_double_double(x: BigFloats, *, threads: int = 1) -> tuple[DoubleDouble, NDArray[np.float64]]:
    """hi = RN(x), lo = RN(x - hi), and a float64 bound of |x - hi - lo|, 0 where nothing is cut.

    Raises InputError for numbers that float64 has no room for.
    """
    hi, lo, cut = (np.empty(x.size) for _ in range(3))
    _split(x, hi, lo, cut, threads)
    if not np.isfinite(hi).all():
        raise InputError("a number of 2^1024 or more", expected="numbers in the range of float64")
    pair = DoubleDouble(hi.reshape(x.shape), lo.reshape(x.shape))
    return pair, cut.reshape(x.shape)


def _split(x: BigFloats, hi: Array, lo: Array, cut: Array, threads: int) -> None:
    code = compiled(split_share, PLANES, types.int64, *[FLOATS] * 3, LIMBS, types.int64, types.int64)
    how, room = (planes(x), x.limbs, hi, lo, cut), x.limbs + 2
    share_out(lambda first, end: code(*how, np.empty(room, np.uint64), first, end), x.size, threads)
