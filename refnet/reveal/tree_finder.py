"""The order of a black box: its tree from masks and probes of rounding, then held against it on drawn numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import ops
from ..arithmetic import MEANS, Arithmetic, Order, Tree, recognise
from .assembly import has_fma, partners, program_of, unrounded_in_fused_sums, without_bias
from .black_box import BlackBox, NoTreeError
from .drawn_sums import drawn_sums
from .meetings import Meeting, find_meetings
from .rounding import Flags, rounded_products
from .sum_formats import FLOAT32, SumFormats


@dataclass(frozen=True)
class Found:
    """How a black box adds. order: over its terms, the bias left out.  fma, bias, mean: as in Arithmetic.

    formats: of operands, sums and output. Where products are exact, fma gives no other bits and is True.
    """

    order: Order
    fma: bool
    bias: str = "last"
    mean: str = "divide"
    formats: SumFormats = FLOAT32

    @property
    def fields(self) -> dict[str, Any]:
        """Those of Arithmetic; the precision is None where refnet has none of these formats."""
        how = {"precision": self.formats.precision, "accumulate": self.formats.sums, "order": self.order}
        return {**how, "fma": self.fma, "bias": self.bias, "mean": self.mean}


def find_tree(box: BlackBox, seed: int = 0) -> Found:
    """The order of a sum, by its name where it has one.

    Raises NoTreeError where the sum is no tree of additions, is not always the same one, or has its bias where no order
    of refnet's has it, and where the found order gives other bits than the box on drawn numbers.
    """
    try:
        return _find_tree(box, seed)
    except NoTreeError:
        if not box.rough or box.terms <= box.limit:
            raise
    return _find_tree(replace(box, rough=False), seed)  # rounded counts may mislead where several meet in one fused sum


def _find_tree(box: BlackBox, seed: int) -> Found:
    top = find_meetings(box, seed)
    if box.products and box.formats.exact_products:
        rounded = unrounded_in_fused_sums(top, np.ones(box.terms, bool), box.terms - box.bias)
        top, place = _without_bias(box, top, rounded)
        return checked(box, replace(_named(box, top, rounded, False, place), fma=True), seed)
    rounded = rounded_products(box, partners(top, box.terms))
    fma = has_fma(top, rounded)
    top, place = _without_bias(box, top, rounded)
    try:
        return checked(box, _named(box, top, rounded, fma, place), seed)
    except NoTreeError:
        if not fma:
            raise
    # Some products were rounded where fma=True has no node for it: the first one on a bias. Then each fma is a fused
    # sum of its own.
    return checked(box, _named(box, top, rounded, False, place), seed)


def _without_bias(box: BlackBox, top: Meeting, rounded: Flags) -> tuple[Meeting, str]:
    if box.bias:
        return without_bias(top, box.terms - 1, rounded)
    return top, box.bias_after or "last"


def _named(box: BlackBox, top: Meeting, rounded: Flags, fma: bool, place: str) -> Found:
    tree = Tree(program_of(top, rounded, fma))
    return Found(recognise(tree, fma=fma, bias=place), fma, place, formats=box.formats)


def checked(box: BlackBox, found: Found, seed: int = 0) -> Found:
    """`found`, with the form of the mean where the box divides, if it gives the box's bits twice, for drawn numbers.

    Raises NoTreeError where they do not.
    """
    drawn = list(drawn_sums(box, seed))
    answers = [[box.ask(*numbers) for _ in range(2)] for numbers in drawn]
    differing = {}
    for mean in MEANS if box.divisor > 1 else MEANS[:1]:
        expected = [in_order(box, replace(found, mean=mean), *numbers) for numbers in drawn]
        differing[mean] = sum(
            max(int((answer != known).sum()) for answer in twice)
            for twice, known in zip(answers, expected, strict=True)
        )
        if not differing[mean]:
            return replace(found, mean=mean)
    raise NoTreeError(
        f"{min(differing.values())} of {sum(len(weights) for weights, _ in drawn)} sums of drawn numbers have other "
        f"bits than {found.order.summary()} gives: the order is not always the same, or rounds in a way of its own"
    )


def in_order(box: BlackBox, found: Found, weights: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """The box's sums by refnet: (queries, terms), (terms,) -> (queries,)."""
    name, last = box.formats.sums, box.terms - box.bias
    bias = weights[:, last] if box.bias else None
    a, b = inputs[None, :last], np.ascontiguousarray(weights[:, :last].T)
    place = found.bias if box.bias else "last"
    arithmetic = Arithmetic(name, name, found.order, found.fma, place, mean=found.mean)
    sums = ops.sums(a, b, bias, arithmetic=arithmetic)
    whole = ops.mean_of(sums, box.divisor, sums.shape, arithmetic) if box.divisor > 1 else sums
    return np.asarray(box.formats.finished(whole)[0])
