"""Arrays of p-bit floating-point numbers with exponents of 64 bits: 24 + 8 + 1 bytes a number at p = 169.

They are numbers of MPFR's kind (Fousse et al., "MPFR", ACM TOMS 33(2), 2007) without NaN, infinity or a negative zero.
What is computed with them is in kernels/big_elementwise.py and kernels/big_pooling.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from mpmath import mp, mpf
from mpmath.libmp import from_man_exp, mpf_pos
from numpy.typing import NDArray

from ..errors import InputError
from .formats import Array

Objects = NDArray[np.object_]
RawMpf = tuple[int, int, int, int]  # mpmath.libmp's own numbers

LIMB_BITS = 64
LARGEST_EXPONENT = 1 << 60  # of what enters, so that sums of a few exponents stay far from the end of int64
NOT_FINITE = {"found": "NaN or infinity among the numbers", "expected": "finite numbers for BigFloats"}
DTYPES = {"signs": np.int8, "significands": np.uint64, "exponents": np.int64}


@dataclass(frozen=True, eq=False)
class BigFloats:
    """The numbers sign * M * 2^exponent; M has `bits` bits, the first of them set.

    signs: int8, of the array's shape S, in {-1, 0, 1}.  significands: uint64, S + (L,), the limbs of M, the least
    first; L = ceil(bits / 64).  exponents: int64, S.  A zero has sign, M and exponent 0.
    Raises InputError for arrays of other types or shapes; the numbers in them are not looked at.
    """

    signs: NDArray[np.int8]
    significands: NDArray[np.uint64]
    exponents: NDArray[np.int64]
    bits: int

    def __post_init__(self) -> None:
        if not isinstance(self.bits, int) or self.bits < 2:
            raise InputError(f"bits={self.bits!r}", expected="at least 2 bits in a significand")
        shapes = {"signs": self.shape, "significands": (*self.shape, self.limbs), "exponents": self.shape}
        for name, shape in shapes.items():
            array = getattr(self, name)
            if array.dtype != DTYPES[name] or array.shape != shape:
                found = f"{name} of type {array.dtype} and shape {array.shape}"
                raise InputError(found, expected=f"type {np.dtype(DTYPES[name])} and shape {shape}")
        if self.limbs > 1 and self.significands.strides[-1] != self.significands.itemsize:
            raise InputError("limbs of a number that lie apart", expected="the last axis of significands contiguous")

    @property
    def shape(self) -> tuple[int, ...]:
        return self.signs.shape

    @property
    def ndim(self) -> int:
        return self.signs.ndim

    @property
    def size(self) -> int:
        return self.signs.size

    @property
    def nbytes(self) -> int:
        return self.signs.nbytes + self.significands.nbytes + self.exponents.nbytes

    @property
    def limbs(self) -> int:
        """L, the limbs of one significand."""
        return -(-self.bits // LIMB_BITS)

    def __len__(self) -> int:
        return len(self.signs)

    def __getitem__(self, index: Any) -> Any:
        """As NumPy's: a view or a copy of part of the array; a single number is an mpmath.mpf, exactly."""
        signs = self.signs[index]
        whole = self.significands.view([("limbs", np.uint64, self.limbs)])[..., 0]
        if signs.ndim == 0:
            return _mpf(int(signs), whole[index]["limbs"].tobytes(), int(self.exponents[index]))
        return BigFloats(signs, whole[index]["limbs"], self.exponents[index], self.bits)

    def reshape(self, *shape: int) -> BigFloats:
        """The same numbers in another shape, one length of which may be -1."""
        signs = self.signs.reshape(shape)
        significands = self.significands.reshape(*signs.shape, self.limbs)
        return BigFloats(signs, significands, self.exponents.reshape(shape), self.bits)

    def __eq__(self, other: object) -> bool:
        """Whether the shapes and the exact values are the same; the numbers of bits need not be."""
        if not isinstance(other, BigFloats):
            return NotImplemented
        if self.shape != other.shape:
            return False
        bits = max(self.bits, other.bits)
        left, right = self.widened(bits), other.widened(bits)
        return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in DTYPES)

    __hash__ = None  # type: ignore[assignment]  # as NumPy's arrays

    def widened(self, bits: int) -> BigFloats:
        """The same numbers with more bits. Raises InputError for fewer."""
        if bits < self.bits:
            raise InputError(f"{bits} bits for numbers of {self.bits}", expected="at least as many")
        significands = _shifted_left(self.significands, bits - self.bits, -(-bits // LIMB_BITS))
        exponents = np.where(self.signs != 0, self.exponents - (bits - self.bits), 0)
        return BigFloats(self.signs, significands, exponents, bits)

    def to_mpf(self) -> Objects:
        """An object array of mpmath.mpf, each exactly the number; mpmath's own working precision plays no part."""
        numbers = np.empty(self.size, object)
        length, data = 8 * self.limbs, np.ascontiguousarray(self.significands).tobytes()
        parts = zip(self.signs.ravel().tolist(), self.exponents.ravel().tolist(), strict=True)
        numbers[:] = [
            _mpf(sign, data[place * length : (place + 1) * length], exponent)
            for place, (sign, exponent) in enumerate(parts)
        ]
        return numbers.reshape(self.shape)

    @classmethod
    def zeros(cls, shape: tuple[int, ...], bits: int) -> BigFloats:
        """An array of zeros."""
        limbs = -(-bits // LIMB_BITS)
        return cls(np.zeros(shape, np.int8), np.zeros((*shape, limbs), np.uint64), np.zeros(shape, np.int64), bits)

    @classmethod
    def from_floats(cls, x: Array, bits: int) -> BigFloats:
        """RN of float64 or narrower numbers to `bits` bits, ties to even. Raises InputError for NaN and infinity."""
        wide = np.asarray(x, np.float64)
        if not np.isfinite(wide).all():
            raise InputError(**NOT_FINITE)
        fractions, exponents = np.frexp(np.abs(wide.ravel()))
        kept = min(bits, 53)
        integers = np.rint(np.ldexp(fractions, kept))  # ties to even
        carried = integers == 2.0**kept
        significands = np.where(carried, integers / 2, integers).astype(np.uint64)
        exponents = np.where(fractions > 0, exponents.astype(np.int64) + carried - bits, 0)
        significands = _shifted_left(significands[:, None], bits - kept, -(-bits // LIMB_BITS))
        return cls(np.sign(wide.ravel()).astype(np.int8), significands, exponents, bits).reshape(*wide.shape)

    @classmethod
    def from_integers(cls, integers: Any, exponent: int, bits: int) -> BigFloats:
        """RN(integer 2^exponent) of each Python integer of an array or a list, to `bits` bits, ties to even."""
        objects = np.asarray(integers, object)
        return cls.from_raw((from_man_exp(integer, exponent) for integer in objects.ravel()), bits, objects.shape)

    @classmethod
    def from_mpf(cls, numbers: Any, bits: int) -> BigFloats:
        """RN of an array or a list of mpmath.mpf to `bits` bits, ties to even. Raises InputError for NaN, infinity."""
        objects = np.asarray(numbers, object)
        return cls.from_raw((number._mpf_ for number in objects.ravel()), bits, objects.shape)

    @classmethod
    def from_raw(cls, numbers: Iterable[RawMpf], bits: int, shape: tuple[int, ...] = (-1,)) -> BigFloats:
        """RN of mpmath.libmp's numbers to `bits` bits, ties to even; a vector, or of the given shape.

        Raises InputError for NaN, infinity and exponents beyond 2^60.
        """
        parts = [_parts(number, bits) for number in numbers]
        limbs = -(-bits // LIMB_BITS)
        data = b"".join(significand.to_bytes(8 * limbs, "little") for _, significand, _ in parts)
        significands = np.frombuffer(data, "<u8").astype(np.uint64).reshape(len(parts), limbs)
        signs, exponents = (np.array([part[place] for part in parts], np.int64) for place in (0, 2))
        return cls(signs.astype(np.int8), significands, exponents, bits).reshape(*shape)


def _mpf(sign: int, limbs: bytes, exponent: int) -> mpf:
    """One number from its little-endian limbs."""
    return mp.make_mpf(from_man_exp(sign * int.from_bytes(limbs, "little"), exponent))


def _parts(number: RawMpf, bits: int) -> tuple[int, int, int]:
    """Sign, significand of just `bits` bits, and exponent of RN(number)."""
    sign, mantissa, exponent, length = mpf_pos(number, bits, "n")
    if not mantissa:
        if exponent:
            raise InputError(**NOT_FINITE)
        return 0, 0, 0
    if abs(exponent) > LARGEST_EXPONENT:
        raise InputError(f"a number near 2^{exponent}", expected="exponents up to 2^60 in size")
    shift = bits - length
    return -1 if sign else 1, int(mantissa) << shift, exponent - shift


def _shifted_left(significands: NDArray[np.uint64], shift: int, limbs: int) -> NDArray[np.uint64]:
    """The integers of the last axis times 2^shift, in so many limbs, which are enough."""
    skipped, shift_in_limb = divmod(shift, LIMB_BITS)
    shifted = np.zeros((*significands.shape[:-1], limbs), np.uint64)
    for place in range(min(significands.shape[-1], limbs - skipped)):
        limb = significands[..., place]
        shifted[..., place + skipped] |= limb << np.uint64(shift_in_limb)
        if shift_in_limb and place + skipped + 1 < limbs:
            shifted[..., place + skipped + 1] = limb >> np.uint64(LIMB_BITS - shift_in_limb)
    return shifted
