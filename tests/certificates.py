"""Certificates compared to the bit, their numbers as fractions, and a picture to certify."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
from mpmath.libmp import from_man_exp

from refnet.certificate import Certificate
from refnet.certificate.layers import sha256_of


def made(mantissa: int, exponent: int) -> mpmath.mpf:
    return mpmath.mp.make_mpf(from_man_exp(mantissa, exponent))


def fraction(x: mpmath.mpf) -> Fraction:
    sign, mantissa, exponent, _ = x._mpf_
    return Fraction(-int(mantissa) if sign else int(mantissa)) * Fraction(2) ** int(exponent)


def vector(numbers: list[Any]) -> Any:
    found = np.empty(len(numbers), object)
    found[:] = numbers
    return found


def same(one: Certificate, other: Certificate) -> bool:
    """To the bit, and to the type of every array."""
    plain = ("bits", "working_precision", "needed", "provenance")
    if any(getattr(one, name) != getattr(other, name) for name in plain) or list(one.layers) != list(other.layers):
        return False
    logits = all(
        [x._mpf_ for x in left.ravel()] == [x._mpf_ for x in right.ravel()] and left.shape == right.shape
        for left, right in ((one.value, other.value), (one.radius, other.radius))
    )
    return logits and all(same_layer(one.layers[name], other.layers[name]) for name in one.layers)


def same_layer(one: Any, other: Any) -> bool:
    planes = [(getattr(one, name), getattr(other, name)) for name in ("hi", "lo", "radius")]
    plain = all(getattr(one, name) == getattr(other, name) for name in ("exponent", "largest", "sha256"))
    if (one.full is None) != (other.full is None):
        return False
    if one.full is not None:
        planes += [(one.full.radii.values, other.full.radii.values)]
        plain &= one.full.radii.exponent == other.full.radii.exponent
        plain &= sha256_of(one.full.midpoints) == sha256_of(other.full.midpoints) == one.sha256
    return plain and all(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in planes)


def picture(seed: int = 0, size: int = 32, dtype: Any = np.float32) -> Any:
    return np.random.default_rng(seed).uniform(-120, 150, (1, size, size, 3)).astype(dtype)
