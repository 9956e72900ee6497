"""The order of a black box: its tree from masks and probes of rounding, then held against it on drawn numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .. import ops
from ..arithmetic import MEANS, Arithmetic, Order, Tree, recognise, stored
from .assembly import has_fma, partners, program_of, without_bias
from .black_box import BlackBox, NoTreeError
from .meetings import Meeting, find_meetings
from .rounding import Flags, rounded_products

CHECKED = 64  # sums of drawn numbers


@dataclass(frozen=True)
class Found:
    """How a black box adds. order: over its terms, the bias left out.  fma, bias, mean: as in Arithmetic."""

    order: Order
    fma: bool
    bias: str = "last"
    mean: str = "divide"


def find_tree(box: BlackBox, seed: int = 0) -> Found:
    """The order of a sum, by its name where it has one.

    Raises NoTreeError where the sum is no tree of additions, is not always the same one, or has its bias where no order
    of refnet's has it, and where the found order gives other bits than the box on drawn numbers.
    """
    top = find_meetings(box, seed)
    rounded = rounded_products(box, partners(top, box.terms))
    fma = has_fma(top, rounded)
    top, place = without_bias(top, box.terms - 1, rounded) if box.bias else (top, "last")
    try:
        return checked(box, _named(top, rounded, fma, place), seed)
    except NoTreeError:
        if not fma:
            raise
    # Some products were rounded where fma=True has no node for it: the first one on a bias. Then each fma is a fused
    # sum of its own.
    return checked(box, _named(top, rounded, False, place), seed)


def _named(top: Meeting, rounded: Flags, fma: bool, place: str) -> Found:
    return Found(recognise(Tree(program_of(top, rounded, fma)), fma=fma, bias=place), fma, place)


def checked(box: BlackBox, found: Found, seed: int = 0) -> Found:
    """`found`, with the form of the mean where the box divides, if it gives the box's bits twice, for drawn numbers.

    Raises NoTreeError where they do not.
    """
    rng = np.random.default_rng(seed)
    queries = min(CHECKED, box.rows)
    weights, inputs = (_drawn(rng, shape, box) for shape in ((queries, box.terms), (box.terms,)))
    if not box.products:
        inputs[:] = 1
    answers = box.ask(weights, inputs), box.ask(weights, inputs)
    differing = {}
    for mean in MEANS if box.divisor > 1 else MEANS[:1]:
        expected = in_order(box, replace(found, mean=mean), weights, inputs)
        differing[mean] = max(int((answer != expected).sum()) for answer in answers)
        if not differing[mean]:
            return replace(found, mean=mean)
    raise NoTreeError(
        f"{min(differing.values())} of {queries} sums of drawn numbers have other bits than {_short(found)} gives: "
        "the order is not always the same, or rounds in a way of its own"
    )


def in_order(box: BlackBox, found: Found, weights: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """The box's sums by refnet: (queries, terms), (terms,) -> (queries,)."""
    name, last = box.format.name, box.terms - box.bias
    bias = weights[:, last] if box.bias else None
    a, b = inputs[None, :last], np.ascontiguousarray(weights[:, :last].T)
    arithmetic = Arithmetic(name, name, found.order, found.fma, found.bias, mean=found.mean)
    sums = ops.sums(a, b, bias, arithmetic=arithmetic)
    return np.asarray(ops.mean_of(sums, box.divisor, sums.shape, arithmetic)[0] if box.divisor > 1 else sums[0])


def _drawn(rng: np.random.Generator, shape: tuple[int, ...], box: BlackBox) -> np.ndarray:
    return stored(rng.standard_normal(shape), box.format)


def _short(found: Found) -> str:
    return found.order.summary(60) if isinstance(found.order, Tree) else str(found.order)
