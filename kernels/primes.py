"""The primes of an exact product: sums of residues stay below 2^53, and the primes' product above what is computed.

Residues are balanced: |r| <= (p + 1) / 2, one more than the smallest, since round(x / p) is taken of a rounded
quotient (modulo.py). So K products of two residues sum to at most K ((p + 1) / 2)^2.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import count
from math import isqrt

import numpy as np

from ..errors import InputError

EXACT = 1 << 53  # float64 holds all integers up to this one
LARGEST_RESIDUE = (1 << 24) - 1  # a residue is also stored as float32
SMALLEST_PRIME = 5  # so that x / p of an |x| up to 2^53 stays below 2^51 (modulo.py)
WINDOW = 1 << 16  # numbers sieved at once


def largest_residue(terms: int) -> int:
    """The largest |r| for which `terms` products of two residues sum to at most 2^53."""
    return min(LARGEST_RESIDUE, isqrt(EXACT // max(1, terms)))


@lru_cache(maxsize=256)
def primes_for(bits: int, residue: int) -> tuple[int, ...]:
    """Distinct primes, the largest first, with residues of at most `residue` and a product of 2^bits or more.

    Raises InputError where there are not so many.
    """
    chosen: list[int] = []
    product = 1
    for prime in _descending(2 * residue - 1):
        if product >> bits:
            return tuple(chosen)
        if prime < SMALLEST_PRIME:
            break
        chosen.append(prime)
        product *= prime
    raise InputError(
        f"an exact product of {bits} bits", expected=f"what the primes below {2 * residue} hold", do="split the sums"
    )


def _descending(limit: int) -> Iterator[int]:
    """All primes up to `limit`, downwards, and then 1."""
    for start in count(limit + 1 - WINDOW, -WINDOW):
        yield from _window(max(2, start), start + WINDOW)
        if start <= 2:
            break
    yield 1


@lru_cache(maxsize=64)
def _window(start: int, stop: int) -> tuple[int, ...]:
    """The primes in start .. stop - 1, downwards (Eratosthenes)."""
    prime = np.ones(max(0, stop - start), bool)
    for divisor in range(2, isqrt(max(0, stop)) + 1):
        first = max(divisor * divisor, -(-start // divisor) * divisor)
        prime[first - start :: divisor] = False
    return tuple((np.flatnonzero(prime)[::-1] + start).tolist())
