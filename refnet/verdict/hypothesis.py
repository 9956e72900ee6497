"""What a backend may have computed: a format of sums, and what was rounded to a lower one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arithmetic import Arithmetic
from ..arithmetic.formats import FORMATS, Format, round_to
from ..drift.ulp import spacing
from ..kernels.rounding import operands

Array = NDArray[np.floating]

REFERENCES = {
    "float32": Arithmetic("float64", order="pairwise:128"),
    "float64": Arithmetic("double-double"),
}
"""The arithmetic that is exact in comparison: its error is below 2^-47 sum |a b| where float32's is about 2^-24
(products of float32 numbers are exact in float64; Higham 2002, 4.1, for the sum), and 2^-100 for float64."""


OPERANDS = ("kernel", "inputs")
"""Of convolution and dense."""


@dataclass(frozen=True)
class Hypothesis:
    """A format to which operands of convolution and dense were rounded, or what they gave.

    operands: which of OPERANDS were rounded.  bias, sums, outputs: whether the bias, the sums before the bias, and what
    the layer gives were rounded to it too; all else is float32.  words: how a reason says it.  steps: of batch
    normalisation alone, how many roundings in this format its operations have together, each up to u of what it is
    relative to (chains.magnitude).
    """

    format: str
    words: str
    operands: tuple[str, ...] = OPERANDS
    bias: bool = False
    sums: bool = False
    outputs: bool = False
    steps: int = 0

    @property
    def cause(self) -> str:
        """What a diagnosis calls it (docs/diagnose.md)."""
        stored = self.operands == ("kernel",) and not self.outputs
        return f"weights:{self.format}" if stored else f"precision:{self.format}"

    @property
    def halves(self) -> int:
        """How often half an ulp of the format may have been added to an output."""
        return self.sums + self.outputs

    def remaining(self, y: Array, error: Array, bias: Array, magnitudes: Array) -> Array:
        """By how much |error| is above what these roundings explain; y - e where nothing but operands was rounded.

        error: y - e, e with the exact bias.  If y = RN(e + r) then |y - e| <= ulp(y) / 2 + |r|, so that what remains is
        never above |r|, the rounding of the float32 sums; the same for the sums, which are y - bias.
        """
        format_ = FORMATS[self.format]
        own = np.asarray(round_to(bias, format_) if self.bias else bias, np.float64)
        if self.bias:
            error = error + (bias - own)
        if self.steps:
            return np.maximum(np.abs(error) - self.steps * format_.unit_roundoff * magnitudes, 0.0)
        if not self.halves:
            return error
        wide = np.asarray(y, np.float64)
        allowed = np.zeros(wide.shape)
        if self.outputs:
            allowed += _half_ulp(wide, error, format_)
        if self.sums:
            allowed += _half_ulp(wide - own, error, format_)
        return np.maximum(np.abs(error) - allowed, 0.0)


def _half_ulp(rounded: Array, error: Array, format_: Format) -> Array:
    """Half an ulp of what was rounded, before or after: the power of two between them must not decide."""
    return np.maximum(spacing(rounded, format_), spacing(rounded - error, format_)) / 2


def _of(formats: tuple[str, ...], words: str, **rounded: Any) -> tuple[Hypothesis, ...]:
    return tuple(Hypothesis(name, words.format(name), **rounded) for name in formats)


NORM_STEPS = 9
"""Roundings of x gamma / sqrt(var + eps) + (beta - mean gamma / sqrt(var + eps)): of gamma, of var + eps (twice, but
halved by the root), of the root and its product, x or mean and its product, beta, and two additions."""
STORED = ("bfloat16", "float16")
REDUCED = (
    *_of(("bfloat16", "tf32"), "operands rounded to {}, sums in float32"),
    *_of(("bfloat16", "tf32"), "the kernel rounded to {}, sums in float32", operands=("kernel",)),
    *_of(("bfloat16", "tf32"), "inputs rounded to {}, sums in float32", operands=("inputs",)),
    *_of(STORED, "outputs rounded to {}", operands=(), outputs=True),
    *_of(STORED, "operands, bias and outputs rounded to {}", bias=True, outputs=True),
    *_of(STORED, "operands and outputs rounded to {}", outputs=True),
    *_of(STORED, "operands and sums rounded to {}", sums=True),
    *_of(STORED, "operands, sums, bias and outputs rounded to {}", bias=True, sums=True, outputs=True),
    *_of(STORED, "batch normalisation computed in {}", bias=True, outputs=True, steps=NORM_STEPS),
)
"""Those that explain the least first. tf32 has float16's significand and is no format of sums or outputs; where outputs
are not rounded the two cannot be told apart but beyond float16's range."""


def nominal(y: Array) -> str:
    """The format that is expected of numbers of this type: float64's own, else float32."""
    return "float64" if y.dtype == np.float64 else "float32"


def possible(y: Array, bias: Array, hypothesis: Hypothesis) -> bool:
    """Whether y can be what this hypothesis says at all: numbers of the format, or such numbers and the bias."""
    format_ = FORMATS[hypothesis.format]
    if hypothesis.outputs:
        return bool(np.array_equal(operands(np.asarray(y, np.float32), format_), np.asarray(y, np.float32)))
    if not hypothesis.sums:
        return True
    sums = operands((np.asarray(y, np.float64) - bias).astype(np.float32), format_)
    again = sums + bias.astype(np.float32)  # one float32 addition; its tie may go either way in a fused one
    return bool((np.abs(again - y) <= 2 * FORMATS["float32"].unit_roundoff * np.abs(again)).all())
