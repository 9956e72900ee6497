"""Residues of numbers: an array of significands with exponents, or of floats, becomes float32 integers for each prime.

A number is an integer times 2^lowest, `lowest` being an exponent that serves the whole array. The integer's pieces
times the powers of two where they stand, modulo p, are one small matrix product with the numbers as columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from ..arithmetic.formats import Array
from ..errors import InputError
from .jit import compiled, kernel
from .modulo import powers, reduce_all, reduce_rows, shares
from .small_products import block_size, empty_columns, piece_width, product, whole_tiles
from .threads import run_all


class Limbs(NamedTuple):
    """The numbers sign M 2^exponent; a zero has sign 0 and M 0.

    signs: int8 in {-1, 0, 1}, of any shape S.  significands: uint64, S + (L,), little-endian limbs of M.
    exponents: int64, S.
    """

    signs: NDArray[np.int8]
    significands: NDArray[np.uint64]
    exponents: NDArray[np.int64]


Numbers = Limbs | Array


@dataclass(frozen=True)
class Span:
    """An array's numbers are integers below 2^(highest - lowest), times 2^lowest; both 0 where all are zero."""

    lowest: int
    highest: int

    @property
    def bits(self) -> int:
        return self.highest - self.lowest


def span_of(x: Numbers) -> Span:
    """The least Span of an array. Raises InputError for NaN and infinity."""
    return _span_of_limbs(x) if isinstance(x, Limbs) else _span_of_floats(x)


def _span_of_limbs(x: Limbs) -> Span:
    limbs, used = x.significands.shape[-1], x.signs != 0
    if not used.any():
        return Span(0, 0)
    tops = [int(x.significands[..., limb].max()) for limb in range(limbs - 1, -1, -1)]
    bits = next((64 * (limbs - 1 - i) + top.bit_length() for i, top in enumerate(tops) if top), 0)
    lowest = int(x.exponents.min(where=used, initial=np.iinfo(np.int64).max))
    highest = int(x.exponents.max(where=used, initial=np.iinfo(np.int64).min))
    return Span(lowest, highest + bits)


@kernel
def collect_bits(bits: NDArray[np.int64], seen: NDArray[np.int64]) -> None:
    """The bits of all significands, by exponent field; `bits` are float64 numbers read as integers."""
    for i in range(bits.size):
        seen[(bits[i] >> 52) & 2047] |= bits[i] & ((1 << 52) - 1) | (1 << 52)


def _span_of_floats(x: Array) -> Span:
    wide = np.ascontiguousarray(x, np.float64).reshape(-1)
    seen, integers = np.zeros(2048, np.int64), types.Array(types.int64, 1, "C")
    compiled(collect_bits, integers, integers)(wide.view(np.int64), seen)
    if seen[2047]:
        raise InputError("NaN or infinity among the numbers", expected="finite numbers")
    hidden = 1 << 52
    used = {field: int(bits) for field, bits in enumerate(seen.tolist()) if bits}
    used[0] = used.get(0, 0) & ~hidden  # subnormals have no hidden bit, and zeros none at all
    ends = [(max(1, field) - 1075, bits) for field, bits in used.items() if bits]
    if not ends:
        return Span(0, 0)
    return Span(
        min(exponent + (bits & -bits).bit_length() - 1 for exponent, bits in ends),
        max(exponent + bits.bit_length() for exponent, bits in ends),
    )


def residues(x: Numbers, span: Span, primes: tuple[int, ...], threads: int) -> NDArray[np.float32]:
    """x / 2^lowest modulo each prime, balanced: float32 (primes, *shape).

    span: one that holds x, with at most 900 bits for floats.  primes: the largest first.
    """
    if isinstance(x, Limbs):
        return _residues_of_limbs(x, span, primes, threads)
    scaled = integers_of(x, span)
    result = np.empty((len(primes), *x.shape), np.float32)
    for prime, target in zip(primes, result, strict=True):
        reduce_all(scaled, prime, span.bits, target, threads)
    return result


