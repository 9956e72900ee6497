"""What a program gave: logits, softmax, or the softmax of a softmax; and how such outputs are compared.

Probabilities are compared by their logarithms, centred in each row: those are the logits again, up to a constant that
softmax forgets. So one measure serves all forms, and classes that are nearly impossible count as much as the best one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arithmetic import Arithmetic
from ..arithmetic.formats import Format
from ..drift.ulp import spacing
from ..errors import InputError
from ..kernels.pooling import row_sums
from ..ops import softmax
from ..verdict.outputs import kept_in, softmax_rows

Array = NDArray[np.floating]
FORMS = ("logits", "softmax", "softmax:twice")  # by the number of softmaxes
FLOOR = 2.0**-100  # probabilities below are taken for this one; some programs make zeros of them
NARROW = ("float16", "bfloat16")  # formats whose rounding of the outputs themselves can be seen


def checked_outputs(outputs: Any, images: int, classes: int) -> Array:
    """(n, classes). Raises InputError for another shape, no numbers, NaN or infinity."""
    array = np.asarray(outputs)
    if array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    if array.dtype.kind != "f":
        raise InputError(f"outputs of {array.dtype}", expected="floating point")
    if array.shape == (classes,) and images == 1:
        array = array[None]
    if array.shape != (images, classes):
        raise InputError(
            f"outputs of shape {array.shape}",
            expected=f"{(images, classes)}: {images} picture{'s' * (images != 1)}, {classes} classes of the weights",
        )
    wrong = int(np.count_nonzero(~np.isfinite(array)))
    if wrong:
        raise InputError(
            f"{wrong} of {array.size} outputs are NaN or infinite",
            expected="finite numbers",
            do="look for the first layer that is not finite: a moving variance below -epsilon (mean and variance "
            "exchanged?) and overflow in float16 are the usual causes",
        )
    return array


def form_of(outputs: Array) -> int:
    """How many softmaxes the outputs went through: 0, 1 or 2.

    Probabilities are not negative and sum to one, or nearly so. After two softmaxes log q is the probability p up to a
    constant, which follows from their sum; then no p is negative, which the logits of one softmax hardly ever satisfy.
    """
    if not softmax_rows(outputs):
        return 0
    if outputs.min() <= FLOOR:
        return 1
    logarithms = np.log(outputs, dtype=np.float64)
    inner = logarithms - (logarithms.sum(1, keepdims=True) - 1) / outputs.shape[1]
    return 2 if inner.min() >= -2 * kept_in(outputs).unit_roundoff - 1e-6 else 1


def floor_of(format_: Format) -> float:
    """Probabilities below lose digits in this format; both sides are taken for this one."""
    return max(FLOOR, format_.smallest_normal)


def given(logits: Array, form: int, floor: float = FLOOR) -> NDArray[np.float64]:
    """What a program of that form gives for these logits, as it is compared."""
    return comparable(outputs_of(logits, form), form, floor)


def outputs_of(logits: Array, form: int) -> Array:
    """What a program of that form gives for these logits, computed in their own type."""
    y = np.asarray(logits)
    for _ in range(form):
        y = softmax(y, arithmetic=Arithmetic(y.dtype.name), total=row_sums)
    return y


def comparable(outputs: Array, form: int, floor: float = FLOOR) -> NDArray[np.float64]:
    """The logits; or the logarithms of probabilities, centred in each row. A row is first made to add up to 1, as a
    common factor would move only those that are not below the floor."""
    y = np.asarray(outputs, np.float64)
    if not form:
        return y
    y = np.log(np.maximum(y / y.sum(1, keepdims=True), floor))
    return np.asarray(y - y.mean(1, keepdims=True))


def half_ulps(outputs: Array, form: int, format_: Format) -> float:
    """RMS, as outputs are compared, of the most that rounding them to a narrow format does."""
    if format_.name not in NARROW:
        return 0.0
    y = np.asarray(outputs, np.float64)
    half = spacing(y, format_) / 2
    if form:
        half = np.where(y > floor_of(format_), half / np.maximum(y, floor_of(format_)), 0.0)
    return float(np.sqrt(np.mean(np.square(half))))


def residual(first: Array, second: Array, size: float) -> float:
    """RMS of the difference over `size`; infinite where one is not finite."""
    with np.errstate(all="ignore"):
        value = float(np.sqrt(np.mean(np.square(np.subtract(first, second, dtype=np.float64))))) / size
    return value if np.isfinite(value) else float("inf")
