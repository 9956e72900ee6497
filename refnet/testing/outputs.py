"""Outputs of a model brought to the form of logits, whatever its last layer was."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..verdict.outputs import softmax_rows

Array = NDArray[np.floating]
Float64 = NDArray[np.float64]

KINDS: Mapping[str, str] = MappingProxyType({"logits": "logits", "softmax": "probabilities"})
"""What outputs can be -> what people call them."""


def checked(outputs: object, shape: tuple[int, ...]) -> Array:
    """`outputs` as an array of this shape, (pictures, classes), of floating-point numbers. Raises InputError."""
    expected = f"floating-point numbers {shape}, a row for each picture and a column for each class"
    try:
        array = np.asarray(outputs)
        if array.dtype.kind == "V" and array.dtype.name == "bfloat16":
            array = array.astype(np.float32)  # NumPy itself does not know it
    except (TypeError, ValueError) as error:
        raise InputError(f"outputs that are no array ({error})", expected=expected) from error
    if array.shape != shape or array.dtype.kind != "f":
        raise InputError(f"outputs of {array.dtype} {array.shape}", expected=expected)
    return array


def checked_kind(outputs: Array, kind: str | None) -> str:
    """A name in KINDS: `kind`, or what the outputs are. Raises InputError for one that they cannot be."""
    if kind is not None and kind not in KINDS:
        raise InputError(f"kind {kind!r}", expected=f"one of {', '.join(KINDS)}, or None")
    if kind == "softmax" and (outputs < 0).any():
        raise InputError(
            f"kind='softmax' and {np.count_nonzero(outputs < 0)} of {outputs.size} outputs below 0",
            expected="probabilities",
            do="say kind='logits', or compare what comes after the softmax",
        )
    return kind or ("softmax" if softmax_rows(outputs) else "logits")


def as_logits(outputs: Array, truth: Float64, kind: str) -> tuple[Float64, int]:
    """The logits that gave these outputs, in float64, and how many of them the outputs tell.

    Probabilities tell them but for one number a row, log p = y - c; it is chosen so that the mean difference from the
    truth is zero. Where the true probability is below the normal numbers of the outputs' type, p has lost digits or
    is 0: such a class tells nothing, and the truth stands for it, unless p is far above. A p of 0 that should be a
    normal number gives -inf.
    """
    y = np.asarray(outputs, np.float64)
    if kind == "logits":
        return y, y.size
    smallest = float(np.finfo(outputs.dtype).tiny)
    true_logs = truth - np.log(np.sum(np.exp(truth - truth.max(-1, keepdims=True)), -1, keepdims=True))
    true_logs -= truth.max(-1, keepdims=True)
    told = (true_logs >= np.log(smallest)) | (y > 2 * smallest)
    with np.errstate(divide="ignore"):
        logs = np.where(told, np.log(y), 0.0)
    shared = told & np.isfinite(logs)
    apart = np.where(shared, truth, 0.0) - np.where(shared, logs, 0.0)
    shifts = apart.sum(-1, keepdims=True) / np.maximum(shared.sum(-1, keepdims=True), 1)
    return np.asarray(np.where(told, logs + shifts, truth), np.float64), int(np.count_nonzero(told))
