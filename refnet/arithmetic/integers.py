"""Exact integers times a power of two, rounded once to a format."""

from __future__ import annotations

import math

from .formats import Format

ROUNDINGS = ("nearest", "zero", "odd")


def rounded(number: int, exponent: int, format_: Format, mode: str = "nearest") -> float:
    """number 2^exponent in `format_`, subnormals included; a mode is what fused_sum.Rounding says.

    Where the magnitude is too large, `nearest` gives infinity and the other modes the largest number.
    """
    size, sign = abs(number), -1.0 if number < 0 else 1.0
    leading = size.bit_length() - 1 + exponent
    spacing = max(leading, format_.emin) - format_.precision + 1
    if spacing > exponent:
        size, exponent = without_bits(size, spacing - exponent, mode), spacing
    if size.bit_length() - 1 + exponent > format_.emax:
        return sign * (math.inf if mode == "nearest" else format_.largest)
    shorter = max(0, size.bit_length() - 53)  # only zeros are cut
    return sign * math.ldexp(size >> shorter, exponent + shorter)


def without_bits(number: int, dropped: int, mode: str = "nearest") -> int:
    """number / 2^dropped, rounded to an integer; number is at least 0, dropped at least 1."""
    kept, rest = number >> dropped, number & ((1 << dropped) - 1)
    if mode == "nearest":
        return (number + (1 << (dropped - 1)) - 1 + (kept & 1)) >> dropped
    return kept | 1 if mode == "odd" and rest else kept
