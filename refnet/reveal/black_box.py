"""What is asked about its order of addition: something that sums products, seen from outside."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arithmetic.formats import Array
from ..errors import InputError, RefnetError
from .sum_formats import SumFormats

SumOf = Callable[[Array, Array], Array]
AT_ONCE = 1 << 22  # weights in one call
SPARE = 2  # bits between a rounded quotient and the half of a unit


class NoTreeError(RefnetError):
    """The answers fit no tree of additions; the text says what was seen."""


@dataclass(frozen=True)
class BlackBox:
    """Sums of `terms` products, asked many at a time.

    sum_of: weights (queries, terms) and inputs (terms,), both numbers of the operands' format in its working type, to
    sums (queries,): query q is the sum over k of weights[q, k] inputs[k].  formats: of operands, sums and output.
    bias: the last term is a number that is added, its input is not used.  bias_after: where a bias is no term, but is
    added to the sum when that is rounded to the output, its place in Arithmetic.
    products: False where the terms have no inputs, as those of a mean.  divisor: what comes back is the sum divided by
    it.  at_once: most queries of one call.  rough: whether units may be counted that the output only holds rounded.
    """

    sum_of: SumOf
    terms: int
    formats: SumFormats
    bias: bool = False
    products: bool = True
    divisor: int = 1
    at_once: int | None = None
    bias_after: str = ""
    rough: bool = True

    def __post_init__(self) -> None:
        if self.terms < 1 + self.bias:
            raise InputError(f"a sum of {self.terms} terms", expected=f"at least {1 + self.bias}")

    @property
    def working(self) -> Any:
        """The NumPy type of weights and inputs."""
        return self.formats.operand.working

    @property
    def mask(self) -> float:
        """A number that absorbs all the units that are switched on at once."""
        return 2.0**self._mask

    @property
    def unit(self) -> float:
        """What is counted: 1, or in formats of a small range so little that the mask absorbs one of every term.

        Never less than operands and output have; quotients need some bits below it.
        """
        absorbed = self._mask - self.formats.sum.precision - 1 - self.terms.bit_length()
        quotient = self.divisor.bit_length() + SPARE if self.divisor > 1 else 0
        out = self.formats.out.emin - self.formats.out.precision + 1 + quotient
        own = self.formats.operand.emin - self.formats.operand.precision + 1
        return 2.0 ** max(own, out, min(0, absorbed))

    @property
    def limit(self) -> int:
        """How many units may be switched on at once, so that their sum comes back as it is: 256 from bfloat16."""
        return min(self.rough_limit, 1 << self.formats.out.precision - (SPARE if self.divisor > 1 else 0))

    @property
    def rough_limit(self) -> int:
        """How many units may be switched on at once, so that their sum is exact before it is rounded to the output."""
        absorbed = self._mask - self.formats.sum.precision - 1 - round(math.log2(self.unit))
        return 1 << min(self.formats.sum.precision, absorbed)

    @property
    def rows(self) -> int:
        """Queries of one call."""
        return self.at_once or max(1, AT_ONCE // self.terms)

    @property
    def _mask(self) -> int:
        return min(self.formats.operand.emax, self.formats.sum.emax)

    def ask(self, weights: Array, inputs: Array | None = None) -> Array:
        """The sums (queries,) in float64; inputs are ones unless given."""
        ones = np.ones(self.terms, self.working)
        answers = np.asarray(self.sum_of(weights, ones if inputs is None else inputs), np.float64)
        if answers.shape != (len(weights),):
            raise InputError(f"{len(weights)} queries answered by the shape {answers.shape}", expected="a sum for each")
        return answers

    def ask_all(self, weights: Array, inputs: Array | None = None) -> Array:
        """`ask`, in as many calls as it takes."""
        calls = [self.ask(weights[start : start + self.rows], inputs) for start in range(0, len(weights), self.rows)]
        return np.concatenate(calls)
