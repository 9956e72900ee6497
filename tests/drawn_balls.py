"""Balls drawn by hypothesis, true numbers inside them, and what they are as fractions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from big_numbers import Number, array, raws
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from refnet.arithmetic.big_floats import BigFloats
from refnet.certificate.ball_engine import Balls
from refnet.certificate.radii import Radii

Shape = tuple[int, ...]


def of_float(x: float, exponent: int = 0) -> Fraction:
    return Fraction(x) * Fraction(2) ** exponent


def of_radii(radii: Radii) -> Any:
    return np.frompyfunc(lambda value: of_float(value, radii.exponent), 1, 1)(radii.values)


def of_floats(x: Any) -> Any:
    return np.frompyfunc(Fraction, 1, 1)(np.asarray(x, np.float64))


def of_big(x: BigFloats) -> Any:
    parts = [Fraction(-int(m) if sign else int(m)) * Fraction(2) ** int(e) for sign, m, e, _ in raws(x)]
    return objects(parts, x.shape)


def objects(numbers: Sequence[Fraction], shape: Shape) -> Any:
    made = np.empty(len(numbers), object)
    made[:] = numbers
    return made.reshape(shape)


def radius_values(shape: Shape) -> st.SearchStrategy[Any]:
    """Zeros, ordinary ones, and some hundreds of bits below the others."""
    sizes = st.floats(0, 4, allow_subnormal=False) | st.floats(2.0**-300, 2.0**-290) | st.sampled_from([0.0, 1.0])
    return arrays(np.float64, shape, elements=sizes)


def radii_of(shape: Shape) -> st.SearchStrategy[Radii]:
    return st.builds(Radii.scaled, radius_values(shape), st.sampled_from([0, -40, -64, -130, 900, -3300]))


def midpoint(bits: int) -> st.SearchStrategy[Number]:
    """Zero, or just `bits` bits, near 1: some are tiny and some are neighbours of a power of two."""
    top = 1 << (bits - 1)
    integers = st.integers(top, 2 * top - 1) | st.sampled_from([top, 2 * top - 1, top | 1])
    exponents = st.integers(-bits - 4, -bits + 4) | st.integers(-3 * bits, -bits)
    signed = st.tuples(integers, exponents, st.sampled_from([-1, 1])).map(lambda n: (n[0] * n[2], n[1]))
    return st.just((0, 0)) | signed


def balls_of(shape: Shape, bits: int) -> st.SearchStrategy[Balls]:
    numbers = st.lists(midpoint(bits), min_size=math.prod(shape), max_size=math.prod(shape))
    exponents = st.sampled_from([-bits, -bits - 9, 0, 3])
    exact = st.just(Radii.zeros(shape))
    radii = exact | st.builds(Radii.scaled, radius_values(shape), exponents)
    return st.builds(Balls, numbers.map(lambda parts: array(parts, bits, shape)), radii)


def inside(balls: Balls, data: st.DataObject) -> Any:
    """True numbers, one in each ball."""
    places = st.sampled_from([-1, 1]) | st.sampled_from([Fraction(-1, 3), 0, Fraction(1, 2)])
    drawn = data.draw(st.lists(places, min_size=balls.midpoints.size, max_size=balls.midpoints.size))
    return of_big(balls.midpoints) + objects([Fraction(place) for place in drawn], balls.shape) * of_radii(balls.radii)
