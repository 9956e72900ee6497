"""Exact convolutions of numbers of any length: modulo many primes in float64 tiles, prime by prime.

The sums of each output are exact: nothing is rounded anywhere. (Residue number systems: Garner, 1959; for matrix
products in floating point, Ozaki, Uchino and Imamura, 2025.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from ..arithmetic.formats import Array
from ..errors import RefnetError
from ..ops import Padding, Pair
from .convolution import Epilogue, convolve
from .packed_residues import WIDEST, ByPrime, PackedResidues, limbs_of
from .primes import largest_residue, primes_for
from .reconstruct import Signs, Words, integers_from
from .residues import Limbs, Numbers, residues, span_of
from .small_products import EXACTLY

Progress = Callable[[float], None]
MEMORY = 1 << 27  # bytes of residues at once, unless told otherwise
GUARD_BITS = 2  # the primes' product is above 4 |V|


class SpreadError(RefnetError):
    """Exponents lie too far apart for residues: the caller has a slower way that does not mind."""

    def __init__(self, bits: int, limit: int) -> None:
        self.bits, self.limit = bits, limit
        super().__init__(f"sums of {bits} bits; expected at most {limit}")


@dataclass(frozen=True)
class Integers:
    """The numbers sign M 2^exponent with one exponent for all.

    signs: int8 of shape S in {-1, 0, 1}.  words: uint64 of shape S + (L,), little-endian limbs of M.
    """

    signs: Signs
    words: Words
    exponent: int


@dataclass(frozen=True)
class _Geometry:
    """Sizes of a convolution; image is (n, h, w, c), kernel (kh, kw, c, filters)."""

    image: tuple[int, ...]
    kernel: tuple[int, int, int, int]
    strides: Pair
    padding: Padding

    @property
    def output(self) -> tuple[int, int, int, int]:
        sizes = [
            (self.image[1 + axis] + sum(self.padding[axis]) - self.kernel[axis]) // self.strides[axis] + 1
            for axis in range(2)
        ]
        return (self.image[0], sizes[0], sizes[1], self.kernel[3])

    def bytes_a_row(self) -> int:
        """Residues of one prime for one row of outputs: float64 of the sums, float32 of what is read."""
        _, _, width, filters = self.output
        return 8 * width * filters + 4 * self.strides[0] * self.image[2] * self.image[3]

    def blocks(self, rows: int) -> Iterator[tuple[slice, slice]]:
        """Images and rows of outputs, at most `rows` rows at once and as many images as these suffice for."""
        images, height, _, _ = self.output
        together = max(1, rows // max(1, height))
        for image in range(0, images, together):
            for row in range(0, height, min(rows, height)):
                yield slice(image, min(image + together, images)), slice(row, min(row + rows, height))

    def outputs_of(self, images: slice, rows: slice) -> int:
        return (images.stop - images.start) * (rows.stop - rows.start) * self.output[2] * self.output[3]

    def read_by(self, rows: slice) -> tuple[slice, Padding]:
        """Rows of the image that these rows of outputs read, and the padding that is left around them."""
        (top, _), sides = self.padding
        start, stop = rows.start * self.strides[0] - top, (rows.stop - 1) * self.strides[0] - top + self.kernel[0]
        first, end = (min(max(0, row), self.image[1]) for row in (start, stop))
        above = min(max(0, -start), stop - start)
        return slice(first, end), ((above, stop - start - above - (end - first)), sides)


def convolve_numbers(
    x: Numbers,
    kernel: PackedResidues,
    *,
    strides: Pair,
    padding: Padding,
    threads: int,
    limit: int | None = None,
    memory: int = MEMORY,
    progress: Progress | None = None,
    smaller_primes: bool = False,
) -> Integers:
    """The exact sums of ops.conv2d, of an image (n, h, w, cin): signs (n, oh, ow, filters), limbs, one exponent.

    x: Limbs, or an array of finite floats.  limit: bits of a sum above which SpreadError is raised instead; None is
    never.  memory: about how many bytes of residues may be held at once; there is one row of outputs at least.
    smaller_primes: take none of the primes that are otherwise taken, for a second way to the same sums.
    progress: told from time to time which fraction is done. Nothing outlives an exception that it raises, or Ctrl-C.

    The primes' product is above 4 max|x| max(sum|w|). Raises InputError for NaN and infinity.
    """
    span = span_of(x)
    bits = max(1, span.bits + kernel.norm_bits)
    if limit is not None and bits > limit:
        raise SpreadError(bits, limit)
    if not isinstance(x, Limbs) and span.bits > WIDEST:
        x = limbs_of(x)
    shape = x.signs.shape if isinstance(x, Limbs) else x.shape
    geometry = _Geometry(shape, kernel.shape, strides, padding)
    residue = largest_residue(kernel.terms)
    primes = primes_for(bits + GUARD_BITS, residue // 2 if smaller_primes else residue)
    limbs = -(-bits // 64)
    signs, words = np.empty(geometry.output, np.int8), np.empty((*geometry.output, limbs), np.uint64)
    blocks = list(geometry.blocks(max(1, memory // (len(primes) * max(1, geometry.bytes_a_row())))))
    weights = kernel.modulo(primes, threads)
    room = np.empty((len(primes), max((geometry.outputs_of(*block) for block in blocks), default=0)))
    for done, (images, rows) in enumerate(blocks):
        inside, left = geometry.read_by(rows)
        image = residues(_part(x, images, inside), span, primes, threads)
        part = _Geometry(image.shape[1:], kernel.shape, strides, left)
        sums = room.reshape(-1)[: len(primes) * prod(part.output)].reshape(len(primes), -1)
        _multiply(image, weights, primes, part, sums, threads, _part_of(progress, done, len(blocks)))
        part_signs, part_words = integers_from(sums, primes, limbs, threads)
        signs[images, rows] = part_signs.reshape(part.output)
        words[images, rows] = part_words.reshape(*part.output, limbs)
    return Integers(signs, words, span.lowest + kernel.span.lowest)


def _part(x: Numbers, images: slice, rows: slice) -> Numbers:
    if not isinstance(x, Limbs):
        return x[images, rows]
    return Limbs(x.signs[images, rows], x.significands[images, rows], x.exponents[images, rows])


def _part_of(progress: Progress | None, done: int, parts: int) -> Progress:
    return lambda fraction: progress((done + fraction) / parts) if progress else None


def _multiply(
    image: Array,
    weights: ByPrime,
    primes: tuple[int, ...],
    geometry: _Geometry,
    sums: Array,
    threads: int,
    progress: Progress,
) -> None:
    """sums (primes, outputs) = the convolution modulo each prime, of residues (primes, n, h, w, cin)."""
    for place, prime in enumerate(primes):
        vectors = np.full(geometry.kernel[3], 1 / prime), np.full(geometry.kernel[3], float(prime))
        convolve(
            image[place],
            weights(place),
            None,
            strides=geometry.strides,
            padding=geometry.padding,
            arithmetic=EXACTLY,
            threads=threads,
            epilogue=Epilogue("modulo", vectors),
            out=sums[place],
        )
        progress((place + 1) / len(primes))
