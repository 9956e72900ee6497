"""The formats of a sum of products: of what is multiplied, what grows, and what comes back, with a bias or without."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..arithmetic import FORMATS, PRECISIONS, Format, stored
from ..arithmetic.arithmetic import accumulates
from ..arithmetic.formats import Array, format_named
from ..errors import InputError


@dataclass(frozen=True)
class SumFormats:
    """Names in FORMATS. operands: of what a term multiplies, weight and input alike.  sums: in which the sum grows.

    output: to which the finished sum is rounded.  cut: whether it is cut off instead, towards zero.
    with_bias: the wider format of what comes back where a bias is added to the finished sum; "" where it is none.
    Raises InputError where sums do not hold the operands or the output, where products fit neither the operands'
    format alone nor the sums' without rounding (no known hardware adds so), and where with_bias is not wider.
    """

    operands: str
    sums: str
    output: str
    cut: bool = False
    with_bias: str = ""

    def __post_init__(self) -> None:
        operands, sums, output = (format_named(name) for name in (self.operands, self.sums, self.output))
        whole = self.exact_products or sums.precision == operands.precision
        if not (whole and accumulates(sums, operands) and accumulates(sums, output)):
            raise InputError(str(self), expected="sums that hold operands, their products and the output")
        if self.with_bias and not (self.with_bias != self.output and accumulates(format_named(self.with_bias), output)):
            raise InputError(str(self), expected="a wider format with the bias, or none")

    def __str__(self) -> str:
        output = f"output cut off to {self.output}" if self.cut else f"output {self.output}"
        after = f", {self.with_bias} with the bias" if self.with_bias else ""
        return f"operands {self.operands}, sums {self.sums}, {output}{after}"

    @classmethod
    def alike(cls, name: str) -> SumFormats:
        """Everything in one format."""
        return cls(name, name, name)

    @property
    def operand(self) -> Format:
        return FORMATS[self.operands]

    @property
    def sum(self) -> Format:
        return FORMATS[self.sums]

    @property
    def out(self) -> Format:
        return FORMATS[self.output]

    @property
    def exact_products(self) -> bool:
        """Whether sums hold every product as it is, but those that underflow: then an fma gives no other bits."""
        return 2 * self.operand.precision <= self.sum.precision

    @property
    def of_rounded_terms(self) -> SumFormats:
        """The formats of the sum itself, where what stands before it rounds its terms to fewer bits than it gives."""
        rounded = self.operand.precision < self.out.precision
        return replace(self, operands=self.output) if rounded else self

    def finished(self, sums: Array) -> Array:
        """Sums as they come back: rounded to the output, or cut off."""
        y = stored(sums, self.out)
        if not self.cut:
            return y
        wide = np.asarray(sums, np.float64)
        below = np.abs(np.asarray(y, np.float64)) > np.abs(wide)
        spacing = np.ldexp(1.0, np.maximum(np.frexp(wide)[1] - 1, self.out.emin) - self.out.precision + 1)
        return np.where(below, y - np.copysign(spacing, wide), y).astype(y.dtype)

    @property
    def precision(self) -> str | None:
        """The precision of refnet's that multiplies and stores such numbers; None where it has none.

        A sum that is rounded before it is stored with its bias must be rounded to the operands' format.
        """
        storage = format_named(self.with_bias or self.output)
        known = not self.cut and (not self.with_bias or self.output == self.operands)
        for name, formats in PRECISIONS.items():
            if known and (formats.operand, formats.storage) == (self.operand, storage):
                return name
        return None


FLOAT32 = SumFormats.alike("float32")
BIASES = {
    "last": "bias last",
    "first": "bias first",
    "stored": "bias added after rounding",
    "narrowed": "bias added after rounding",
}


def in_words(formats: SumFormats, order: str, fma: bool, last: str) -> str:
    """`operands float16, sums float32, output float16; lanes:64, products exact, ...`; formats where they are others
    than float32.  last: what is to be said of the bias or the mean."""
    products = "products exact" if formats.exact_products else "fma" if fma else "no fma"
    named = "" if formats == FLOAT32 else f"{formats}; "
    return named + ", ".join([order, products, last])
