"""What an experiment measured, and the outcome that follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from ..arithmetic.formats import format_named
from ..drift.comparison import norm
from ..drift.measures import relative_error
from ..drift.ulp import ulp_errors
from ..errors import InputError
from .claim import OUTCOMES, Arm, Experiment
from .limit import Limit

Array = NDArray[np.floating]
Float64 = NDArray[np.float64]

HIGHER = 1 / 16
"""A side is far nearer to the truth where its error is this part of the other's, four bits, or less.

Logits differ as the truths of two pictures do where what is left of the difference is this part of it, or less.
"""


@dataclass(frozen=True)
class Measured:
    """One experiment. outcome: one of OUTCOMES; "not run" says why in `reason`, and has no numbers.

    max_abs: the largest |difference| of two logits.  max_ulp: the same in ulps of the first side's logit, in the
    coarser of both types.  differing: how many of the `logits` differ in a bit, -0 from +0 too; all where the types
    differ.  error_first, error_second: relative L2 distance of each side from the truth of its own picture, infinite
    where a logit is not finite.  rounding: the largest distance that rounding explains.  same_top: both sides rank the
    same class first.
    """

    experiment: Experiment
    outcome: str
    reason: str = ""
    max_abs: float = nan
    max_ulp: float = nan
    differing: int = 0
    logits: int = 0
    error_first: float = nan
    error_second: float = nan
    rounding: float = nan
    same_top: bool = False

    def __post_init__(self) -> None:
        if self.outcome not in OUTCOMES:
            raise InputError(f"outcome {self.outcome!r}", expected=f"one of {', '.join(OUTCOMES)}")
        if (self.outcome == "not run") != bool(self.reason):
            raise InputError(f"{self.experiment} with the outcome {self.outcome}", expected="numbers, or else a reason")

    @property
    def beyond(self) -> Mapping[Arm, float]:
        """The sides that are farther from the truth than rounding explains, and how far they are."""
        sides = {self.experiment.first: self.error_first, self.experiment.second: self.error_second}
        return {arm: error for arm, error in sides.items() if error > self.rounding}

    @property
    def factor(self) -> float:
        """How many times farther from the truth one side is than the other."""
        near, far = sorted((self.error_first, self.error_second))
        return far / near if near else float("inf")


def compare(
    experiment: Experiment, first: Array, second: Array, truths: tuple[Float64, Float64], limit: Limit
) -> Measured:
    """Logits of both sides, and the truths of the pictures that they were given; all of shape (1, classes)."""
    shapes = {x.shape for x in (first, second, *truths)}
    if len(shapes) > 1:
        raise InputError(f"logits of the shapes {sorted(shapes)}", expected="one shape")
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    errors = relative_error(a, truths[0]), relative_error(b, truths[1])
    with np.errstate(invalid="ignore"):  # two equal infinities
        difference = np.abs(a - b)
    coarser = min(first.dtype, second.dtype, key=lambda dtype: np.finfo(dtype).nmant)
    there = (a != 0) & np.isfinite(difference)
    ulps = ulp_errors(difference[there], a[there], format_named(coarser.name))
    differing = int(np.count_nonzero(bits(first) != bits(second))) if first.dtype == second.dtype else a.size
    by_picture = follows(b - a, truths[1] - truths[0]) if np.isfinite(difference).all() else False
    return Measured(
        experiment,
        outcome_of(differing, errors, by_picture, limit),
        max_abs=float(np.max(difference)),
        max_ulp=float(np.max(ulps, initial=0.0)),
        differing=differing,
        logits=a.size,
        error_first=errors[0],
        error_second=errors[1],
        rounding=limit.rounding,
        same_top=bool(np.argmax(a) == np.argmax(b)),
    )


def outcome_of(differing: int, errors: tuple[float, float], by_picture: bool, limit: Limit) -> str:
    """One of OUTCOMES; `lower` goes before the others, since it is what harms, and NaN is never the same."""
    if not differing and np.isfinite(errors).all():
        return "same"
    if max(errors) > limit.rounding:
        return "lower"
    if by_picture:
        return "picture"
    return "higher" if min(errors) <= HIGHER * max(errors) else "rounding"


def follows(change: Float64, wanted: Float64) -> bool:
    """Whether logits changed as the truth does; False where it does not change."""
    return bool(norm(wanted) > 0 and norm(change - wanted) <= HIGHER * norm(wanted))


def bits(x: Array) -> NDArray[np.unsignedinteger]:
    """The numbers as their bits."""
    return np.ascontiguousarray(x).view(f"u{x.dtype.itemsize}")
