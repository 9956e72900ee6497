"""Every arithmetic that has a meaning, from refnet's own tables, and numbers that are hard on them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from refnet.arithmetic import ACCUMULATE, FORMATS, ORDERS, PRECISIONS, Arithmetic, DoubleDouble, Format, round_to
from refnet.errors import InputError

# One text for each way in which an order can be asked for; K is the number of terms that it fits.
ORDER_TEXTS = {
    "sequential": ("sequential",),
    "reversed": ("reversed",),
    "permuted": ("permuted:7",),
    "blocks": ("blocks:5", "blocks:1"),
    "lanes": ("lanes:4", "lanes:16"),
    "pairwise": ("pairwise", "pairwise:8"),
    "kahan": ("kahan",),
    "neumaier": ("neumaier",),
    "dot2": ("dot2",),
    "exact": ("exact",),
}
assert set(ORDER_TEXTS) == set(ORDERS) - {"tree"}  # a tree fits one K only: test_tree.py

TEXTS = tuple(itertools.chain.from_iterable(ORDER_TEXTS.values()))


def _all() -> list[Arithmetic]:
    found = []
    for precision, accumulate, text, fma in itertools.product(PRECISIONS, ACCUMULATE, TEXTS, (False, True)):
        try:
            found.append(Arithmetic(precision, accumulate, text, fma))
        except InputError:
            continue  # test_arithmetic.py says which combinations these are
    return found


ARITHMETICS = _all()
EVERY_ORDER = (("float32", "float32"), ("float64", "float64"))  # formats that the fast tests try with every order
SOME_ORDERS = ("sequential", "pairwise:8", "kahan", "dot2")  # and the orders that they try with every format


def label(arithmetic: Arithmetic) -> str:
    fused = "-fma" if arithmetic.fma else ""
    return f"{arithmetic.precision}-{arithmetic.accumulate}-{arithmetic.order}{fused}"


def each(arithmetics: list[Arithmetic]) -> pytest.MarkDecorator:
    """Parametrise a test over `arithmetics`; those that repeat formats and orders in new pairs are exhaustive."""

    def is_repeated(a: Arithmetic) -> bool:
        return (a.precision, a.accumulate) not in EVERY_ORDER and str(a.order) not in SOME_ORDERS

    marked = [
        pytest.param(a, id=label(a), marks=[pytest.mark.exhaustive] if is_repeated(a) else []) for a in arithmetics
    ]
    return pytest.mark.parametrize("arithmetic", marked)


def special_values(format_: Format) -> list[float]:
    """Zeros, subnormals, the limits, infinities and NaN of a format."""
    smallest = 2.0 ** (format_.emin - format_.precision + 1)
    sizes = [0.0, smallest, 3 * smallest, format_.smallest_normal, 1.0, format_.largest, float("inf")]
    return [*sizes, *(-size for size in sizes), float("nan")]


def random_numbers(rng: np.random.Generator, shape: tuple[int, ...], format_: Format, wild: float) -> Any:
    """Normal numbers; a share `wild` of them is drawn from the whole range of the format or is special."""
    if format_.planes == 2:
        high = random_numbers(rng, shape, FORMATS["float64"], wild)
        with np.errstate(all="ignore"):
            low = np.where(np.isfinite(high), high * rng.uniform(-(2.0**-54), 2.0**-54, shape), 0.0)
        return DoubleDouble(high, low)
    numbers = rng.standard_normal(shape)
    exponents = rng.integers(format_.emin - format_.precision, format_.emax + 1, shape)
    with np.errstate(over="ignore"):
        spread = np.ldexp(numbers, exponents.astype(np.int32))
    special = rng.choice(special_values(format_), shape)
    kind = rng.random(shape)
    return round_to(np.where(kind < wild / 2, spread, np.where(kind < wild, special, numbers)), format_)


wildness = st.sampled_from([0.0, 0.0, 0.05, 0.3])
