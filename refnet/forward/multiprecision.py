"""The forward pass in N decimal digits: the definition of `mpN`, slow but right; big_engine.py has its bits at speed.

A convolution is one sum of exact integer products and one rounding; no number leaves its p bits anywhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce

import numpy as np
from mpmath import mp, mpf
from mpmath.libmp import dps_to_prec, from_float, mpf_add, mpf_div, mpf_exp, mpf_gt, mpf_pos, mpf_sqrt, mpf_sub

from ..arithmetic.formats import Array
from ..errors import InputError
from ..ops import Padding, Pair
from .scaled import Objects, RawMpf, Scaled, common, from_floats, from_raw

GUARD_BITS = 64  # beyond p, in square root, quotient and softmax, before their one rounding to p


@dataclass(frozen=True)
class MultiprecisionEngine:
    """The operations of the network on numbers of p = `precision` bits with unbounded exponents.

    Activations are `Scaled`, images (n, height, width, channels); weights come as the NumPy arrays of the file. RN is
    one rounding to p bits, ties to even. The order is `exact`: what the float formats round term by term is exact here.
    """

    precision: int

    def __post_init__(self) -> None:
        if self.precision < 2:
            raise InputError(f"{self.precision} bits", expected="at least two")

    @classmethod
    def of_digits(cls, digits: int) -> MultiprecisionEngine:
        """mpN: p = mpmath.libmp.dps_to_prec(N)."""
        if digits < 1:
            raise InputError(f"mp{digits}", expected="at least one decimal digit, such as mp50")
        return cls(int(dps_to_prec(digits)))

    def storage(self, x: Scaled | Array) -> Scaled:
        """RN of a picture, kernel or bias; what this engine made stays as it is. InputError for NaN and infinity."""
        return x if isinstance(x, Scaled) else self._rn(from_floats(x))

    def pad(self, x: Scaled, padding: Padding) -> Scaled:
        """Zeros around each image."""
        images, height, width, channels = x.integers.shape
        (top, bottom), (left, right) = padding
        padded = np.zeros((images, top + height + bottom, left + width + right, channels), object)
        padded[:, top : top + height, left : left + width] = x.integers
        return Scaled(padded, x.exponent)

    def conv2d(self, x: Scaled, kernel: Array, bias: Array | None, *, strides: Pair, padding: Padding) -> Scaled:
        """RN(sum over (dh, dw, c) of x[i s + dh, j s + dw, c] kernel[dh, dw, c, f] + bias[f]), kernel and bias RN."""
        height, width, channels, filters = kernel.shape
        patches = np.concatenate(list(_shifts(self.pad(x, padding).integers, (height, width), strides)), axis=-1)
        rows = Scaled(patches.reshape(-1, height * width * channels), x.exponent)
        y = self.dense(rows, kernel.reshape(-1, filters), bias)
        return Scaled(y.integers.reshape(*patches.shape[:3], filters), y.exponent)

    def dense(self, x: Scaled, kernel: Array, bias: Array | None) -> Scaled:
        """RN(x kernel + bias), kernel and bias RN: (n, K), (K, N), (N,) -> (n, N)."""
        columns = self.storage(kernel)
        rows = [row @ columns.integers for row in x.integers]  # one by one: an interrupt can come between
        products = Scaled(np.array(rows, object), x.exponent + columns.exponent)
        return self._rn(products) if bias is None else self.add(products, self.storage(bias))

    def batch_norm(
        self, x: Scaled, gamma: Array, beta: Array, mean: Array, variance: Array, *, epsilon: float
    ) -> Scaled:
        """RN(x s + t), s = gamma / sqrt(variance + epsilon) from p + 64 bits to p, t = RN(beta - mean s).

        The vectors are taken as they stand, epsilon as the binary64 number that it is; their sum is exact.
        Raises InputError where variance + epsilon is not positive.
        """
        s, t = self.scale_and_shift(gamma, beta, mean, variance, epsilon=epsilon)
        return self.add(Scaled(x.integers * s.integers, x.exponent + s.exponent), t)

    def scale_and_shift(
        self, gamma: Array, beta: Array, mean: Array, variance: Array, *, epsilon: float
    ) -> tuple[Scaled, Scaled]:
        """Batch normalisation's s and t, a number for each channel."""
        if not (np.asarray(variance, np.float64) > -epsilon).all():
            raise InputError(f"a variance of {np.min(variance)}", expected=f"variances above {-epsilon}")
        s = from_raw([self._scale(*pair, epsilon) for pair in zip(gamma.tolist(), variance.tolist(), strict=True)])
        center = from_floats(mean)
        t = self.add(from_floats(beta), Scaled(-center.integers * s.integers, center.exponent + s.exponent))
        return s, t

    def relu(self, x: Scaled) -> Scaled:
        """x where x > 0, else 0."""
        return Scaled(np.maximum(x.integers, 0), x.exponent)

    def max_pool(self, x: Scaled, *, size: Pair, strides: Pair) -> Scaled:
        """The largest of each window."""
        return Scaled(reduce(np.maximum, _shifts(x.integers, size, strides)), x.exponent)

    def add(self, x: Scaled, y: Scaled) -> Scaled:
        """RN(x + y)."""
        (left, right), exponent = common(x, y)
        return self._rn(Scaled(left + right, exponent))

    def mean_pool(self, x: Scaled) -> Scaled:
        """RN(sum / (height width)): (n, h, w, c) -> (n, c)."""
        count = x.integers.shape[1] * x.integers.shape[2]
        shift = self.precision + count.bit_length() + 2  # the quotient has more than p + 1 bits ...
        total = x.integers.sum((1, 2)) << shift
        sticky = total % count != 0  # ... and an odd last bit where it is not exact, so that no tie is a false one
        return self._rn(Scaled(2 * (total // count) + sticky.astype(int), x.exponent - shift - 1))

    def softmax(self, x: Scaled) -> Objects:
        """exp(x - max x) / sum of these over the last axis, at p + 64 bits and rounded once to p.

        The result is `mpmath.mpf` at once: its numbers lie too far apart for integers at one exponent.
        """
        rows = [self._softmax_row([number._mpf_ for number in row]) for row in x.to_mpf()]
        return np.array(rows, object).reshape(x.integers.shape)

    def export(self, x: Scaled | Objects) -> Objects:
        """An object array of mpmath.mpf, each the exact number; mpmath's own working precision plays no part."""
        return x.to_mpf() if isinstance(x, Scaled) else x

    def _rn(self, x: Scaled) -> Scaled:
        return x.rounded(self.precision)

    def _scale(self, gamma: float, variance: float, epsilon: float) -> RawMpf:
        working = self.precision + GUARD_BITS
        root = mpf_sqrt(mpf_add(from_float(variance), from_float(epsilon)), working, "n")
        scale: RawMpf = mpf_pos(mpf_div(from_float(gamma), root, working, "n"), self.precision, "n")
        return scale

    def _softmax_row(self, row: list[RawMpf]) -> list[mpf]:
        working = self.precision + GUARD_BITS
        top = reduce(lambda x, y: y if mpf_gt(y, x) else x, row)
        powers = [mpf_exp(mpf_sub(x, top), working, "n") for x in row]
        total = reduce(lambda x, y: mpf_add(x, y, working, "n"), powers)
        quotients = (mpf_div(power, total, working, "n") for power in powers)
        return [mp.make_mpf(mpf_pos(quotient, self.precision, "n")) for quotient in quotients]


def _shifts(images: Objects, size: Pair, strides: Pair) -> Iterator[Objects]:
    """For each place of the window, in row-major order, what the windows have there: (n, rows, columns, channels)."""
    rows, columns = ((images.shape[axis + 1] - size[axis]) // strides[axis] + 1 for axis in (0, 1))
    for top, left in np.ndindex(size):
        bottom, right = top + (rows - 1) * strides[0] + 1, left + (columns - 1) * strides[1] + 1
        yield images[:, top : bottom : strides[0], left : right : strides[1]]
