"""Pools of BigFloats: padding, the largest of each window, and the mean of each channel with one rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
from mpmath.libmp import from_int, from_man_exp, mpf_div
from numba import types
from numpy.typing import NDArray

from ..arithmetic.big_floats import DTYPES, BigFloats, RawMpf
from ..ops import Padding, Pair
from .big_elementwise import LIMBS, PLANES, compare, copy_number, empty, planes, share_out, term_at
from .big_rounding import ONE, ZERO, Address, Planes, Term, add_shifted, address_of, negate, round_term
from .jit import compiled, kernel
from .limbs import Limbs, limbs_for, load, store

FAR = 64 * 256  # bits between a channel's first and last, beyond which its mean is taken with Python's integers
INTEGERS = types.Array(types.int64, 1, "C")


@kernel
def max_share(
    x: Planes, shape: Any, size: Any, strides: Any, limbs: int, y: Planes, out_shape: Any, first: int, end: int
) -> None:
    """y[first : end], flat, of max_pool; shape: height, width, channels of x, out_shape: of y."""
    height, width, channels = shape
    out_height, out_width, _ = out_shape
    for place in range(first, end):
        pixel, c = divmod(place, channels)
        line, j = divmod(pixel, out_width)
        image, i = divmod(line, out_height)
        corner = ((image * height + i * strides[0]) * width + j * strides[1]) * channels + c
        best = corner
        for di in range(size[0]):
            for dj in range(size[1]):
                other = corner + (di * width + dj) * channels
                if compare(x, other, x, best, limbs) > 0:
                    best = other
        copy_number(x, best, y, place, limbs)


@kernel
def mean_share(
    x: Planes,
    terms: int,
    channels: int,
    chosen: Any,
    lows: Any,
    sizes: Any,
    bits: int,
    y: Planes,
    scratch: Limbs,
    first: int,
    end: int,
) -> None:
    """y[place] = RN(sum / terms) for each place of chosen[first : end]; lows, sizes: of the window of its exact sum."""
    limbs, window = (bits + 63) >> 6, address_of(scratch)
    x_limbs, target = address_of(x.significands), address_of(y.significands)
    fraction = limbs + 1  # limbs of the window below the sum: the quotient has more than `bits` bits
    for k in range(first, end):
        place, size, low = chosen[k], fraction + sizes[k], lows[k] - 64 * fraction
        scratch[:size] = ZERO
        start = place // channels * terms * channels + place % channels
        for term in range(terms):
            number = term_at(x, x_limbs, start + term * channels, limbs)
            if number.sign != 0:
                add_shifted(window, size, number, number.exponent - low, int(number.sign < 0))
        sign = 1
        if load(window, size - 1) >> np.uint64(63):
            negate(window, size)
            sign = -1
        sticky = divide(window, size, terms)
        mean = Term(sign, window, size, low)
        y.signs[place], y.exponents[place] = round_term(mean, sticky, bits, target + 8 * place * limbs)


@kernel
def divide(window: Address, size: int, divisor: int) -> bool:
    """window = floor(window / divisor), of a divisor below 2^32; whether there is a remainder."""
    by, remainder, half, low_half = np.uint64(divisor), ZERO, np.uint64(32), (ONE << np.uint64(32)) - ONE
    for i in range(size - 1, -1, -1):
        limb = load(window, i)
        upper = remainder << half | limb >> half
        lower = upper % by << half | limb & low_half
        store(window, i, upper // by << half | lower // by)
        remainder = lower % by
    return remainder != ZERO


def pad(x: BigFloats, padding: Padding) -> BigFloats:
    """Zeros around each image: (n, h, w, c) with ((top, bottom), (left, right))."""
    around = ((0, 0), *padding, (0, 0))
    arrays = np.pad(x.signs, around), np.pad(x.significands, (*around, (0, 0))), np.pad(x.exponents, around)
    return BigFloats(*arrays, x.bits)


def max_pool(x: BigFloats, *, size: Pair, strides: Pair, threads: int = 1) -> BigFloats:
    """The largest of each window: (n, h, w, c) -> (n, oh, ow, c)."""
    images, height, width, channels = x.shape
    out_shape = ((height - size[0]) // strides[0] + 1, (width - size[1]) // strides[1] + 1, channels)
    y = empty((images, *out_shape), x.bits)
    pair, triple = (types.UniTuple(types.int64, count) for count in (2, 3))
    code = compiled(max_share, PLANES, triple, pair, pair, types.int64, PLANES, triple, types.int64, types.int64)
    inputs, out = planes(x), planes(y)
    windows = (x.shape[1:], size, strides)
    share_out(lambda first, end: code(inputs, *windows, x.limbs, out, out_shape, first, end), y.size, threads)
    return y


def mean_pool(x: BigFloats, *, threads: int = 1) -> BigFloats:
    """RN(sum / (h w)) of the exact sum: (n, h, w, c) -> (n, c)."""
    images, height, width, channels = x.shape
    terms = height * width
    numbers, y = x.reshape(images, terms, channels), empty((images, channels), x.bits)
    lows, tops = _bounds(numbers)
    sizes = limbs_for(tops - lows + terms.bit_length() + 1)
    near = tops - lows <= FAR
    chosen = np.flatnonzero(near)
    code = compiled(
        mean_share, PLANES, types.int64, types.int64, *[INTEGERS] * 3, types.int64, PLANES, LIMBS, *[types.int64] * 2
    )
    windows = (chosen, lows.ravel()[chosen], sizes.ravel()[chosen])
    how = (planes(numbers), terms, channels, *windows, x.bits, planes(y))
    room = x.limbs + 1 + sizes.max(where=near, initial=0)
    share_out(lambda first, end: code(*how, np.empty(room, np.uint64), first, end), len(chosen), threads)
    for image, channel in np.argwhere(~near).tolist():
        mean = BigFloats.from_raw([_mean_of_far(numbers[image, :, channel], x.bits)], x.bits)
        for name in DTYPES:
            getattr(y, name)[image, channel] = getattr(mean, name)[0]
    return y


def _bounds(x: BigFloats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The least exponent, and that after the first bit, along axis 1: where the sum begins and ends. 0, 0 of zeros."""
    used = x.signs != 0
    some, ends = used.any(1), np.iinfo(np.int64)
    lows = np.where(some, x.exponents.min(1, where=used, initial=ends.max), 0)
    tops = np.where(some, x.exponents.max(1, where=used, initial=ends.min), 0) + x.bits * some
    return lows, tops


