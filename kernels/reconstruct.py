"""Integers from their residues, by the Chinese remainder theorem.

With P the product of the primes p_i, and y_i = r_i (P / p_i)^-1 modulo p_i, the integer V of residues r_i and
|V| < P / 4 is sum y_i P / p_i - q P, where q = round(sum y_i / p_i): V / P is less than 1/4 away from q, far more than
float64 is off. Cut into digits of some bits, P / p_i and P are a table, and V's digits, before their carries, one small
matrix product with the outputs as columns. (Knuth, TAOCP 2, 4.3.2.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np
from numba import types
from numpy.typing import NDArray

from ..arithmetic.formats import Array
from .jit import compiled, kernel
from .modulo import modulo, shares
from .small_products import GROUP, block_size, empty_columns, piece_width, product, whole_tiles
from .threads import run_all

Signs = NDArray[np.int8]
Words = NDArray[np.uint64]
TOGETHER = 128  # outputs whose carries run side by side


@dataclass(frozen=True)
class _Cofactors:
    """What the primes decide.

    factors: (P / p_i)^-1 modulo p_i, balanced.  primes: as float64.  table: (digits and rows of zeros, primes + 1), the
    digits of each P / p_i and then of P, `width` bits each, the least first.  digits: how many.
    """

    factors: Array
    primes: Array
    table: Array
    width: int
    digits: int


@lru_cache(maxsize=64)
def _cofactors(primes: tuple[int, ...]) -> _Cofactors:
    whole = prod(primes)
    inverses = [pow(whole // p, -1, p) for p in primes]
    factors = [inverse - p if inverse > p // 2 else inverse for inverse, p in zip(inverses, primes, strict=True)]
    # y_i is at most (p_i + 1) / 2 and q at most the number of primes: they are the numbers that digits multiply
    width = piece_width(whole.bit_length(), (primes[0] + 1) // 2, terms=len(primes) + 1)
    digits = -(-whole.bit_length() // width)
    columns = [_digits_of(whole // p, width, digits) for p in primes] + [_digits_of(whole, width, digits)]
    table = whole_tiles(np.stack(columns, axis=1))
    return _Cofactors(np.array(factors, float), np.array(primes, float), table, width, digits)


def _digits_of(number: int, width: int, digits: int) -> Array:
    """The number's digits of `width` bits, the least first, as float64."""
    size = -(-width * digits // 8)
    bits = np.unpackbits(np.frombuffer(number.to_bytes(size, "little"), np.uint8), bitorder="little")
    return bits[: width * digits].reshape(digits, width) @ 2.0 ** np.arange(width)


@kernel
def weigh(residues: Array, factors: Array, primes: Array, start: int, packed: Array) -> None:
    """packed[panel, i, column] = y_i of output start + panel * columns + column, and below all y_i their -q.

    Outputs past the end are zeros.
    """
    panels, _, columns = packed.shape
    count = primes.size
    for panel in range(panels):
        for group in range(0, columns, GROUP):
            first = start + panel * columns + group
            used = max(0, min(GROUP, residues.shape[1] - first))
            at = np.uint64(first)
            for j in range(GROUP):
                packed[panel, count, group + j] = 0
            for i in range(count):
                p, inverse, factor = primes[i], 1 / primes[i], factors[i]
                if used == GROUP:
                    for j in range(GROUP):
                        packed[panel, i, group + j] = residues[i, at + np.uint64(j)]
                else:
                    for j in range(GROUP):
                        packed[panel, i, group + j] = residues[i, first + j] if j < used else 0.0
                for j in range(GROUP):
                    y = modulo(packed[panel, i, group + j] * factor, inverse, p)
                    packed[panel, i, group + j] = y
                    packed[panel, count, group + j] -= y * inverse
            for j in range(GROUP):
                packed[panel, count, group + j] = np.rint(packed[panel, count, group + j])


@kernel
def carry(
    sums: Array, digits: int, width: int, start: int, stop: int, signs: Signs, words: Words, room: Words,
    carries: NDArray[np.int64],
) -> None:  # fmt: skip
    """Signs and absolute values of the outputs start .. stop, from sums[digit, output - start].

    room: (limbs + 1, outputs together).  carries: (outputs together).
    """
    mask, limbs = np.int64((1 << width) - 1), words.shape[1]
    for first in range(start, stop, carries.size):
        size = np.uint64(min(carries.size, stop - first))
        at = np.uint64(first - start)
        carries[:] = 0
        room[:] = 0
        # above the last digit there are only carries: the bits of a negative number go on to the last limb
        for digit in range(max(digits, (64 * limbs + width - 1) // width)):
            limb, offset = digit * width // 64, digit * width % 64
            left, right = np.uint64(offset), np.uint64(63 - offset)
            spills = offset + width > 64
            for j in range(size):
                total = carries[j]
                if digit < digits:
                    total += np.int64(sums[digit, at + j])
                bits = np.uint64(total & mask)
                carries[j] = total >> width
                if limb < limbs:
                    room[limb, j] |= bits << left
                    if spills:
                        room[limb + 1, j] |= (bits >> np.uint64(1)) >> right
        write_words(room, carries, size, first, signs, words)


@kernel
def write_words(room: Words, carries: NDArray[np.int64], size: int, first: int, signs: Signs, words: Words) -> None:
    """Numbers in two's complement become signs and absolute values; the last carry is -1 where they are negative."""
    for j in range(np.uint64(size)):
        negative = carries[j] < 0
        flip, more, used = np.uint64(carries[j]), np.uint64(negative), np.uint64(0)
        at = np.uint64(first) + j
        for limb in range(words.shape[1]):
            value = (room[limb, j] ^ flip) + more
            more = more & np.uint64(value == 0)
            used |= value
            words[at, limb] = value
        signs[at] = 0 if used == 0 else -1 if negative else 1


def integers_from(residues: Array, primes: tuple[int, ...], limbs: int, threads: int) -> tuple[Signs, Words]:
    """The integers V with these residues, |V| < P / 4 and |V| < 2^(64 limbs): (primes, N) float64 -> signs, limbs.

    residues: integers at most (p + 1) / 2.  The result: int8 (N,) in {-1, 0, 1}, and uint64 (N, limbs), little-endian.
    """
    cofactors, count = _cofactors(primes), residues.shape[1]
    signs, words = np.empty(count, np.int8), np.empty((count, limbs), np.uint64)
    row, rows, panels = (types.Array(types.float64, dimensions, "C") for dimensions in (1, 2, 3))
    integers, limb_rows = types.int64, types.Array(types.uint64, 2, "C")
    weighed = compiled(weigh, rows, row, row, integers, panels)
    carried = compiled(
        carry, rows, *[integers] * 4, types.Array(types.int8, 1, "C"), *[limb_rows] * 2, types.Array(integers, 1, "C")
    )

    def convert(share: tuple[int, int]) -> None:
        start, stop = share
        packed = empty_columns(len(primes) + 1, stop - start)
        weighed(residues, cofactors.factors, cofactors.primes, start, packed)
        sums = product(cofactors.table, packed)
        room, carries = np.empty((limbs + 1, TOGETHER), np.uint64), np.empty(TOGETHER, np.int64)
        carried(sums, cofactors.digits, cofactors.width, start, stop, signs, words, room, carries)

    run_all(convert, shares(count, block_size(len(primes) + cofactors.digits)), threads)
    return signs, words
