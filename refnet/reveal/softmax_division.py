"""How a softmax divides by its sum, and its quotients turned back into what was divided."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..arithmetic.formats import Array
from .softmax_rows import NOTHING, SoftmaxRows

Flags = NDArray[np.bool_]
DIVISIONS = ("divide", "multiply", "logarithm")
DIVISORS = (3, 5, 6, 7)
NEIGHBOURS = range(-3, 4)  # how many numbers away from the rounded inverse a number is looked for


def divided(e: Array, total: Array, division: str) -> Array:
    """fl(e / S), or fl(e fl(1 / S)): (rows, classes), (rows, 1) float32 -> (rows, classes)."""
    quotient: Array = e / total if division == "divide" else e * (np.float32(1) / total)
    return quotient


def wrong_by_division(rows: SoftmaxRows, x: Array, e: Array, known: Flags) -> tuple[dict[str, int], int]:
    """How many outputs each of DIVISIONS gives with other bits, and of how many.

    x: rows of logits that are all far below 0 but one.  e: their exponentials, where they are known. The largest x are
    replaced by 0, so that the sum S is 3, 5, 6 or 7 in any order. `divide`: fl(e / S).  `multiply`: fl(e r), with the
    backend's own r, the output of a logit 0.  `logarithm`: exp(fl(x - log S)), by the backend's own exp.
    """
    wrong, total = dict.fromkeys(DIVISIONS, 0), 0
    for divisor in map(np.float32, DIVISORS):
        zeros = np.argsort(-x, axis=1)[:, : int(divisor)]
        far = known.copy()
        np.put_along_axis(far, zeros, False, axis=1)
        together, alone = x.copy(), x - np.log(divisor)
        np.put_along_axis(together, zeros, np.float32(0), axis=1)
        np.put_along_axis(alone, zeros, np.float32(NOTHING), axis=1)
        np.put_along_axis(alone, zeros[:, :1], np.float32(0), axis=1)
        theirs = rows.ask(together)
        ours = {
            "divide": e / divisor,
            "multiply": e * np.take_along_axis(theirs, zeros[:, :1], axis=1),
            "logarithm": rows.ask(alone),
        }
        for division in DIVISIONS:
            wrong[division] += int((ours[division] != theirs)[far].sum())
        total += int(far.sum())
    return wrong, total


def turned_back(quotients: Array, one: Array, division: str) -> tuple[Array, Flags]:
    """What was divided, and whether no other number gives the same quotient: (rows, classes) float32 and bool.

    one: (rows, 1), the quotients of 1, which tell the sum or its reciprocal.
    """
    low, high = np.full_like(quotients, np.inf), np.full_like(quotients, -np.inf)
    numbers = _neighbours((quotients.astype(np.float64) / one).astype(np.float32))
    totals = _neighbours(np.float32(1) / one) if division == "divide" else [one]
    for total in totals:
        for e in numbers:
            if division == "divide":
                fits = (np.float32(1) / total == one) & (e / total == quotients)
            else:
                fits = e * one == quotients
            low, high = np.where(fits, np.minimum(low, e), low), np.where(fits, np.maximum(high, e), high)
    return low, low == high


def _neighbours(numbers: Array) -> list[Array]:
    """Positive float32 numbers, and those near each."""
    return [(numbers.view(np.int32) + np.int32(offset)).view(np.float32) for offset in NEIGHBOURS]