def _mean_of_far(numbers: BigFloats, bits: int) -> RawMpf:
    """RN(sum / length) of a vector of numbers, however far their exponents are apart."""
    signed = [mpf._mpf_ for mpf in numbers.to_mpf().tolist()]
    terms = [((-1) ** sign * int(mantissa), exponent) for sign, mantissa, exponent, _ in signed if mantissa]
    terms.sort(key=lambda term: term[0].bit_length() + term[1], reverse=True)
    total, low = _condensed(terms, bits + 2 * len(signed).bit_length() + 4)
    mean: RawMpf = mpf_div(from_man_exp(total, low), from_int(len(signed)), bits, "n")
    return mean


def _condensed(terms: list[tuple[int, int]], margin: int) -> tuple[int, int]:
    """(integer, exponent) that rounds as the sum of integer 2^exponent, which are sorted from the largest first.

    Where all that follows is `margin` bits below the last bit of a sum that is not 0, only its sign plays a part.
    """
    total, low = 0, 0
    for place, (integer, exponent) in enumerate(terms):
        if total == 0:
            total, low = integer, exponent
        elif integer.bit_length() + exponent < low - margin:
            rest, _ = _condensed(terms[place:], margin)
            return (total << margin) + (rest > 0) - (rest < 0), low - margin
        else:
            common = min(low, exponent)
            total, low = (total << (low - common)) + (integer << (exponent - common)), common
    return total, low
