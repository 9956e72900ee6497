"""The network in ball arithmetic: mpN midpoints, and for each a radius that holds whatever was rounded before it.

A ball is a midpoint m and a radius r with |true - m| <= r, where true is what the network gives in real numbers for the
float picture and weights as they are stored (Tucker, "Validated Numerics", 2011; Johansson, "Arb", 2017).
"""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..arithmetic import Arithmetic
from ..arithmetic.big_floats import LIMB_BITS, BigFloats
from ..arithmetic.formats import Array
from ..errors import InputError
from ..forward.big_engine import BigEngine
from ..kernels import pooling
from ..kernels.convolution import NO_PADDING, PackedKernel, convolve, pack_kernel
from ..ops import Padding, Pair
from .radii import ULP, Radii, magnitudes, roundoff, surely_reaches

FLOAT64 = Arithmetic("float64")


@dataclass(frozen=True)
class Balls:
    """An array of balls."""

    midpoints: BigFloats
    radii: Radii

    @property
    def shape(self) -> tuple[int, ...]:
        return self.midpoints.shape


@dataclass(frozen=True)
class BallEngine:
    """The operations of the network on Balls.

    midpoints: what computes them; its precision must hold every float32 (float64) weight.  layer: the one it computes.
    kept: absolute values of weights, packed, and their power of two, by layer.
    """

    midpoints: BigEngine
    layer: str = ""
    threads: int = 1
    kept: MutableMapping[str, tuple[PackedKernel, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.midpoints.precision % LIMB_BITS:
            found = f"a working precision of {self.midpoints.precision} bits"
            raise InputError(found, expected=f"whole limbs of {LIMB_BITS}, which hold every weight")

    def storage(self, x: Balls | Array) -> Balls:
        """A picture, which has no radius; what this engine made stays as it is."""
        if isinstance(x, Balls):
            return x
        return Balls(self.midpoints.storage(x), Radii.zeros(x.shape))

    def pad(self, x: Balls, padding: Padding) -> Balls:
        around = ((0, 0), *padding, (0, 0))
        return Balls(self.midpoints.pad(x.midpoints, padding), x.radii.each(lambda r: np.pad(r, around)))

    def conv2d(self, x: Balls, kernel: Array, bias: Array | None, *, strides: Pair, padding: Padding) -> Balls:
        """|sum w x - sum w m| <= sum |w| r; the sum of midpoints is exact and rounded once, with its bias."""
        y = self.midpoints.conv2d(x.midpoints, kernel, bias, strides=strides, padding=padding)
        return Balls(y, self._spread(x.radii, kernel, strides, padding).plus(roundoff(y)))

    def dense(self, x: Balls, kernel: Array, bias: Array | None) -> Balls:
        y = self.midpoints.dense(x.midpoints, kernel, bias)
        pixels = x.radii.each(lambda r: r[:, None, None])
        radii = self._spread(pixels, kernel[None, None], (1, 1), NO_PADDING).each(lambda r: r[:, 0, 0])
        return Balls(y, radii.plus(roundoff(y)))

    def batch_norm(self, x: Balls, gamma: Array, beta: Array, mean: Array, variance: Array, *, epsilon: float) -> Balls:
        """s and t are balls too: |x s + t - (m s' + t')| <= (r + |m|) |s - s'| + r |s'| + |t - t'|."""
        vectors = {"gamma": gamma, "beta": beta, "mean": mean, "variance": variance}
        s, t = self.midpoints.scale_and_shift(**vectors, epsilon=epsilon)
        y = self.midpoints.scale_shift(x.midpoints, s, t)
        # s is rounded twice: from p + 64 bits on the way to p, which is far less than half an ulp more
        s_radii = roundoff(s).plus(roundoff(s))
        t_radii = magnitudes(self.midpoints.storage(mean)).times(s_radii).plus(roundoff(t))
        sizes = magnitudes(x.midpoints).plus(x.radii)
        return Balls(y, sizes.times(s_radii).plus(x.radii.times(magnitudes(s)), t_radii, roundoff(y)))

    def relu(self, x: Balls) -> Balls:
        """ReLU moves no two numbers apart; where m + r <= 0 it gives just 0."""
        y = self.midpoints.relu(x.midpoints)
        below = (x.midpoints.signs <= 0) & surely_reaches(x.midpoints, x.radii)
        return Balls(y, x.radii.each(lambda r: np.where(below, 0.0, r)))

    def max_pool(self, x: Balls, *, size: Pair, strides: Pair) -> Balls:
        """(max m, max r): no maximum moves by more than the number that moves most."""
        y = self.midpoints.max_pool(x.midpoints, size=size, strides=strides)
        return Balls(y, x.radii.each(lambda r: pooling.max_pool(r, size=size, strides=strides, threads=self.threads)))

    def add(self, x: Balls, y: Balls) -> Balls:
        total = self.midpoints.add(x.midpoints, y.midpoints)
        return Balls(total, x.radii.plus(y.radii, roundoff(total)))

    def mean_pool(self, x: Balls) -> Balls:
        y = self.midpoints.mean_pool(x.midpoints)
        terms = x.shape[1] * x.shape[2]
        radii = x.radii.each(lambda r: r.sum((1, 2)) / terms * (1 + (terms + 2) * ULP))
        return Balls(y, Radii.scaled(radii.values, radii.exponent).plus(roundoff(y)))

    def softmax(self, x: Balls) -> Any:
        raise NotImplementedError("a certificate holds logits: enclosures.py has their softmax")

    def export(self, x: Balls) -> Balls:
        return x

    def _spread(self, radii: Radii, kernel: Array, strides: Pair, padding: Padding) -> Radii:
        """sum |w| r: a float64 sum of K products, none negative, is short by at most K u of itself, to first order.

        |w| has a power of two of its own, as radii have, lest a product of float64 weights underflow.
        """
        if not radii.values.any():
            output = np.zeros((radii.shape[0], *_output(radii.shape, kernel.shape, strides, padding)))
            return Radii(output, 0)
        if self.layer not in self.kept:
            sizes = Radii.scaled(np.abs(kernel).astype(np.float64))
            self.kept[self.layer] = pack_kernel(sizes.values, FLOAT64), sizes.exponent
        packed, exponent = self.kept[self.layer]
        how: dict[str, Any] = {"strides": strides, "padding": padding, "arithmetic": FLOAT64, "threads": self.threads}
        sums = convolve(radii.values, packed, None, **how)
        terms = int(np.prod(kernel.shape[:-1]))
        return Radii.scaled(sums * (1 + (terms + 2) * ULP), radii.exponent + exponent)


def _output(image: tuple[int, ...], kernel: tuple[int, ...], strides: Pair, padding: Padding) -> tuple[int, int, int]:
    height, width = ((image[1 + axis] + sum(padding[axis]) - kernel[axis]) // strides[axis] + 1 for axis in range(2))
    return height, width, kernel[3]
