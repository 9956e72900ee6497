"""The sum of two long numbers, exact, then rounded once to nearest, ties to even: the last step of every operation.

A term is (-1, 0 or 1) * integer * 2^exponent. The terms meet in a window of limbs just below the larger one's first
bit. What the smaller one has below the window cannot decide more than on which side of a tie the sum lies: it is kept
as one sticky bit, so that no distance of exponents costs time or memory.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .jit import kernel
from .limbs import Limbs, add_carry, funnel_left, leading_zeros, load, store

ZERO, ONE, ALL_ONES = np.uint64(0), np.uint64(1), np.uint64(2**64 - 1)
SPARE_LIMBS = 3  # of a window, beyond its longest term: see round_sum

Integer = int | np.int64
Address = Integer  # of the least limb of an integer


class Planes(NamedTuple):
    """The arrays of BigFloats, each flat."""

    signs: NDArray[Any]
    significands: NDArray[Any]
    exponents: NDArray[Any]


class Term(NamedTuple):
    """sign * integer * 2^exponent; the integer has `width` limbs."""

    sign: Integer
    limbs: Address
    width: int
    exponent: int


@kernel
def address_of(limbs: Limbs) -> Address:
    """Where the first limb lies. The array is an argument of the kernel that asks, so that it outlives the address."""
    return np.int64(limbs.ctypes.data)


@kernel
def bit_length(limbs: Address, width: int) -> int:
    """The bits of an integer, 0 for zero."""
    while width > 0 and load(limbs, width - 1) == ZERO:
        width -= 1
    return 64 * width - leading_zeros(load(limbs, width - 1)) if width else 0


@kernel
def has_bits_below(limbs: Address, width: int, place: int) -> bool:
    """Whether any of the bits 0 to place - 1 is set."""
    whole = place >> 6
    for i in range(min(whole, width)):
        if load(limbs, i) != ZERO:
            return True
    return whole < width and load(limbs, whole) & ((ONE << np.uint64(place & 63)) - ONE) != ZERO


@kernel
def add_shifted(window: Address, size: int, term: Term, shift: int, subtract: int) -> bool:
    """The first `size` limbs of the window +- floor(integer 2^shift), or - ceil of it; whether bits were cut.

    subtract: 0 or 1. Subtracting is adding the complement; modulo 2^(64 size) the result is right.
    """
    cut = shift < 0 and has_bits_below(term.limbs, term.width, -shift)
    mask = ALL_ONES if subtract else ZERO
    skipped, shift_in_limb = shift >> 6, np.uint64(shift & 63)
    carry = np.uint64(subtract and not cut)
    first, end = max(skipped, 0), skipped + term.width + 1
    below = load(term.limbs, first - skipped - 1) if skipped < first < end else ZERO
    for i in range(first, min(end, size)):
        limb = load(term.limbs, i - skipped) if i + 1 < end else ZERO
        shifted = funnel_left(limb, below, shift_in_limb) ^ mask
        total, carry = add_carry(load(window, i), shifted, carry)
        store(window, i, total)
        below = limb
    i = max(first, end)
    while i < size and carry != np.uint64(subtract):
        total, carry = add_carry(load(window, i), mask, carry)
        store(window, i, total)
        i += 1
    return cut


@kernel
def negate(window: Address, size: int) -> None:
    """The two's complement of an integer of `size` limbs."""
    carry = ONE
    for i in range(size):
        limb, carry = add_carry(~load(window, i), ZERO, carry)
        store(window, i, limb)


@kernel
def round_integer(limbs: Address, width: int, length: int, sticky: bool, bits: int, target: Address) -> int:
    """target 2^d = RN(integer) to `bits` bits; returns d.

    length: the integer's bits, not 0.  sticky: whether the exact value is larger by less than one; the integer then
    has more than `bits` bits.
    """
    dropped = length - bits
    carry = rounds_up(limbs, width, dropped, sticky) if dropped > 0 else ZERO
    skipped, shift = -dropped >> 6, np.uint64(-dropped & 63)  # to the left, as in add_shifted
    below = ZERO if skipped >= 0 else load(limbs, -skipped - 1)
    kept, last = (bits + 63) >> 6, ZERO
    for i in range(kept):
        limb = load(limbs, i - skipped) if 0 <= i - skipped < width else ZERO
        last, carry = add_carry(funnel_left(limb, below, shift), ZERO, carry)
        store(target, i, last)
        below = limb
    top = ONE << np.uint64((bits - 1) & 63)
    if carry == ZERO and last <= top - ONE + top:
        return dropped
    store(target, kept - 1, top)  # the carry came to 2^bits
    return dropped + 1


@kernel
def rounds_up(limbs: Address, width: int, dropped: int, sticky: bool) -> np.uint64:
    """1 where an integer without its last `dropped` bits is rounded up: more than half is cut, or half beside odd."""
    half = (load(limbs, (dropped - 1) >> 6) >> np.uint64((dropped - 1) & 63)) & ONE
    if sticky or has_bits_below(limbs, width, dropped - 1):
        return half
    odd = load(limbs, dropped >> 6) >> np.uint64(dropped & 63) if dropped < 64 * width else ZERO
    return half & odd


@kernel
def round_term(term: Term, sticky: bool, bits: int, target: Address) -> tuple[Integer, int]:
    """target gets the significand of RN(term); returns its sign and exponent. sticky: as round_integer has it."""
    length = bit_length(term.limbs, term.width) if term.sign else 0
    if length == 0:
        for i in range((bits + 63) >> 6):
            store(target, i, ZERO)
        return 0, 0
    dropped = round_integer(term.limbs, term.width, length, sticky, bits, target)
    return term.sign, term.exponent + dropped


@kernel
def round_sum(a: Term, b: Term, window: Address, bits: int, target: Address) -> tuple[Integer, int]:
    """target gets the significand of RN(a + b); returns its sign and exponent.

    The window has SPARE_LIMBS more limbs than a, than b, and than the result. It begins so far below the larger term
    that where bits of the smaller one are cut, the sum has at least bits + 2.
    """
    length_a = bit_length(a.limbs, a.width) if a.sign else 0
    length_b = bit_length(b.limbs, b.width) if b.sign else 0
    if length_a == 0 or length_b == 0:
        return round_term(b if length_a == 0 else a, False, bits, target)
    swap = a.exponent + length_a < b.exponent + length_b
    larger, smaller = (b, a) if swap else (a, b)
    length, other_length = (length_b, length_a) if swap else (length_a, length_b)
    below = max(0, (max(other_length, bits) + 3 - length + 63) >> 6)
    size = below + ((length + 63) >> 6) + 1  # one for a carry and for the sign
    lay(window, below, size, larger.limbs)
    low = larger.exponent - 64 * below
    sticky = add_shifted(window, size, smaller, smaller.exponent - low, int(a.sign != b.sign))
    sign = larger.sign
    if load(window, size - 1) >> np.uint64(63):
        negate(window, size)
        sign = -sign
    return round_term(Term(sign, window, size, low), sticky, bits, target)


@kernel
def lay(window: Address, below: int, size: int, limbs: Address) -> None:
    """The first `size` limbs of the window become an integer above so many limbs of zero and below one."""
    for i in range(below):
        store(window, i, ZERO)
    for i in range(size - 1 - below):
        store(window, below + i, load(limbs, i))
    store(window, size - 1, ZERO)
