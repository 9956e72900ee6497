"""What is asked about its order of addition: something that sums products, seen from outside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..arithmetic import Format
from ..arithmetic.formats import Array
from ..errors import InputError, RefnetError

SumOf = Callable[[Array, Array], Array]
AT_ONCE = 1 << 22  # weights in one call


class NoTreeError(RefnetError):
    """The answers fit no tree of additions; the text says what was seen."""


@dataclass(frozen=True)
class BlackBox:
    """Sums of `terms` products, asked many at a time.

    sum_of: weights (queries, terms) and inputs (terms,), both numbers of `format` in its working type, to sums
    (queries,): query q is the sum over k of weights[q, k] inputs[k].  format: of the operands and of the sums.
    bias: the last term is a number that is added, its input is not used.  products: False where the terms have no
    inputs, as those of a mean.  divisor: what comes back is the sum divided by it.  at_once: most queries of one call.
    """

    sum_of: SumOf
    terms: int
    format: Format
    bias: bool = False
    products: bool = True
    divisor: int = 1
    at_once: int | None = None

    def __post_init__(self) -> None:
        if self.terms < 1 + self.bias:
            raise InputError(f"a sum of {self.terms} terms", expected=f"at least {1 + self.bias}")

    @property
    def mask(self) -> float:
        """A number that absorbs all the units that are switched on at once."""
        return 2.0**self.format.emax

    @property
    def unit(self) -> float:
        """What is counted: 1, or in float16 the smallest normal number, of which the mask absorbs thousands."""
        return 2.0 ** max(self.format.emin, min(0, self.format.emax - 30))

    @property
    def limit(self) -> int:
        """How many units may be switched on at once: 2048 in float16, 256 in bfloat16 (all counts are exact)."""
        return 1 << self.format.precision

    @property
    def rows(self) -> int:
        """Queries of one call."""
        return self.at_once or max(1, AT_ONCE // self.terms)

    def ask(self, weights: Array, inputs: Array | None = None) -> Array:
        """The sums (queries,) in float64; inputs are ones unless given."""
        ones = np.ones(self.terms, self.format.working)
        answers = np.asarray(self.sum_of(weights, ones if inputs is None else inputs), np.float64)
        if answers.shape != (len(weights),):
            raise InputError(f"{len(weights)} queries answered by the shape {answers.shape}", expected="a sum for each")
        return answers
