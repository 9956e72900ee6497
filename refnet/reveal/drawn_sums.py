"""Drawn numbers that an order is held against: as they come, so that sums cancel, and so that a mean's form shows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .. import ops
from ..arithmetic import MEANS, Arithmetic, stored
from ..arithmetic.formats import Array
from .black_box import BlackBox

CHECKED = 64  # sums of each kind
LARGE = 2.0**12  # products that cancel: what is rounded away then lies well inside the range of float16
SEARCHED = 1 << 12  # means around which those sums are sought that the forms of a mean divide otherwise

Sums = tuple[Array, Array]
"""Weights (queries, terms) and inputs (terms,), numbers of the operands' format."""


def drawn_sums(box: BlackBox, seed: int) -> Iterator[Sums]:
    """What a box is asked when its order is known; a narrow output would hide that order in drawn sums alone."""
    weights, inputs = _drawn(box, seed)
    yield weights, inputs
    yield _cancelling(box, weights, inputs, seed)
    if box.divisor > 1 and _is_narrow(box):
        yield _telling(box, seed), inputs


def _is_narrow(box: BlackBox) -> bool:
    return box.formats.out.precision < box.formats.sum.precision


def _drawn(box: BlackBox, seed: int) -> Sums:
    rng = np.random.default_rng(seed)
    shapes = (min(CHECKED, box.rows), box.terms), (box.terms,)
    weights, inputs = (stored(rng.standard_normal(shape), box.formats.operand) for shape in shapes)
    return weights, inputs if box.products else np.ones_like(inputs)


def _cancelling(box: BlackBox, weights: Array, inputs: Array, seed: int) -> Sums:
    """The same numbers so that the real sums are zero: what comes back is what the order rounds away, and no more.

    For a narrow output products are large.
    """
    large = LARGE if _is_narrow(box) else 1.0
    size = np.sqrt(large) if box.products else large
    order = np.random.default_rng(seed).permutation(box.terms - box.bias)
    half = len(order) // 2
    left, right = order[:half], order[half : 2 * half]
    paired, equal = np.zeros_like(weights), inputs.copy()
    paired[:, left], paired[:, right] = weights[:, left] * size, -weights[:, left] * size
    equal[left] = equal[right] = inputs[left] * (size if box.products else 1)
    return paired, equal


def _telling(box: BlackBox, seed: int) -> Array:
    """Three terms, the others zero, whose sum is exact, and whose mean has other bits in each form of MEANS.

    Where the output is narrow few sums do that; they lie around those whose mean is half way between two outputs.
    """
    out, sums, operand = box.formats.out, box.formats.sum, box.formats.operand
    middles = stored(np.random.default_rng(seed).uniform(1, 2, SEARCHED), out) + out.unit_roundoff
    around = np.asarray(middles * box.divisor, sums.working)[:, None]
    total = np.unique(around + np.spacing(around) * np.arange(-4, 5, dtype=sums.working))[None]
    first, *others = (
        stored(ops.mean_of(total, box.divisor, total.shape, Arithmetic(sums.name, sums.name, mean=form))[0], out)
        for form in MEANS
    )
    telling = total[0, np.any([other != first for other in others], axis=0)]
    terms = np.zeros((min(CHECKED, box.rows), box.terms), box.working)
    left = np.random.default_rng(seed).permutation(telling)[: len(terms)]
    for place in range(min(3, box.terms)):
        terms[: len(left), place] = stored(left, operand)
        left = left - terms[: len(left), place]
    return terms
