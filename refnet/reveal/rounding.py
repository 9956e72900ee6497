"""Which products are rounded by themselves, and which go as they are into the sum that they meet: no mask can see it.

All inputs are 1.5. With e the distance from 1 to the next number, the term's weight 1 + e gives a product that lies
half way between two numbers; a term that it meets has the weight -1, all others zero. The sum is 1.5 e if the product
went in unrounded (fma, fused sum), and e or 2 e if it was rounded first: numbers of two bits, which nothing rounds on
their way up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..arithmetic.schedule import Indices
from .black_box import BlackBox, NoTreeError

Flags = NDArray[np.bool_]
INPUT = 1.5


def rounded_products(box: BlackBox, partners: Indices) -> Flags:
    """(terms,): whether each product is rounded before it meets its partner, a term under another child of its node.

    Numbers that are no products, as a bias, count as rounded: they are there before anything is added. So do products
    that need no rounding.
    """
    rounded = np.ones(box.terms, bool)
    if not box.products or box.formats.exact_products or box.terms < 2:
        return rounded
    epsilon = 2 * box.formats.operand.unit_roundoff
    inputs = np.full(box.terms, INPUT, box.working)
    factors = box.terms - box.bias
    for start in range(0, factors, box.rows):
        terms = np.arange(start, min(start + box.rows, factors))
        weights, rows, others = np.zeros((len(terms), box.terms), box.working), terms - start, partners[terms]
        weights[rows, terms] = 1 + epsilon
        weights[rows, others] = np.where(others < factors, -1, -INPUT)
        left = box.ask(weights, inputs) / epsilon
        unknown = ~np.isin(left, (1, INPUT, 2))
        if unknown.any():
            raise NoTreeError(
                f"term {terms[unknown][0]} loses bits that {box.formats.operands} has: operands or sums are narrower"
            )
        rounded[terms] = left != INPUT
    return rounded
