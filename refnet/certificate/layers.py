"""What a certificate keeps of a layer: a pair of float64 for each midpoint, and a radius that covers what was cut."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from math import inf, log2

import numpy as np
from mpmath import mpf
from numpy.typing import NDArray

from ..arithmetic.big_floats import DTYPES, BigFloats
from ..arithmetic.formats import Array
from ..kernels.big_to_floats import to_double_double
from .ball_engine import Balls
from .radii import Radii

Floats = NDArray[np.float64]
SMALL = 2.0**-120  # of a tensor's largest radius: what float32 raises smaller ones to


@dataclass(frozen=True)
class CertifiedLayer:
    """|true - (hi + lo)| <= radius 2^exponent for each number of a layer.

    hi: float64, RN of the midpoint.  lo: float64, RN of the rest.  radius: float32.  largest: the largest radius of the
    midpoint itself, before anything was cut, over the layer's root mean square, as log2; -inf where it is 0.
    sha256: of the midpoints at the working precision.  full: the midpoints and radii themselves, where they are kept.
    """

    hi: Floats
    lo: Floats
    radius: NDArray[np.float32]
    exponent: int
    largest: float
    sha256: str
    full: Balls | None = None

    @property
    def bound(self) -> Floats:
        """radius 2^exponent in float64, raised to the next number where that is subnormal and thus rounded."""
        bound = np.ldexp(self.radius.astype(np.float64), self.exponent)
        raised = np.where(bound < np.finfo(np.float64).smallest_normal, np.nextafter(bound, inf), bound)
        return np.where(self.radius > 0, raised, 0.0)

    @property
    def digits(self) -> float:
        """Decimal digits that are proven of the layer as a whole: -log10 of the largest radius over its RMS."""
        return inf if self.largest == -inf else -self.largest / log2(10)


def certified(balls: Balls, *, full: bool, threads: int) -> CertifiedLayer:
    """A layer's balls as a certificate keeps them. Raises InputError for numbers beyond the range of float64."""
    pair, cut = to_double_double(balls.midpoints, threads=threads)
    radii = balls.radii.plus(Radii.scaled(cut))
    single = np.maximum(radii.values, SMALL).astype(np.float32)
    single = np.where(radii.values > 0, np.nextafter(single, np.float32(inf)), np.float32(0))
    return CertifiedLayer(
        pair.hi.astype(np.float64, copy=False),
        pair.lo.astype(np.float64, copy=False),
        single,
        radii.exponent,
        _relative(balls.radii.largest, pair.hi),
        sha256_of(balls.midpoints),
        balls if full else None,
    )


def sha256_of(x: BigFloats) -> str:
    """Of the bits of all numbers; two arrays of one precision have the same if they are equal."""
    digest = hashlib.sha256(f"{x.bits} {x.shape}".encode())
    for name, dtype in DTYPES.items():
        digest.update(np.ascontiguousarray(getattr(x, name), np.dtype(dtype).newbyteorder("<")).data)
    return digest.hexdigest()


def _relative(largest: mpf, values: Array) -> float:
    """log2(largest / RMS of the values): -inf where the radius is 0, inf where all values are."""
    size = float(np.max(np.abs(values), initial=0.0))
    if not largest:
        return -inf
    if not size:
        return inf
    rms = size * float(np.sqrt(np.mean((values / size) ** 2)))
    _, mantissa, exponent, _ = largest._mpf_
    return log2(int(mantissa)) + exponent - log2(rms) + 1e-9  # what log2 rounded
