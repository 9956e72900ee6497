"""Orders of accumulation: K terms a_k b_k summed from `start`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial, reduce

import numpy as np

from .numbers import ZERO, Number, round_to
from .operations import add, exact_product, exact_sum, fma, multiply, subtract, two_product, two_sum
from .trees import tree

Terms = Sequence[tuple[Number, Number]]
Chain = Callable[[Terms, Number], Number]  # the terms in sequence, from a start
Plus = Callable[[Number, Number], Number]


def sequential(terms: Terms, start: Number, format: str, fused: bool) -> Number:
    s = start
    for a, b in terms:
        s = fma(a, b, s, format) if fused else add(s, multiply(a, b, format), format)
    return s


def kahan(terms: Terms, start: Number, format: str) -> Number:
    s: Number = start
    c: Number = ZERO
    for a, b in terms:
        y = subtract(multiply(a, b, format), c, format)
        t = add(s, y, format)
        c = subtract(subtract(t, s, format), y, format)
        s = t
    return s


def neumaier(terms: Terms, start: Number, format: str) -> Number:
    s: Number = start
    c: Number = ZERO
    for a, b in terms:
        s, e = two_sum(s, multiply(a, b, format), format)
        c = add(c, e, format)
    return add(s, c, format)


def dot2(terms: Terms, start: Number, format: str) -> Number:
    s: Number = start
    c: Number = ZERO
    for a, b in terms:
        p, r = two_product(a, b, format)
        s, e = two_sum(s, p, format)
        c = add(c, add(r, e, format), format)
    return add(s, c, format)


COMPENSATED = {"kahan": kahan, "neumaier": neumaier, "dot2": dot2}


def blocks(terms: Terms, start: Number, sizes: str, chain: Chain, plus: Plus) -> Number:
    """One size: blocks of it, the last one perhaps shorter. Several sizes: just these, and they add up to K."""
    lengths = [int(size) for size in sizes.split(",")]
    if len(lengths) == 1:
        lengths *= max(1, math.ceil(len(terms) / lengths[0]))
    elif sum(lengths) != len(terms):
        raise ValueError(f"blocks {sizes} add up to {sum(lengths)}, not to {len(terms)} terms")
    ends = np.cumsum(lengths).tolist()
    parts = [terms[end - length : end] for length, end in zip(lengths, ends, strict=True)]
    return reduce(plus, [chain(parts[0], start), *(chain(part, ZERO) for part in parts[1:])])


def lanes(terms: Terms, start: Number, width: int, chain: Chain, plus: Plus) -> Number:
    if width < 1 or width & (width - 1):
        raise ValueError(f"{width} lanes are no power of two")
    sums = [chain(terms[lane::width], ZERO if lane else start) for lane in range(width)]
    while len(sums) > 1:
        half = len(sums) // 2
        sums = [plus(low, high) for low, high in zip(sums[:half], sums[half:], strict=True)]
    return sums[0]


def pairwise(terms: Terms, start: Number, leaf: int, chain: Chain, plus: Plus) -> Number:
    if len(terms) <= leaf:
        return chain(terms, start)
    split = leaf
    while 2 * split < len(terms):
        split *= 2
    return plus(pairwise(terms[:split], start, leaf, chain, plus), pairwise(terms[split:], ZERO, leaf, chain, plus))


def accumulated(terms: Terms, start: Number, *, format: str, order: str, fused: bool | None) -> Number:
    """The value of `order`, every operation rounded to `format`; fused None: wherever that has a meaning."""
    name, _, argument = order.partition(":")
    if name in COMPENSATED:
        if fused:
            raise ValueError(f"{name} rounds its products: it has no fma")
        return COMPENSATED[name](terms, start, format)
    chain = partial(sequential, format=format, fused=fused is not False)
    plus = partial(add, format=format)
    match name:
        case "sequential":
            return chain(terms, start)
        case "reversed":
            return chain(terms[::-1], start)
        case "permuted":
            return chain([terms[k] for k in np.random.default_rng(int(argument)).permutation(len(terms))], start)
        case "blocks":
            return blocks(terms, start, argument, chain, plus)
        case "lanes":
            return lanes(terms, start, int(argument), chain, plus)
        case "pairwise":
            return pairwise(terms, start, int(argument or 1), chain, plus)
        case "tree":
            return tree(argument, terms, start, format, fused is not False)
        case "exact":
            return round_to(reduce(exact_sum, (exact_product(a, b) for a, b in terms), start), format)
    raise ValueError(f"no order is called {order!r}")
