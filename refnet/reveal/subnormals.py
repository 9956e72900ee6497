"""Whether a layer keeps subnormal numbers, or takes them for zero: as operands, products, sums, or bias.

Processors have two switches for it, which frameworks set in their own threads: one for operands (denormals are zero),
one for results (flush to zero). Each question has one subnormal number, and an answer that is zero only where that
number is flushed; all others are powers of two, which nothing rounds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..arithmetic import FORMATS
from .black_box import BlackBox

FORMAT = FORMATS["float32"]
NORMAL, SUBNORMAL = FORMAT.smallest_normal, FORMAT.smallest_normal * 2.0**-4  # which bfloat16 has too
LARGE, SMALL = 2.0**20, 2.0**-65
KEPT = "kept"


@dataclass(frozen=True)
class Question:
    """Two terms, all others being zero. inputs, weights: of the first and the last; `bias` may be all there is."""

    inputs: tuple[float, float] = (1, 1)
    weights: tuple[float, float] = (0, 0)
    bias: float = 0
    products: bool = True  # whether it makes no sense where terms have no inputs


QUESTIONS = {
    "inputs": Question((SUBNORMAL, 1), (LARGE, 0)),
    "weights": Question((LARGE, 1), (SUBNORMAL, 0)),
    "products": Question((SMALL, 1), (SMALL, 0)),
    "sums": Question(weights=(1.5 * NORMAL, -NORMAL), products=False),
    "bias": Question(bias=SUBNORMAL),
}


def subnormals(box: BlackBox) -> str:
    """`kept`, or what is taken for zero where it is subnormal: `inputs, products`.

    "" where it is not asked: of sums in other formats than float32, of numbers with fewer exponents; and where all that
    was asked is kept, but not the bias, which is added to the rounded sum. One call for each question.
    """
    formats = box.formats
    if formats.sums != FORMAT.name or {formats.operand.emin, formats.out.emin} != {FORMAT.emin}:
        return ""
    asked = [name for name, question in QUESTIONS.items() if _makes_sense(question, box)]
    if not asked:
        return ""
    flushed = [name for name in asked if _flushed(QUESTIONS[name], box)]
    return ", ".join(flushed) or ("" if box.bias_after else KEPT)


def _makes_sense(question: Question, box: BlackBox) -> bool:
    """A quotient may be too small for a narrow output where no sum is."""
    whole = box.divisor == 1 or box.formats.output == FORMAT.name
    return whole and (box.products or not question.products) and (box.bias or not question.bias)


def _flushed(question: Question, box: BlackBox) -> bool:
    """Whether any output is zero."""
    ends = [0, box.terms - box.bias - 1]
    inputs, weights = np.zeros(box.terms, np.float32), np.zeros((box.rows, box.terms), np.float32)
    inputs[ends], weights[:, ends] = question.inputs, question.weights
    if box.bias:
        weights[:, -1] = question.bias
    if not box.products:
        inputs[:] = 1
    return not box.ask(weights, inputs).all()
