"""mpmath's numbers as text: hexadecimal, which is exact, and decimal, rounded to the side that is asked for."""

from __future__ import annotations

from decimal import MAX_EMAX, MIN_EMIN, ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction

from mpmath import mp, mpf
from mpmath.libmp import from_man_exp

RADIUS_DIGITS = 2
TINY = mp.make_mpf(from_man_exp(1, -20000))
TINY_TEXT = {ROUND_FLOOR: "0", ROUND_CEILING: "1e-6000"}


def hexadecimal(x: mpf) -> str:
    """Exactly, as C writes a number: `-0x1bp-4` is -27/16. float.fromhex reads it where float64 holds it."""
    sign, mantissa, exponent, _ = x._mpf_
    return f"{'-' if sign else ''}0x{int(mantissa):x}p{exponent:+d}"


def decimal(x: mpf, digits: int, rounding: str = ROUND_HALF_EVEN) -> str:
    """`digits` significant decimal digits of x, rounded once; rounding: a name of the module decimal.

    A bound of a softmax may be exp(-2^80): below TINY it is bounded by 0 or by TINY_TEXT instead.
    """
    if rounding in TINY_TEXT and 0 < x < TINY:
        return TINY_TEXT[rounding]
    return str(_rounded(_exactly(x), digits, rounding)).lower()


def ball(value: mpf, radius: mpf, digits: int) -> str:
    """`value ± radius` in decimal: a ball that holds the given one, its value RN to so many digits."""
    shown = _rounded(_exactly(value), digits, ROUND_HALF_EVEN)
    wider = _exactly(radius) + abs(_exactly(value) - Fraction(shown))
    return f"{shown} ± {_rounded(wider, RADIUS_DIGITS, ROUND_CEILING)}".lower()


def _exactly(x: mpf) -> Fraction:
    sign, mantissa, exponent, _ = x._mpf_
    size = Fraction(int(mantissa) << max(exponent, 0), 1 << max(-exponent, 0))
    return -size if sign else size


def _rounded(x: Fraction, digits: int, rounding: str) -> Decimal:
    context = Context(prec=digits, rounding=rounding, Emin=MIN_EMIN, Emax=MAX_EMAX)
    return context.divide(Decimal(x.numerator), Decimal(x.denominator))
