"""The public product of integers of any size: Python integers in, Python integers out, no bit lost."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arithmetic.environment import check_environment
from ..errors import InputError
from .convolution import NO_PADDING
from .integer_products import Integers, convolve_numbers
from .packed_residues import pack_residues
from .residues import Limbs
from .threads import usable_threads

Objects = NDArray[np.object_]


def integer_matmul(a: ArrayLike, b: ArrayLike, threads: int | None = None) -> Objects:
    """a b exactly: (M, K), (K, N) -> object array (M, N) of Python ints.

    a, b: integers of any size: integer arrays, object arrays or nested lists of Python ints.  threads: None is all that
    this process may use. A sum of no terms is 0. Computed modulo primes, in float64 (integer_products.py); its time
    grows with the product of the lengths of K and of the largest result. Raises InputError for anything but integers,
    for shapes that do not fit, and for results longer than the primes that K allows can tell apart (280,000 bits at
    K = 10^6, far more below).
    """
    check_environment()
    left, right = _integers("a", a), _integers("b", b)
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[0]:
        raise InputError(f"a of shape {left.shape} and b of shape {right.shape}", expected="(M, K) and (K, N)")
    count = usable_threads(threads)
    shape = (left.shape[0], right.shape[1])
    if 0 in (*left.shape, *right.shape):
        return _zeros(shape)
    image, kernel = limbs_of_integers(left[:, None, None, :]), limbs_of_integers(right[None, None])
    packed = pack_residues(kernel)
    return integers_of_words(
        convolve_numbers(image, packed, strides=(1, 1), padding=NO_PADDING, threads=count)
    ).reshape(shape)


def _integers(name: str, value: Any) -> NDArray[Any]:
    """An array of integers as it is; anything else as Python objects, so that NumPy makes no floats of them."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "iu":
        return value
    array = np.asarray(value, object)
    for number in array.flat:
        if not isinstance(number, int | np.integer):
            raise InputError(f"{number!r} in {name}", expected="integers", do="take refnet.kernels.matmul for floats")
    return array


def limbs_of_integers(x: NDArray[Any]) -> Limbs:
    """Integers of any shape as numbers with the exponent 0."""
    if x.dtype.kind in "iu":
        negative = x < 0
        bits = x.astype(np.int64).view(np.uint64) if x.dtype.kind == "i" else x.astype(np.uint64)
        words = np.where(negative, ~bits + np.uint64(1), bits)[..., None]  # |-2^63| is no int64
        signs = np.where(negative, -1, x != 0).astype(np.int8)
    else:
        numbers = [int(number) for number in x.flat]
        limbs = max(1, -(-max(number.bit_length() for number in numbers) // 64))
        data = b"".join(abs(number).to_bytes(8 * limbs, "little") for number in numbers)
        words = np.frombuffer(data, "<u8").astype(np.uint64).reshape(*x.shape, limbs)
        signs = np.array([(number > 0) - (number < 0) for number in numbers], np.int8).reshape(x.shape)
    return Limbs(signs, words, np.zeros(x.shape, np.int64))


def integers_of_words(x: Integers) -> Objects:
    """The Python ints of `Integers` whose exponent is 0 or more."""
    size = x.words.shape[-1] * 8
    data = x.words.astype("<u8").tobytes()
    values = [
        sign * int.from_bytes(data[i * size : (i + 1) * size], "little") << x.exponent
        for i, sign in enumerate(x.signs.ravel().tolist())
    ]
    result = _zeros(x.signs.shape)
    result.reshape(-1)[:] = values
    return result


def _zeros(shape: tuple[int, ...]) -> Objects:
    return np.full(shape, 0, object)
