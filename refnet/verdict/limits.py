"""How large an error may be and still be called rounding: limits derived from how rounding errors are distributed.

docs/verdict.md derives them. In short: of all ways to add exchangeable terms, one chain of all of them has the largest
expected error, and the partial sums of such a chain are a random walk, whose distribution is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, pi
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from .blocks import Blocks

Float64 = NDArray[np.float64]

FALSE_ALARMS = 1e-6
"""The probability of any false alarm in one network, on all of its layers, channels and places together."""
SMALLEST = 2.0
"""Nobody is blamed for an RMS below twice the largest simulated: arithmetics of no table round a few times more."""
LARGEST = 7.0
"""Of end-to-end bands, whose spread comes from few passes."""

_ANGLES = pi * (1 - np.logspace(-0.001, -5, 2000))
_QUOTIENTS = 1 + np.concatenate([[0.0], np.logspace(-6, 4, 4000)])


@dataclass(frozen=True)
class Limits:
    """The largest ratio to the allowed RMS that is still rounding, for the layer, each channel and each place."""

    layer: float
    channel: Float64
    place: Float64

    def of(self, kind: str) -> Float64:
        return np.atleast_1d(np.asarray(getattr(self, kind), np.float64))


def limits(outputs: Blocks, layers: int) -> Limits:
    """The limits of one layer of a network of so many layers.

    outputs: the effective number of independent errors in each block (blocks.effective_outputs). The probability of a
    false alarm is shared by all blocks of that kind, the three kinds and the layers (Bonferroni).
    """

    def of(kind: str) -> Float64:
        blocks = outputs.of(kind)
        return np.maximum(SMALLEST, largest_ratio(blocks, FALSE_ALARMS / (3 * layers * len(blocks))))

    return Limits(float(of("layer")[0]), of("channel"), of("place"))


def largest_ratio(outputs: Float64, probability: float) -> Float64:
    """What (RMS of n errors of chains / expected RMS) exceeds with no more than about that probability; n: `outputs`.

    An error is the square root of V times a normal number: V, the mean square of the chain's partial sums over its
    expectation, is 6 times the integral of the square of a Brownian bridge, all errors of the block have the same V,
    and their normal numbers are independent. For V > v and for the mean of n squares above q Chernoff's bounds are
    exp(-walk(v)) and exp(-n (q - 1 - log q) / 2); the limit is the largest root of v q that both allow together.
    The first, in closed form with the angle a: log E exp(lambda V) = log(a / sin a) / 2, lambda = a^2 / 12
    (Cameron and Martin 1944).
    """
    v = 3 * (1 / _ANGLES - 1 / np.tan(_ANGLES)) / _ANGLES
    walk = _ANGLES**2 * v / 12 - np.log(_ANGLES / np.sin(_ANGLES)) / 2
    budget = -log(probability)
    v, walk = np.append(1.0, v[walk <= budget]), np.append(0.0, walk[walk <= budget])
    squares = (_QUOTIENTS - 1 - np.log(_QUOTIENTS)) / 2
    distinct, places = np.unique(np.round(np.log2(outputs) * 8) / 8, return_inverse=True)
    roots = [np.sqrt(np.max(v * np.interp((budget - walk) / n, squares, _QUOTIENTS))) for n in 2.0**distinct]
    found: Float64 = np.array(roots)[places]
    return found


def prediction_limit(deviation: float, simulations: int, tests: float) -> float:
    """The factor that one more pass stays below, in all of `tests` layers, but for FALSE_ALARMS; SMALLEST to LARGEST.

    The upper prediction limit of a normal distribution, of the logarithm, whose deviation is known: the mean and
    z s sqrt(1 + 1/m) above it, with Bonferroni's share of the probability for each test (Hahn and Meeker 1991, 4.8).
    """
    z = NormalDist().inv_cdf(1 - FALSE_ALARMS / max(tests, 1.0))
    factor = float(np.exp(min(z * deviation * (1 + 1 / max(simulations, 1)) ** 0.5, np.log(LARGEST))))
    return max(SMALLEST, factor)