def integers_of(x: Array, span: Span) -> Array:
    """x / 2^lowest, exactly: float64 integers below 2^bits."""
    scaled: Array = np.ldexp(np.asarray(x, np.float64), -span.lowest)
    return scaled


@kernel
def cut_pieces(
    signs: NDArray[np.int8], significands: NDArray[np.uint64], exponents: NDArray[np.int64], lowest: int, width: int,
    start: int, stop: int, room: NDArray[np.uint64], packed: Array,
) -> bool:  # fmt: skip
    """packed[number // columns, k, number % columns] = sign * bits k width .. (k + 1) width of the number / 2^lowest.

    room: limbs + 2, of which the first and the last stay 0: bits are read across its words.  False where an exponent
    is below `lowest`.
    """
    count, columns = packed.shape[1:]
    limbs = significands.shape[1]
    mask, one, last = np.uint64((1 << width) - 1), np.uint64(1), np.uint64(63)
    for number in range(start, stop):
        panel, column = divmod(number - start, columns)
        sign, shift = signs[number], exponents[number] - lowest
        first, end = 0, 0
        if sign != 0:
            if shift < 0:
                return False
            first, end = min(count, shift // width), min(count, (shift + 64 * limbs + width - 1) // width)
            for limb in range(limbs):
                room[limb + 1] = significands[number, limb]
        for k in range(first):
            packed[panel, k, column] = 0
        for k in range(first, end):
            position = k * width - shift + 64
            word, offset = position >> 6, np.uint64(position & 63)
            bits = room[word] >> offset | (room[word + 1] << one) << (last - offset)
            packed[panel, k, column] = np.float64(np.int64(bits & mask) * sign)
        for k in range(end, count):
            packed[panel, k, column] = 0
    return True


@lru_cache(maxsize=64)
def _table(width: int, pieces: int, primes: tuple[int, ...]) -> Array:
    """2^(k width) modulo each prime: (primes and rows of zeros, pieces)."""
    return whole_tiles(np.ascontiguousarray(powers(1 << width, pieces, primes).T))


def _residues_of_limbs(x: Limbs, span: Span, primes: tuple[int, ...], threads: int) -> NDArray[np.float32]:
    limbs, residue = x.significands.shape[-1], (primes[0] + 1) // 2
    width = piece_width(span.bits, residue)
    table = _table(width, max(1, -(-span.bits // width)), primes)
    signs, exponents = np.ascontiguousarray(x.signs).reshape(-1), np.ascontiguousarray(x.exponents).reshape(-1)
    significands = np.ascontiguousarray(x.significands).reshape(-1, limbs)
    result = np.empty((len(primes), signs.size), np.float32)
    integers, words = types.int64, types.Array(types.uint64, 1, "C")
    cut = compiled(
        cut_pieces, types.Array(types.int8, 1, "C"), types.Array(types.uint64, 2, "C"), types.Array(integers, 1, "C"),
        *[integers] * 4, words, types.Array(types.float64, 3, "C"),
    )  # fmt: skip
    reduce = compiled(
        reduce_rows, types.Array(types.float64, 2, "C"), types.Array(types.float64, 1, "C"),
        types.Array(types.float32, 2, "C"), integers,
    )  # fmt: skip

    def convert(share: tuple[int, int]) -> None:
        count = share[1] - share[0]
        packed = empty_columns(table.shape[1], count)
        room = np.zeros(limbs + 2, np.uint64)
        if not cut(signs, significands, exponents, span.lowest, width, *share, room, packed):
            raise InputError("an exponent below the span's", expected=f"{span.lowest} or more")
        reduce(product(table, packed), np.array(primes, float), result, share[0])

    run_all(convert, shares(signs.size, block_size(sum(table.shape))), threads)
    return result.reshape(len(primes), *x.signs.shape)
