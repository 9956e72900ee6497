"""Ill-conditioned dot products: Algorithm 6.1 of Ogita, Rump and Oishi, Accurate sum and dot product,
SIAM Journal on Scientific Computing 26 (2005)."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

TOP_EXPONENT = {"float32": 60, "float64": 480}  # of one factor; sums of products of two such factors stay finite


class IllConditioned(NamedTuple):
    """Vectors x and y, their exact dot product and its condition number 2 sum |x_k y_k| / |sum x_k y_k|."""

    x: NDArray[np.floating]
    y: NDArray[np.floating]
    value: Fraction
    condition: float


def gendot(size: int, condition: float, *, seed: int, dtype: DTypeLike = np.float64) -> IllConditioned:
    """`size` float32 or float64 terms whose dot product has about the wanted condition number, 1 to 1e100.

    The first half spreads over the exponents 0 to b/2, b = log2(condition); each y_k of the second half all but
    cancels the sum so far, down to exponents that fall from b/2 to 0. Beyond a condition of 1e36 or so the vectors
    are scaled down where float32 would overflow: then the last products lie below its range, and only an exact sum
    sees them. Raises ValueError where so few terms cannot reach the condition: each cancels p bits.
    """
    name, span = np.dtype(dtype).name, np.log2(condition) / 2
    precision = np.finfo(dtype).nmant + 1
    half = size // 2
    if not 1 <= condition <= 1e100 or (half - 1) * precision < 2 * span or size < 6:
        raise ValueError(f"no {size} {name} terms have the condition {condition:g}")
    rng = np.random.default_rng(seed)
    spread = np.rint(rng.uniform(0, span, half))
    spread[0], spread[-1] = np.rint(span) + 1, 0
    exponents = np.concatenate([spread, np.rint(np.linspace(span, 0, size - half))]).astype(int)
    x, y, aims = (_shortened(np.ldexp(_significands(rng, size), exponents), dtype) for _ in range(3))
    value = _dot(x[:half], y[:half])
    for k in range(half, size):
        y[k] = _shortened(float((Fraction(aims[k]) - value) / Fraction(x[k])), dtype)
        value += Fraction(x[k]) * Fraction(y[k])
    scale = min(0, TOP_EXPONENT[name] - int(exponents.max()))
    order = rng.permutation(size)
    x, y = (np.ldexp(vector[order], scale).astype(dtype) for vector in (x, y))
    value = _dot(x, y)
    return IllConditioned(x, y, value, float(2 * _dot(np.abs(x), np.abs(y)) / abs(value)))


def _significands(rng: np.random.Generator, size: int) -> NDArray[np.float64]:
    """Numbers of either sign from half to one: none so small that float32 loses its bits."""
    return rng.uniform(0.5, 1, size) * np.copysign(1.0, rng.uniform(-1, 1, size))


def _shortened(x: NDArray[np.float64] | float, dtype: DTypeLike) -> NDArray[np.float64]:
    """float64 numbers with no more significand bits than `dtype` has, whatever their exponents."""
    significand, exponent = np.frexp(x)
    shortened: NDArray[np.float64] = np.ldexp(np.asarray(significand, dtype).astype(np.float64), exponent)
    return shortened


def _dot(x: NDArray[np.floating], y: NDArray[np.floating]) -> Fraction:
    return sum((Fraction(a) * Fraction(b) for a, b in zip(x.tolist(), y.tolist(), strict=True)), Fraction(0))
