"""The accumulation orders: how the K terms of one dot product are added. Adding one: a class here, a line in ORDERS.

An order is a chain (chains.py: how a run of terms grows) and a schedule (schedule.py: which terms form the chains).
Bounds are to first order in u, half an ulp of 1 in the accumulate format.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from ..errors import InputError
from .order import Order
from .schedule import Schedule, merged_in_pairs, merged_in_sequence, one_chain
from .tree import Tree


@dataclass(frozen=True)
class Sequential(Order):
    """k = 0 .. K - 1.  |error| <= K u sum|a b| (Higham 2002, 3.1)."""

    name: ClassVar[str] = "sequential"
    usage: ClassVar[str] = "sequential"


@dataclass(frozen=True)
class Reversed(Order):
    """k = K - 1 .. 0.  |error| <= K u sum|a b|, as `sequential` (Higham 2002, 3.1)."""

    name: ClassVar[str] = "reversed"
    usage: ClassVar[str] = "reversed"

    def _arranged(self, terms: int) -> Schedule:
        return one_chain(np.arange(terms)[::-1])


@dataclass(frozen=True)
class Permuted(Order):
    """Along numpy.random.default_rng(seed).permutation(K).

    |error| <= K u sum|a b|, as `sequential` (Higham 2002, 3.1).
    """

    name: ClassVar[str] = "permuted"
    usage: ClassVar[str] = "permuted:SEED"
    seed: int

    def __post_init__(self) -> None:
        _at_least(0, (self.seed,), self)

    def _arranged(self, terms: int) -> Schedule:
        return one_chain(np.random.default_rng(self.seed).permutation(terms))


@dataclass(frozen=True)
class Blocks(Order):
    """Consecutive blocks, each in sequence from +0, their sums added in sequence.

    |error| <= (B + n) u sum|a b| for n blocks of at most B terms (Higham 2002, 3.1; Castaldo, Whaley and
    Chronopoulos 2008).
    """

    name: ClassVar[str] = "blocks"
    usage: ClassVar[str] = "blocks:B or blocks:B1,B2,..."
    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        _at_least(1, self.sizes, self)

    def _arranged(self, terms: int) -> Schedule:
        sizes = list(self.sizes)
        if len(sizes) == 1:
            sizes = [min(sizes[0], terms - start) for start in range(0, terms, sizes[0])]
        if sum(sizes) != terms:
            raise InputError(
                f"order {self} has {sum(sizes)} terms, the sum has {terms}", expected="sizes that add up to them"
            )
        return merged_in_sequence(sizes)


MOST_LANES = 65_536  # each lane is a chain of the schedule, those without terms too


@dataclass(frozen=True)
class Lanes(Order):
    """Lane l takes every k with k mod W = l in sequence; then lane l += lane l + W/2, and so on, halving.

    |error| <= (ceil(K / W) + log2 W) u sum|a b|: how SIMD code adds (Higham 2002, 4.1).
    """

    name: ClassVar[str] = "lanes"
    usage: ClassVar[str] = "lanes:W, W a power of two"
    width: int

    def __post_init__(self) -> None:
        _at_least(1, (self.width,), self)
        if self.width & (self.width - 1) or self.width > MOST_LANES:
            raise InputError(f"order {self}", expected=f"a power of two up to {MOST_LANES}")

    def _arranged(self, terms: int) -> Schedule:
        lanes = [np.arange(lane, terms, self.width) for lane in _bit_reversed(self.width)]
        return merged_in_pairs(np.concatenate(lanes), [len(lane) for lane in lanes])


@dataclass(frozen=True)
class Pairwise(Order):
    """Up to L terms in sequence; more are split after the largest L 2^j below their number, and the halves added.

    |error| <= (L + ceil(log2(K / L))) u sum|a b| for K > L (Higham 2002, 4.1).
    """

    name: ClassVar[str] = "pairwise"
    usage: ClassVar[str] = "pairwise or pairwise:L"
    leaf: int = 1

    def __post_init__(self) -> None:
        _at_least(1, (self.leaf,), self)

    def _arranged(self, terms: int) -> Schedule:
        leaves = [min(self.leaf, terms - start) for start in range(0, terms, self.leaf)]
        return merged_in_pairs(np.arange(terms), leaves)


@dataclass(frozen=True)
class Kahan(Order):
    """Compensated: chains.Kahan has the steps, the bound and the source."""

    name: ClassVar[str] = "kahan"
    chain: ClassVar[str] = "kahan"
    usage: ClassVar[str] = "kahan"


@dataclass(frozen=True)
class Neumaier(Order):
    """Compensated: chains.Neumaier has the steps, the bound and the source."""

    name: ClassVar[str] = "neumaier"
    chain: ClassVar[str] = "neumaier"
    usage: ClassVar[str] = "neumaier"


@dataclass(frozen=True)
class Dot2(Order):
    """Compensated, products too: chains.Dot2 has the steps, the bound and the source."""

    name: ClassVar[str] = "dot2"
    chain: ClassVar[str] = "dot2"
    usage: ClassVar[str] = "dot2"


@dataclass(frozen=True)
class Exact(Order):
    """The real sum of all products and the bias, rounded once, to storage: in no order at all.

    |error| <= u |result| while the result is a normal number (IEEE 754-2019, 4.3.1). The definition adds integers
    (fused_sum.py); kernels approximate, and add exactly where that leaves the rounding open: chains.Pair, or a plain
    chain in float64 for narrower formats.
    """

    name: ClassVar[str] = "exact"
    chain: ClassVar[str] = "pair"
    usage: ClassVar[str] = "exact"


ORDERS: dict[str, type[Order]] = {
    order.name: order
    for order in (Sequential, Reversed, Permuted, Blocks, Lanes, Pairwise, Kahan, Neumaier, Dot2, Exact, Tree)
}


@lru_cache(maxsize=512)
def schedule_of(order: Order, terms: int) -> Schedule:
    """order.schedule(terms), remembered."""
    return order.schedule(terms)


def parse_order(order: str | Order) -> Order:
    """`pairwise:8` -> Pairwise(leaf=8). Raises InputError for an unknown name or arguments that do not fit."""
    if isinstance(order, Order):
        return order
    if not isinstance(order, str):
        raise InputError(f"order {order!r}", expected="a text such as 'sequential', or an Order")
    return _parsed(order)


@lru_cache(maxsize=512)
def _parsed(order: str) -> Order:
    name = order.partition(":")[0]
    if name not in ORDERS:
        raise InputError(f"order {order!r}", expected=f"one of {', '.join(kind.usage for kind in ORDERS.values())}")
    return ORDERS[name].read(order)


def _at_least(least: int, numbers: object, order: Order) -> None:
    """The numbers are a tuple of one int and more, each at least `least`; True and 2.0 have no text."""
    if not isinstance(numbers, tuple) or not all(type(number) is int for number in numbers):
        raise InputError(f"order {order!r}", expected="arguments of type int, for blocks a tuple of them")
    if not numbers or min(numbers) < least:
        raise InputError(f"order {order}", expected=f"{order.usage} with numbers of at least {least}")


def _bit_reversed(width: int) -> list[int]:
    """0 .. width - 1 with their bits reversed: the leaves of the halving tree from left to right."""
    lanes = [0]
    while len(lanes) < width:
        lanes = [lane + offset for lane in lanes for offset in (0, len(lanes))]
    return lanes
