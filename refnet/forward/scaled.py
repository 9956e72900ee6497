"""Arrays of exact numbers: Python integers times one power of two.

Sums and products of such numbers are sums and products of integers, hence exact; rounding is a step of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import or_

import numpy as np
from mpmath import mp
from mpmath.libmp import from_man_exp, to_man_exp
from numpy.typing import NDArray

from ..arithmetic.formats import Array
from ..errors import InputError

Objects = NDArray[np.object_]
RawMpf = tuple[int, int, int, int]  # mpmath.libmp's own numbers


@dataclass(frozen=True)
class Scaled:
    """The numbers `integers * 2^exponent`; `integers` is an object array of Python integers."""

    integers: Objects
    exponent: int

    def at(self, exponent: int) -> Objects:
        """The integers of the same numbers at an exponent no larger than this one."""
        shifted: Objects = self.integers << (self.exponent - exponent)
        return shifted

    def to_mpf(self) -> Objects:
        """An array of mpmath.mpf that hold these numbers exactly, whatever mpmath's working precision is."""
        numbers = [mp.make_mpf(from_man_exp(integer, self.exponent)) for integer in self.integers.ravel().tolist()]
        return np.array(numbers, object).reshape(self.integers.shape)

    def rounded(self, bits: int) -> Scaled:
        """RN of each number to `bits` significant bits, ties to even; the exponent is the largest that serves all."""
        numbers = [_rounded(integer, bits) for integer in self.integers.ravel().tolist()]
        used = reduce(or_, numbers, 0)
        zeros = (used & -used).bit_length() - 1 if used else 0  # that every one of them ends in
        integers = np.array([number >> zeros for number in numbers], object)
        return Scaled(integers.reshape(self.integers.shape), self.exponent + zeros)


def common(*arrays: Scaled) -> tuple[list[Objects], int]:
    """The integers of several arrays at one exponent, and that exponent."""
    exponent = min(array.exponent for array in arrays)
    return [array.at(exponent) for array in arrays], exponent


def from_floats(x: Array) -> Scaled:
    """These finite numbers, of float64 or narrower, exactly. Raises InputError for NaN and infinity."""
    wide = np.asarray(x, np.float64)
    if not np.isfinite(wide).all():
        raise InputError("NaN or infinity among the numbers", expected="finite numbers for multiprecision arithmetic")
    significands, exponents = np.frexp(wide)
    integers = np.ldexp(significands, 53).astype(np.int64)
    zeros = np.frexp((integers & -integers).astype(np.float64))[1] - 1  # at the end of each integer
    used = integers != 0
    zeros = np.where(used, zeros, 0)
    exponents = exponents - 53 + zeros
    exponent = int(exponents.min(where=used, initial=1 << 20)) if used.any() else 0
    shifts = np.where(used, exponents - exponent, 0)
    return Scaled(np.asarray((integers >> zeros).astype(object) << shifts.astype(object)), exponent)


def from_raw(numbers: list[RawMpf]) -> Scaled:
    """These finite numbers of mpmath.libmp, exactly: a vector."""
    pairs = [to_man_exp(number) for number in numbers]
    signs = [-1 if number[0] else 1 for number in numbers]
    exponent = min((e for m, e in pairs if m), default=0)
    integers = [s * (int(m) << (e - exponent)) if m else 0 for s, (m, e) in zip(signs, pairs, strict=True)]
    return Scaled(np.array(integers, object), exponent)


def _rounded(number: int, bits: int) -> int:
    dropped = number.bit_length() - bits
    if dropped <= 0:
        return number
    odd = (number >> dropped) & 1
    return (number + (1 << (dropped - 1)) - 1 + odd) >> dropped << dropped
