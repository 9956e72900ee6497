"""Remainders, balanced around zero, of integers held as float64: what conversions to and from residues are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from ..arithmetic.formats import Array
from .jit import compiled, kernel
from .threads import run_all

BLOCK = 1024  # numbers reduced together: they stay in the nearest cache from one step to the next
SHARE = 1 << 16
TO_INTEGER = 1.5 * 2**52
EXACT_BITS, LESSENED_BITS = 53, 51  # what `modulo` takes, and how many bits each step before it takes off


@intrinsic
def _fma(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """a b + c with one rounding, of float64 numbers."""
    signature = types.float64(types.float64, types.float64, types.float64)
    return signature, lambda context, builder, signature, arguments: builder.fma(*arguments)


fma: Any = _fma


@kernel
def modulo(x: float, inverse: float, p: float) -> float:
    """x - q p exactly, where |x| <= 2^53 is an integer, p a prime from 5 on, and inverse = fl(1 / p).

    q is the integer next to x inverse, which is off x / p by 1 / p at most: the result is at most (p + 1) / 2. Adding
    1.5 * 2^52 rounds to an integer.
    """
    q = fma(x, inverse, TO_INTEGER) - TO_INTEGER
    return fma(-q, p, x)


@kernel
def lessened(x: float, inverse: float, p: float) -> float:
    """x - q p exactly, for any integer x of 53 significant bits: at most |x| 2^-52 + p / 2 + 1.

    q = rint(fl(x inverse)) is off by |q| 2^-52 and one half at most, and all bits of x - q p lie between an ulp of q
    and that size, fewer than 53 places above.
    """
    return fma(-np.rint(x * inverse), p, x)


@kernel
def reduce_share(x: Array, inverse: float, p: float, steps: int, result: Array, start: int, stop: int) -> None:
    """result = x modulo p for the numbers start .. stop, lessened `steps` times before."""
    room = np.empty(BLOCK)
    for first in range(start, stop, BLOCK):
        at, size = np.uint64(first), np.uint64(min(BLOCK, stop - first))  # unsigned, or nothing becomes a vector
        for i in range(size):
            room[i] = x[at + i]
        for _ in range(steps):
            for i in range(size):
                room[i] = lessened(room[i], inverse, p)
        for i in range(size):
            result[at + i] = modulo(room[i], inverse, p)


@kernel
def reduce_rows(x: Array, primes: Array, result: Array, start: int) -> None:
    """result[i, start + j] = x[i, j] modulo primes[i], of integers up to 2^53; for as many rows as there are primes."""
    count, at = np.uint64(x.shape[1]), np.uint64(start)
    count = min(count, np.uint64(result.shape[1]) - at)
    for row in range(primes.size):
        p, inverse = primes[row], 1 / primes[row]
        for j in range(count):
            result[row, at + j] = modulo(x[row, j], inverse, p)


def reduce_all(x: Array, prime: int, bits: int, result: Array, threads: int) -> None:
    """result = x modulo the prime, balanced; x: float64 integers below 2^bits.  result: float32 or float64."""
    integers, numbers = types.int64, types.Array(types.float64, 1, "C")
    target = types.Array(types.float32 if result.dtype == np.float32 else types.float64, 1, "C")
    code = compiled(reduce_share, numbers, types.float64, types.float64, integers, target, integers, integers)
    steps = max(0, -(-(bits - EXACT_BITS) // LESSENED_BITS))
    x, result = x.reshape(-1), result.reshape(-1)
    run_all(lambda share: code(x, 1 / prime, float(prime), steps, result, *share), shares(x.size), threads)


def shares(count: int, size: int = SHARE) -> list[tuple[int, int]]:
    """`count` numbers in runs of `size`, as (start, stop)."""
    return [(start, min(start + size, count)) for start in range(0, count, size)]


def powers(base: int, count: int, primes: tuple[int, ...]) -> Array:
    """base^0, base^1, ... modulo each prime below 2^25, balanced: float64 (count, primes)."""
    p = np.array(primes, np.int64)
    factor = np.array([base % prime for prime in primes], np.int64)
    result, power = np.empty((count, p.size)), np.ones_like(p)
    for row in result:
        row[:] = np.where(power > p // 2, power - p, power)
        power = power * factor % p  # a product below 2^50
    return result
