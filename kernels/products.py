"""The public products, useful on their own: each takes the fields of Arithmetic as keywords."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..arithmetic import Arithmetic, Order
from ..arithmetic.formats import Array, round_to
from ..errors import InputError
from . import pooling
from .convolution import NO_PADDING, Padding, Pair, convolve, pack_kernel
from .threads import usable_threads


def conv2d(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    strides: Pair = (1, 1),
    padding: Padding = NO_PADDING,
    precision: str = "float32",
    accumulate: str | None = None,
    order: str | Order = "sequential",
    fma: bool | None = None,
    bias_at: str = "last",
    threads: int | None = None,
) -> Array:
    """ops.conv2d by kernels: (n, h, w, cin), (kh, kw, cin, cout), (cout,) -> (n, oh, ow, cout).

    Operands are rounded to the precision's operand format, sums to the accumulate format term by term in the declared
    order, the result once to storage. padding: ((top, bottom), (left, right)) rows and columns of zeros, which are
    terms like others. Raises InputError for shapes that do not fit and for arithmetic without meaning.
    """
    arithmetic = Arithmetic(precision, accumulate, order, fma, bias_at)
    image, weights = _operand(arithmetic, "x", x, 4), _operand(arithmetic, "kernel", kernel, 4)
    _check_conv2d(image.shape, weights.shape, strides, padding)
    offset = None if bias is None else _operand(arithmetic, "bias", bias, 1)
    if offset is not None and len(offset) != weights.shape[-1]:
        raise InputError(f"a bias of {len(offset)} numbers", expected=f"{weights.shape[-1]}, one for each filter")
    y = convolve(
        image,
        pack_kernel(weights, arithmetic),
        offset,
        strides=strides,
        padding=padding,
        arithmetic=arithmetic,
        threads=usable_threads(threads),
    )
    return np.asarray(y, arithmetic.storage.result)


def matmul(a: ArrayLike, b: ArrayLike, **arithmetic: Any) -> Array:
    """(M, K) @ (K, N) -> (M, N), each of the outputs summed in the declared order; keywords as in conv2d."""
    left, right = np.asarray(a), np.asarray(b)
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[0]:
        raise InputError(f"a of shape {left.shape} and b of shape {right.shape}", expected="(M, K) and (K, N)")
    return conv2d(left[:, None, None, :], right[None, None], **arithmetic)[:, 0, 0, :]


def dot(a: ArrayLike, b: ArrayLike, **arithmetic: Any) -> np.floating:
    """sum of a[k] b[k] in the declared order: (K,), (K,) -> one number; keywords as in conv2d."""
    left, right = np.asarray(a), np.asarray(b)
    if left.ndim != 1 or left.shape != right.shape:
        raise InputError(f"vectors of shapes {left.shape} and {right.shape}", expected="two of the same length")
    result: np.floating = matmul(left[None, :], right[:, None], **arithmetic)[0, 0]
    return result


def mean_pool(x: ArrayLike, *, threads: int | None = None, **arithmetic: Any) -> Array:
    """ops.mean_pool by kernels: (n, h, w, c) -> (n, c); precision, accumulate, order and fma as in conv2d."""
    how = Arithmetic(**arithmetic)
    image = _operand(how, "x", x, 4)
    y = pooling.mean_pool(image, arithmetic=how, threads=usable_threads(threads))
    return np.asarray(y, how.storage.result)


def _operand(arithmetic: Arithmetic, name: str, value: ArrayLike, dimensions: int) -> Array:
    """An array rounded to storage, or InputError."""
    array = np.asarray(value)
    if array.ndim != dimensions or not array.size or array.dtype.kind not in "fiu":
        raise InputError(
            f"{name} of shape {array.shape} and dtype {array.dtype}", expected=f"{dimensions} axes of real numbers"
        )
    own = arithmetic.storage
    return array if own.is_working and array.dtype == own.working else round_to(array, own)


def _check_conv2d(image: tuple[int, ...], kernel: tuple[int, ...], strides: Pair, padding: Padding) -> None:
    if image[3] != kernel[2]:
        raise InputError(f"x of {image[3]} channels, a kernel of {kernel[2]}", expected="the same number")
    if min(strides) < 1 or min(min(padding)) < 0:
        raise InputError(f"strides={strides}, padding={padding}", expected="strides of 1 and more, no negative padding")
    sizes = [image[1 + axis] + sum(padding[axis]) for axis in range(2)]
    if sizes[0] < kernel[0] or sizes[1] < kernel[1]:
        raise InputError(f"a kernel of {kernel[:2]} on a padded image of {tuple(sizes)}", expected="one that fits")
