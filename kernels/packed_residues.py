"""A convolution's kernel, ready to be multiplied modulo primes: prepared once, whatever the image and the primes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import frexp, inf, nextafter

import numpy as np

from ..arithmetic.formats import Array
from .convolution import PackedKernel, pack_kernel
from .modulo import reduce_all
from .residues import Limbs, Numbers, Span, integers_of, residues, span_of
from .small_products import EXACTLY

ByPrime = Callable[[int], PackedKernel]
WIDEST = 900  # bits of a float's integer: they are float64 numbers, below 2^1023


@dataclass(frozen=True)
class PackedResidues:
    """Kernel numbers as integers times 2^span.lowest.

    shape: (kh, kw, cin, filters).  norm_bits: each filter's sum of absolute integers is below 2^norm_bits.  packed:
    the integers as a tile reads them, where the numbers are floats.  numbers: what residues are made of where they are
    not.
    """

    shape: tuple[int, int, int, int]
    span: Span
    norm_bits: int
    packed: PackedKernel | None = None
    numbers: Limbs | None = None

    @property
    def terms(self) -> int:
        height, width, channels, _ = self.shape
        return height * width * channels

    def modulo(self, primes: tuple[int, ...], threads: int) -> ByPrime:
        """A function from a prime's place to the packed residues; each call may overwrite what the last one gave."""
        if self.numbers is not None:
            all_residues = residues(self.numbers, self.span, primes, threads)
            return lambda place: pack_kernel(all_residues[place], EXACTLY)
        packed = self.packed
        assert packed is not None
        room = np.empty_like(packed.data)

        def of(place: int) -> PackedKernel:
            reduce_all(packed.data, primes[place], self.span.bits, room, threads)
            return replace(packed, data=room)

        return of


def pack_residues(kernel: Numbers) -> PackedResidues:
    """A kernel (kh, kw, cin, filters) of floats or Limbs. Raises InputError for NaN and infinity."""
    span = span_of(kernel)
    shape = kernel.signs.shape if isinstance(kernel, Limbs) else kernel.shape
    terms = shape[0] * shape[1] * shape[2]
    if not isinstance(kernel, Limbs) and span.bits <= WIDEST:
        integers = integers_of(kernel, span)
        return PackedResidues(shape, span, _norm_bits(integers), packed=pack_kernel(integers, EXACTLY))
    limbs = kernel if isinstance(kernel, Limbs) else limbs_of(kernel)
    return PackedResidues(shape, span, span.bits + terms.bit_length(), numbers=limbs)


def _norm_bits(integers: Array) -> int:
    """The bits of the largest sum of |integers| of one filter, rounded upwards."""
    terms = integers.size // max(1, integers.shape[-1])
    largest = float(np.abs(integers).reshape(terms, -1).sum(0).max(initial=0.0))
    # float64 sums of K positive numbers are at most K 2^-53 too small, to first order
    return frexp(nextafter(largest * (1 + terms * 2.0**-52), inf))[1]


def limbs_of(x: Array) -> Limbs:
    """Finite floats as numbers of one limb, odd integers, so that their span is that of the floats."""
    fractions, exponents = np.frexp(np.asarray(x, np.float64))
    integers = np.ldexp(np.abs(fractions), 53).astype(np.int64)
    signs = np.sign(fractions).astype(np.int8)
    lowest_bits = (integers & -integers).astype(np.float64)
    zeros = np.where(signs == 0, 0, np.frexp(lowest_bits)[1] - 1).astype(np.int64)
    exponents = np.where(signs == 0, 0, exponents + zeros - 53)
    return Limbs(signs, (integers >> zeros).astype(np.uint64)[..., None], exponents)
