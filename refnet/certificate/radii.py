"""Radii: numbers that are at least as large as what they stand for, in float64 rounded upwards.

Through a ResNet50 worst-case radii grow and shrink by thousands of bits, so each tensor has a power of two of its own.
Every operation here gives an upper bound: a float64 result of RN is raised to the next number, and what is far below a
tensor's largest radius is raised to FLOOR times it, so that nothing ever underflows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from mpmath import mp, mpf
from mpmath.libmp import from_float, mpf_shift
from numpy.typing import NDArray

from ..arithmetic.big_floats import LIMB_BITS, BigFloats

Floats = NDArray[np.float64]
FLOOR = 2.0**-400  # of a tensor's largest radius; products of two such numbers are far from underflow
ULP = 2.0**-52


@dataclass(frozen=True)
class Radii:
    """The bounds values * 2^exponent; values: float64, none negative, the largest between 1 and 2, or all zero."""

    values: Floats
    exponent: int

    @classmethod
    def scaled(cls, values: Floats, exponent: int = 0) -> Radii:
        """Bounds of values * 2^exponent, brought to a tensor's own power of two."""
        largest = float(np.max(values, initial=0.0))
        if not largest:
            return cls(np.zeros(values.shape), 0)
        shift = int(np.frexp(largest)[1]) - 1
        scaled = np.ldexp(values, -shift)
        return cls(np.where(values > 0, np.maximum(scaled, FLOOR), 0.0), exponent + shift)

    @classmethod
    def zeros(cls, shape: tuple[int, ...]) -> Radii:
        return cls(np.zeros(shape), 0)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def largest(self) -> mpf:
        """The largest bound, exactly."""
        return _mpf(float(np.max(self.values, initial=0.0)), self.exponent)

    def at(self, exponent: int) -> Floats:
        """Bounds in units of 2^exponent, which is no smaller than this one's own by more than float64 can hold."""
        moved = np.ldexp(self.values, self.exponent - exponent)
        return np.where(self.values > 0, np.maximum(moved, FLOOR), 0.0)

    def times(self, other: Radii) -> Radii:
        """Products, broadcast."""
        return Radii.scaled(up(self.values * other.values), self.exponent + other.exponent)

    def plus(self, *others: Radii) -> Radii:
        """Sums, broadcast."""
        parts = [part for part in (self, *others) if part.values.any()]
        if not parts:
            return Radii.zeros(np.broadcast_shapes(*(part.shape for part in (self, *others))))
        exponent = max(part.exponent for part in parts)
        total = parts[0].at(exponent)
        for part in parts[1:]:
            total = up(total + part.at(exponent))
        shape = np.broadcast_shapes(*(part.shape for part in (self, *others)))
        return Radii.scaled(np.broadcast_to(total, shape), exponent)

    def each(self, change: Callable[[Floats], Floats]) -> Radii:
        """What an operation that rounds nothing, such as padding, makes of the values."""
        return Radii(change(self.values), self.exponent)

    def to_mpf(self) -> NDArray[np.object_]:
        """Exactly, as an object array."""
        numbers = np.array([_mpf(value, self.exponent) for value in self.values.ravel().tolist()], object)
        return numbers.reshape(self.shape)


def up(values: Floats) -> Floats:
    """Upper bounds of what RN made of sums and products of bounds; zero stays, for it is exact here."""
    return np.where(values > 0, np.nextafter(values, np.inf), 0.0)


def magnitudes(x: BigFloats) -> Radii:
    """Upper bounds of |x|, by its highest limb alone."""
    return _at_exponents(_top(x) + 1.0, x.exponents + LIMB_BITS * (x.limbs - 1), x.signs != 0)


def roundoff(x: BigFloats) -> Radii:
    """Half an ulp of each number: how far RN may have moved it. A zero is exact, since exponents are unbounded."""
    return _at_exponents(np.full(x.shape, 0.5), x.exponents, x.signs != 0)


def surely_reaches(x: BigFloats, radii: Radii) -> NDArray[np.bool_]:
    """Where |x| >= r, decided by a lower bound of |x|."""
    low = np.maximum(np.nextafter(_top(x), 0.0) - 1.0, 0.0)
    distance = x.exponents + LIMB_BITS * (x.limbs - 1) - radii.exponent
    with np.errstate(under="ignore", over="ignore"):
        return (x.signs != 0) & (np.ldexp(low, np.clip(distance, -3000, 3000)) >= radii.values) | (radii.values == 0)


def _top(x: BigFloats) -> Floats:
    """The highest limb of each number, RN."""
    return x.significands[..., -1].astype(np.float64)


def _at_exponents(values: Floats, exponents: NDArray[np.int64], used: NDArray[np.bool_]) -> Radii:
    """Upper bounds of values * 2^exponents, each its own, where they are used; values: of RN, up to 2^65."""
    if not used.any():
        return Radii.zeros(values.shape)
    top = int(exponents[used].max())
    moved = np.ldexp(np.nextafter(values, np.inf), np.clip(exponents - top, -3000, 0))
    return Radii.scaled(np.where(used, np.maximum(moved, FLOOR), 0.0), top)


def _mpf(value: float, exponent: int) -> mpf:
    return mp.make_mpf(mpf_shift(from_float(value), exponent))
