"""mpN at speed: the bits of multiprecision.py, by exact integer products over residues and kernels on limbs."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..arithmetic.big_floats import BigFloats
from ..arithmetic.formats import Array
from ..errors import InputError
from ..kernels import big_elementwise, big_pooling
from ..kernels.convolution import NO_PADDING
from ..kernels.integer_products import SpreadError, convolve_numbers
from ..kernels.packed_residues import PackedResidues, pack_residues
from ..kernels.residues import Limbs
from ..ops import Padding, Pair
from .multiprecision import MultiprecisionEngine
from .scaled import Objects, Scaled

Part = Callable[[float], None]
FLOAT32_BITS = 24


@dataclass(frozen=True)
class BigEngine:
    """MultiprecisionEngine's operations, with its bits, on BigFloats of p bits.

    definition: what does it slowly, and whatever no kernel is for.  layer: the one it computes.  kept: weights that
    were prepared, by layer; they do not depend on p.  part: told which fraction of a long layer is done.
    """

    definition: MultiprecisionEngine
    layer: str = ""
    threads: int = 1
    kept: MutableMapping[str, Any] = field(default_factory=dict)
    part: Part | None = None
    smaller_primes: bool = False

    @property
    def precision(self) -> int:
        """p, the bits of a significand."""
        return self.definition.precision

    def storage(self, x: BigFloats | Array) -> BigFloats:
        """RN of a picture or bias; what this engine made stays as it is. InputError for NaN and infinity."""
        return x if isinstance(x, BigFloats) else BigFloats.from_floats(x, self.precision)

    def pad(self, x: BigFloats, padding: Padding) -> BigFloats:
        return big_pooling.pad(x, padding)

    def conv2d(self, x: BigFloats, kernel: Array, bias: Array | None, *, strides: Pair, padding: Padding) -> BigFloats:
        """RN of the exact sum, bias included; where exponents lie too far apart for residues, by the definition."""
        try:
            sums = convolve_numbers(
                Limbs(x.signs, x.significands, x.exponents),
                self._packed(kernel),
                strides=strides,
                padding=padding,
                threads=self.threads,
                limit=self._widest,
                progress=self.part,
                smaller_primes=self.smaller_primes,
            )
        except SpreadError:
            y = self.definition.conv2d(_scaled(x), kernel, bias, strides=strides, padding=padding)
            return BigFloats.from_integers(y.integers, y.exponent, self.precision)
        offset = None if bias is None else self.storage(bias)
        return big_elementwise.rounded(
            sums.signs, sums.words, sums.exponent, self.precision, bias=offset, threads=self.threads
        )

    def dense(self, x: BigFloats, kernel: Array, bias: Array | None) -> BigFloats:
        """RN(x kernel + bias): (n, K), (K, N), (N,) -> (n, N)."""
        pixels = x.reshape(len(x), 1, 1, -1)
        y = self.conv2d(pixels, kernel[None, None], bias, strides=(1, 1), padding=NO_PADDING)
        return y.reshape(len(x), -1)

    def batch_norm(
        self, x: BigFloats, gamma: Array, beta: Array, mean: Array, variance: Array, *, epsilon: float
    ) -> BigFloats:
        """RN(x s + t), with the definition's s and t."""
        return self.scale_shift(x, *self.scale_and_shift(gamma, beta, mean, variance, epsilon=epsilon))

    def scale_and_shift(
        self, gamma: Array, beta: Array, mean: Array, variance: Array, *, epsilon: float
    ) -> tuple[BigFloats, BigFloats]:
        """Batch normalisation's s and t, a number for each channel; those of the last precision are kept."""
        kept = self.kept.get(self.layer) if self.layer else None
        if kept is None or kept[0].bits != self.precision:
            vectors = self.definition.scale_and_shift(gamma, beta, mean, variance, epsilon=epsilon)
            s, t = (BigFloats.from_integers(vector.integers, vector.exponent, self.precision) for vector in vectors)
            kept = s, t
            if self.layer:
                self.kept[self.layer] = kept
        s, t = kept
        return s, t

    def scale_shift(self, x: BigFloats, s: BigFloats, t: BigFloats) -> BigFloats:
        """RN(x s + t)."""
        return big_elementwise.scale_shift(x, s, t, threads=self.threads)

    def relu(self, x: BigFloats) -> BigFloats:
        return big_elementwise.relu(x, threads=self.threads)

    def max_pool(self, x: BigFloats, *, size: Pair, strides: Pair) -> BigFloats:
        return big_pooling.max_pool(x, size=size, strides=strides, threads=self.threads)

    def add(self, x: BigFloats, y: BigFloats) -> BigFloats:
        return big_elementwise.add(x, y, threads=self.threads)

    def mean_pool(self, x: BigFloats) -> BigFloats:
        return big_pooling.mean_pool(x, threads=self.threads)

    def softmax(self, x: BigFloats) -> Objects:
        """The definition's."""
        return self.definition.softmax(_scaled(x))

    def export(self, x: BigFloats | Objects) -> BigFloats | Objects:
        """Activations stay compact: BigFloats make an mpmath.mpf of what is indexed."""
        return x

    @property
    def _widest(self) -> int:
        """Bits of a sum beyond which the definition is the quicker way."""
        return 4 * self.precision + 1024

    def _packed(self, kernel: Array) -> PackedResidues:
        if self.precision < FLOAT32_BITS or kernel.dtype.itemsize > 4:  # RN would change it: it depends on p
            return pack_residues(self._limbs(kernel))
        if not self.layer:
            return pack_residues(kernel)
        if self.layer not in self.kept:
            self.kept[self.layer] = pack_residues(kernel)
        packed: PackedResidues = self.kept[self.layer]
        return packed

    def _limbs(self, kernel: Array) -> Limbs:
        stored = self.storage(kernel)
        return Limbs(stored.signs, stored.significands, stored.exponents)


def _scaled(x: BigFloats) -> Scaled:
    """The same numbers as Python integers at one exponent. Raises InputError where that would be too long."""
    used = x.signs != 0
    exponent = int(x.exponents.min(where=used, initial=np.iinfo(np.int64).max)) if used.any() else 0
    reach = int(x.exponents.max(where=used, initial=exponent)) - exponent
    if reach > 1 << 24:
        raise InputError(f"activations whose sizes are {reach} bits apart", expected=f"at most {1 << 24}")
    length = 8 * x.limbs
    data = np.ascontiguousarray(x.significands).tobytes()
    parts = zip(x.signs.ravel().tolist(), x.exponents.ravel().tolist(), strict=True)
    integers = np.empty(x.size, object)
    integers[:] = [
        sign * (int.from_bytes(data[place * length : (place + 1) * length], "little") << (e - exponent if sign else 0))
        for place, (sign, e) in enumerate(parts)
    ]
    return Scaled(integers.reshape(x.shape), exponent)
