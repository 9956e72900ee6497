"""Number formats: their limits, said once, and rounding onto them.

Limits as IEEE 754-2019 table 3.5 counts them; bfloat16 and tf32 share float32's exponents.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Format:
    """A binary floating-point format with subnormals, infinities and NaN.

    precision: significand bits p, the hidden one included.  emin, emax: exponents of the smallest and the largest
    normal number, which are 2^emin and (2 - 2^(1 - p)) 2^emax.  working: the NumPy type whose arrays hold the
    format's numbers exactly while refnet computes.  result: the type in which a user gets them.  planes: arrays of
    the working type that make up one array of numbers; double-double has two.
    """

    name: str
    precision: int
    emin: int
    emax: int
    working: type[np.floating]
    result: type[np.floating]
    planes: int = 1

    @property
    def unit_roundoff(self) -> float:
        """u, half an ulp of 1."""
        return 2.0**-self.precision

    @property
    def largest(self) -> float:
        return (2 - 2.0 ** (1 - self.precision)) * 2.0**self.emax

    @property
    def smallest_normal(self) -> float:
        return 2.0**self.emin

    @property
    def is_working(self) -> bool:
        """Whether the working type has just the numbers of this format, so that its own rounding is the format's."""
        return self.planes == 1 and np.finfo(self.working).nmant + 1 == self.precision


FORMATS = {
    format_.name: format_
    for format_ in (
        Format("float16", 11, -14, 15, np.float32, np.float16),
        Format("bfloat16", 8, -126, 127, np.float32, np.float32),
        Format("tf32", 11, -126, 127, np.float32, np.float32),
        Format("float32", 24, -126, 127, np.float32, np.float32),
        Format("float64", 53, -1022, 1023, np.float64, np.float64),
    )
}

# A pair of float64 is no format of one significand: its limits only say that it holds every number of the others.
DOUBLE_DOUBLE = Format("double-double", 106, -1022, 1023, np.float64, np.float64, planes=2)
NUMBERS = FORMATS | {DOUBLE_DOUBLE.name: DOUBLE_DOUBLE}


def format_named(name: str) -> Format:
    if name not in FORMATS:
        raise InputError(f"number format {name!r}", expected=f"one of {', '.join(FORMATS)}")
    return FORMATS[name]


def round_to(x: ArrayLike, format_: Format) -> Array:
    """RN: each number to the nearest of the format, ties to the even significand; an array of `format_.working`.

    x holds float64 numbers or narrower ones, so this is one rounding. Beyond the largest number by half an ulp and
    more comes infinity; below the smallest normal number the spacing stays 2^(emin - p + 1); the sign of zero stays.
    Every NaN becomes the same one, which has no bits below the format's; only where x lies in the format's own type, or
    in float16, it is copied as it stands.
    """
    if format_.is_working and getattr(x, "dtype", None) in (format_.working, np.float16):
        return np.array(x, format_.working)
    with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
        wide = np.asarray(x, np.float64)
    if format_.precision == 53:
        return wide.copy()
    exponent = np.frexp(wide)[1] - 1
    spacing = np.maximum(exponent, format_.emin) - format_.precision + 1
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = np.ldexp(np.rint(np.ldexp(wide, -spacing)), spacing)
        rounded = np.where(np.abs(rounded) > format_.largest, np.copysign(np.inf, wide), rounded)
        return np.where(np.isnan(wide), np.nan, rounded).astype(format_.working)
