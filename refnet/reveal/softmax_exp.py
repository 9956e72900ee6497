"""A backend's own exp, read off its softmax number by number, and not modelled.

In a row with one logit 0 and all others below -24.4 the sum is 1 in any order, since a thousand terms below 2^-35 are
lost in it: the outputs are the exponentials themselves, or those times a reciprocal of 1. Larger ones come from rows in
which one logit in four is 0. Their outputs tell the sum, or its reciprocal, and each quotient is turned back where only
one number gives it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..arithmetic import FORMATS
from ..arithmetic.exponential import exp
from ..arithmetic.formats import Array
from .softmax_division import Flags, turned_back
from .softmax_rows import SoftmaxRows

FORMAT = FORMATS["float32"]
FAR, NEAR = (-84.0, -24.4), (-24.4, 0.0)  # normal even as sevenths, and lost beside 1; not lost
ROWS = 32


@dataclass(frozen=True)
class Exponentials:
    """x, e: (n,) float32, with e what the backend has for exp(x)."""

    x: Array
    e: Array

    @classmethod
    def joined(cls, *parts: Exponentials) -> Exponentials:
        return cls(np.concatenate([part.x for part in parts]), np.concatenate([part.e for part in parts]))

    @property
    def rounded(self) -> int:
        """How many are the float32 number nearest to exp(x)."""
        return int((self.e == exp(self.x, FORMAT)).sum())

    @property
    def largest_error(self) -> float:
        """In units of the last place of exp(x)."""
        true = np.exp(self.x.astype(np.float64))  # far within 2^-45, which is nothing beside 2^-24
        ulp = 2.0 ** (np.floor(np.log2(true)) + 1 - FORMAT.precision)
        return float((abs(self.e - true) / ulp).max())


def read_far(rows: SoftmaxRows, rng: np.random.Generator) -> tuple[Array, Array, Flags]:
    """Rows of logits x, each one 0 and others drawn from FAR; exp(x), and where it is known: (ROWS, classes) each."""
    x = rng.uniform(*FAR, (ROWS, rows.classes)).astype(np.float32)
    x[np.arange(ROWS), rng.integers(rows.classes, size=ROWS)] = 0
    theirs = rows.ask(x)
    e, certain = turned_back(theirs, theirs.max(axis=1, keepdims=True), "multiply")
    return x, e, certain & (x < 0)


def read_near(rows: SoftmaxRows, division: str, rng: np.random.Generator) -> Exponentials:
    """Exponentials of numbers drawn from NEAR, where the quotients tell them."""
    x = rng.uniform(*NEAR, (ROWS, rows.classes)).astype(np.float32)
    x[:, rng.permutation(rows.classes)[: rows.classes // 4]] = 0
    theirs = rows.ask(x)
    e, certain = turned_back(theirs, theirs.max(axis=1, keepdims=True), division)
    known = certain & (x < 0)
    return Exponentials(x[known], e[known])
