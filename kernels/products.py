"""The public products, useful on their own: each takes the fields of Arithmetic as keywords."""

from __future__ import annotations

from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike

from .. import ops
from ..arithmetic import Arithmetic, DoubleDouble, Order, exported, planewise, shape_of, stored
from ..arithmetic.environment import check_environment
from ..arithmetic.formats import Array
from ..errors import InputError
from ..ops import Padding, Pair
from . import pooling
from .any_order import convolve, prepare
from .convolution import NO_PADDING
from .threads import usable_threads

LARGEST = 1 << 20  # of strides and paddings


class Keywords(TypedDict, total=False):
    """How a product is computed: fields of Arithmetic (bias_at is its `bias`), and the threads."""

    precision: str
    accumulate: str | None
    order: str | Order
    fma: bool | None
    bias_at: str
    threads: int | None


def conv2d(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    strides: Pair = (1, 1),
    padding: Padding = NO_PADDING,
    **how: Unpack[Keywords],
) -> Array:
    """ops.conv2d by kernels: (n, h, w, cin), (kh, kw, cin, cout), (cout,) -> (n, oh, ow, cout).

    Operands are rounded to the precision's operand format, sums to the accumulate format term by term in the declared
    order, the result once to storage. padding: ((top, bottom), (left, right)) rows and columns of zeros, which are
    terms like others. how: the fields of Keywords. Raises InputError for shapes that do not fit and for arithmetic
    without meaning.
    """
    arithmetic, threads = _arithmetic(how)
    strides, padding = _integers("strides", strides, (2,)), _integers("padding", padding, (2, 2))
    image, weights = _operand(arithmetic, "x", x, 4), _operand(arithmetic, "kernel", kernel, 4)
    _check_conv2d(image.shape, weights.shape, strides, padding)
    offset = None if bias is None else _operand(arithmetic, "bias", bias, 1)
    if offset is not None and shape_of(offset)[0] != weights.shape[-1]:
        raise InputError(
            f"a bias of {shape_of(offset)[0]} numbers", expected=f"{weights.shape[-1]}, one for each filter"
        )
    if not arithmetic.summation.tiled:  # fused nodes: the definition itself
        defined = ops.conv2d(image, weights, offset, strides=strides, padding=padding, arithmetic=arithmetic)
        return exported(defined, arithmetic.storage)
    y: Any = convolve(
        image,
        prepare(weights, arithmetic),
        offset,
        strides=strides,
        padding=padding,
        arithmetic=arithmetic,
        threads=threads,
    )
    return exported(y, arithmetic.storage)


def matmul(a: ArrayLike, b: ArrayLike, **how: Unpack[Keywords]) -> Array:
    """(M, K) @ (K, N) -> (M, N), each of the outputs summed in the declared order; how: the fields of Keywords."""
    left, right = _array(a), _array(b)
    rows, columns = shape_of(left), shape_of(right)
    if len(rows) != 2 or len(columns) != 2 or rows[1] != columns[0]:
        raise InputError(f"a of shape {rows} and b of shape {columns}", expected="(M, K) and (K, N)")
    arithmetic, _ = _arithmetic(how)
    if arithmetic.exact and not columns[0]:
        return np.zeros((rows[0], columns[1]), arithmetic.storage.result)  # the one order that has a sum of no terms
    image, kernel = (
        planewise(lambda plane: plane[:, None, None, :], left),
        planewise(lambda plane: plane[None, None], right),
    )
    product: Array = planewise(lambda plane: plane[:, 0, 0, :], conv2d(image, kernel, **_known(how)))
    return product


def dot(a: ArrayLike, b: ArrayLike, **how: Unpack[Keywords]) -> np.floating:
    """sum of a[k] b[k] in the declared order: (K,), (K,) -> one number; how: the fields of Keywords."""
    left, right = _array(a), _array(b)
    if len(shape_of(left)) != 1 or shape_of(left) != shape_of(right):
        raise InputError(f"vectors of shapes {shape_of(left)} and {shape_of(right)}", expected="two of the same length")
    row, column = planewise(lambda plane: plane[None, :], left), planewise(lambda plane: plane[:, None], right)
    result: np.floating = planewise(lambda plane: plane[0, 0], matmul(row, column, **_known(how)))
    return result


def mean_pool(x: ArrayLike, **how: Unpack[Keywords]) -> Array:
    """ops.mean_pool by kernels: (n, h, w, c) -> (n, c); how: the fields of Keywords, of which bias_at means nothing."""
    arithmetic, threads = _arithmetic(how)
    y = pooling.mean_pool(_operand(arithmetic, "x", x, 4), arithmetic=arithmetic, threads=threads)
    return exported(y, arithmetic.storage)


def _known(how: Keywords) -> Keywords:
    unknown = set(how) - set(Keywords.__annotations__)
    if unknown:
        raise InputError(f"keywords {sorted(unknown)}", expected=f"some of {', '.join(Keywords.__annotations__)}")
    return how


def _arithmetic(how: Keywords) -> tuple[Arithmetic, int]:
    check_environment()
    fields: dict[str, Any] = dict(_known(how))
    threads = usable_threads(fields.pop("threads", None))
    return Arithmetic(**{"bias" if name == "bias_at" else name: value for name, value in fields.items()}), threads


def _integers(name: str, value: Any, shape: tuple[int, ...]) -> Any:
    """Nested tuples of integers of that shape, or InputError."""
    array = np.asarray(value, object)
    whole = all(isinstance(number, int | np.integer) and not isinstance(number, bool) for number in array.flat)
    if array.shape != shape or not whole or not all(abs(int(number)) < LARGEST for number in array.flat):
        raise InputError(f"{name}={value!r}", expected=f"whole numbers below {LARGEST:,}, of shape {shape}")
    return tuple(tuple(map(int, row)) if len(shape) == 2 else int(row) for row in array)


def _array(value: Any) -> Any:
    """An array, or the pair of arrays that a DoubleDouble is."""
    return value if isinstance(value, DoubleDouble) else np.asarray(value)


def _operand(arithmetic: Arithmetic, name: str, value: Any, dimensions: int) -> Any:
    """An array rounded to storage, or InputError."""
    if isinstance(value, tuple) and arithmetic.storage.planes == 2 and len(shape_of(value)) == dimensions:
        return value
    array = np.asarray(value)
    if array.ndim != dimensions or not array.size or array.dtype.kind not in "fiu":
        raise InputError(
            f"{name} of shape {array.shape} and dtype {array.dtype}", expected=f"{dimensions} axes of real numbers"
        )
    own = arithmetic.storage
    return array if own.is_working and array.dtype == own.working else stored(array, own)


def _check_conv2d(image: tuple[int, ...], kernel: tuple[int, ...], strides: Pair, padding: Padding) -> None:
    if image[3] != kernel[2]:
        raise InputError(f"x of {image[3]} channels, a kernel of {kernel[2]}", expected="the same number")
    if min(strides) < 1 or min(min(padding)) < 0:
        raise InputError(f"strides={strides}, padding={padding}", expected="strides of 1 and more, no negative padding")
    sizes = [image[1 + axis] + sum(padding[axis]) for axis in range(2)]
    if sizes[0] < kernel[0] or sizes[1] < kernel[1]:
        raise InputError(f"a kernel of {kernel[:2]} on a padded image of {tuple(sizes)}", expected="one that fits")
