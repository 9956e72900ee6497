"""The frozen value that says how one forward pass computes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ..errors import InputError
from .formats import FORMATS, NUMBERS, Format
from .forms import ADDITIONS, BATCH_NORM_FORMS, MEANS, RELUS, SHIFTS, BatchNormForm
from .order import Order
from .orders import ORDERS, Exact, parse_order
from .parts import Part, parts_of

BIAS_PLACES = ("last", "first", "stored", "narrowed")
ROUNDED_BEFORE = ("stored", "narrowed")  # places of a bias that is added to a sum already rounded
# By field.
FORMS = {
    "batch_norm": tuple(BATCH_NORM_FORMS), "shift": SHIFTS, "mean": MEANS, "relu": tuple(RELUS), "addition": ADDITIONS,
}  # fmt: skip


@dataclass(frozen=True)
class Precision:
    """What a precision's name stands for.

    storage: of every layer's output.  operand: of what convolution and dense multiply.  parameters: of the vectors
    of batch normalisation.  accumulate: the default format of sums.
    """

    storage: Format
    operand: Format
    parameters: Format
    accumulate: Format


def _precision(storage: str, operand: str, parameters: str, accumulate: str) -> Precision:
    return Precision(*(NUMBERS[name] for name in (storage, operand, parameters, accumulate)))


PRECISIONS = {
    "float16": _precision("float16", "float16", "float32", "float32"),
    "bfloat16": _precision("bfloat16", "bfloat16", "float32", "float32"),
    "bfloat16-operands": _precision("float32", "bfloat16", "float32", "float32"),
    "tf32": _precision("float32", "tf32", "float32", "float32"),
    "float32": _precision("float32", "float32", "float32", "float32"),
    "float64": _precision("float64", "float64", "float64", "float64"),
    "double-double": _precision("double-double", "double-double", "float64", "double-double"),
}
ACCUMULATE = ("float16", "bfloat16", "float32", "float64", "double-double")


def accumulates(wide: Format, narrow: Format) -> bool:
    """Whether every number of `narrow` is one of `wide`, so that sums in `wide` of such operands have a meaning."""
    return wide.precision >= narrow.precision and wide.emax >= narrow.emax and wide.emin <= narrow.emin


@dataclass(frozen=True)
class Arithmetic:
    """How to compute: see semantics in docs/semantics.md.

    precision: a name in PRECISIONS.  accumulate: a name in ACCUMULATE whose numbers include those of operands and
    storage; None is the precision's own.  order: an Order, or its text.  fma: None is fused wherever the order has a
    meaning for it.
    bias: `last` is one addition after the order's value, `first` the start of the first chain; `stored` is an addition
    to the sum as stored, so that both are rounded to storage, `narrowed` one to the sum rounded to the operands'
    format.
    batch_norm: a name in BATCH_NORM_FORMS.  shift: how the t of shifted forms comes about, a name in SHIFTS.
    mean: whether the mean pool divides the sum by the count or multiplies it by fl(1 / count), a name in MEANS.
    relu: a name in RELUS; `positive` gives +0 for -0, `signed-zero` keeps -0.
    addition: whether the shifts of batch normalisations come behind what is added, a name in ADDITIONS.
    parts: outputs of a convolution or dense layer that are added in another way (Part, or a mapping of its fields);
    where two have an output, the later counts.

    Raises InputError for a name or a combination without meaning, and says which ones have one. After construction
    no field is None, `order` is an Order and `parts` a tuple of Part. The order exact rounds once, to storage: it has
    no accumulate format of its own, no fma, and the bias no place but in that sum.
    """

    precision: str = "float32"
    accumulate: str | None = None
    order: str | Order = "sequential"
    fma: bool | None = None
    bias: str = "last"
    batch_norm: str = "centred"
    shift: str = "rounded"
    mean: str = "divide"
    relu: str = "positive"
    addition: str = "outputs"
    parts: Sequence[Part | Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        if isinstance(self.precision, str) and digits_of(self.precision):
            raise InputError(f"precision={self.precision!r} by kernels", do="mpN is for refnet.predict and activations")
        _one_of("precision", self.precision, tuple(PRECISIONS), hint=" or mpN (such as mp50)")
        _one_of("fma", self.fma, (None, False, True))
        _one_of("bias", self.bias, BIAS_PLACES)
        for name, values in FORMS.items():
            _one_of(name, getattr(self, name), values)
        own = PRECISIONS[self.precision]
        fits = [
            name
            for name, wide in ((name, NUMBERS[name]) for name in ACCUMULATE)
            if accumulates(wide, own.operand) and accumulates(wide, own.storage)
        ]
        default = own.accumulate.name
        accumulate = default if self.accumulate is None else self.accumulate
        if accumulate not in fits:
            raise InputError(
                f"accumulate={accumulate!r} with precision={self.precision!r}", expected=f"one of {', '.join(fits)}"
            )
        order = parse_order(self.order)
        if isinstance(order, Exact):
            _check_exact(self.precision, accumulate, self.fma, self.bias)
        if self.fma and order.chain != "plain":
            plain = [name for name, kind in ORDERS.items() if kind.chain == "plain"]
            raise InputError(f"fma=True with order={str(order)!r}", expected=f"one of {', '.join(plain)}, or fma=False")
        order.check(NUMBERS[accumulate])
        pairs = accumulate == "double-double"
        fused = self.fma or self.norm.applied == "shifted-fma" or self.shift == "fused"
        if pairs and (order.chain != "plain" or fused):
            raise InputError(
                "double-double with a compensated order or an fma", do="choose another order, fma=False or 'shifted'"
            )
        object.__setattr__(self, "accumulate", accumulate)
        object.__setattr__(self, "order", order)
        object.__setattr__(self, "fma", order.chain == "plain" and not pairs if self.fma is None else bool(self.fma))
        object.__setattr__(self, "parts", parts_of(self.parts))
        if self.parts and (pairs or isinstance(order, Exact)):
            raise InputError("parts in double-double or with the order exact", do="leave parts out")
        _ = self.ways  # raises for a part without meaning

    @cached_property
    def ways(self) -> tuple[tuple[Part, Arithmetic], ...]:
        """The parts, each with the arithmetic of its outputs."""
        return tuple(
            (part, replace(self, order=part.order, fma=part.fma, bias=part.bias, parts=()))
            for part in parts_of(self.parts)
        )

    @property
    def storage(self) -> Format:
        return PRECISIONS[self.precision].storage

    @property
    def operand(self) -> Format:
        return PRECISIONS[self.precision].operand

    @property
    def parameters(self) -> Format:
        return PRECISIONS[self.precision].parameters

    @property
    def finished(self) -> Format:
        """To which a sum is rounded before a bias is added to it, where `rounds_before` says that it is."""
        return self.operand if self.bias == "narrowed" else self.storage

    def rounds_before(self, bias: object) -> bool:
        """Whether a sum is rounded to `finished` before its bias; with none (None) only where storage is another."""
        return self.bias in ROUNDED_BEFORE and (bias is not None or self.finished != self.storage)

    @property
    def sums(self) -> Format:
        """The format in which convolution and dense accumulate."""
        return NUMBERS[str(self.accumulate)]

    @property
    def elementwise(self) -> Format:
        """The format of batch normalisation, mean and softmax: the accumulate format, but never below float32."""
        return self.sums if accumulates(self.sums, FORMATS["float32"]) else FORMATS["float32"]

    @property
    def norm(self) -> BatchNormForm:
        """What `batch_norm` stands for."""
        return BATCH_NORM_FORMS[self.batch_norm]

    @property
    def summation(self) -> Order:
        """`order`, parsed."""
        return parse_order(self.order)

    @property
    def tiled(self) -> bool:
        """Whether every order in it has a kernel."""
        return all(own.summation.tiled for own in (self, *(own for _, own in self.ways)))

    @property
    def exact(self) -> bool:
        """Whether sums are rounded once."""
        return isinstance(self.order, Exact)

    @property
    def chain(self) -> str:
        """The name in CHAINS of the chain that this arithmetic runs."""
        return "fused" if self.fma else self.summation.chain


def _check_exact(precision: str, accumulate: str, fma: bool | None, bias: str) -> None:
    """The combinations in which a sum that is rounded once has a meaning, or InputError."""
    if PRECISIONS[precision].storage.planes != 1:
        names = [name for name, formats in PRECISIONS.items() if formats.storage.planes == 1]
        raise InputError(f"order='exact' with precision={precision!r}", expected=f"one of {', '.join(names)}")
    if accumulate != PRECISIONS[precision].accumulate.name:
        raise InputError(
            f"accumulate={accumulate!r} with order='exact'", do="leave it out: exact sums are rounded once, to storage"
        )
    if fma:
        raise InputError("fma=True with order='exact'", do="leave it out: exact sums round no products")
    if bias in ROUNDED_BEFORE:
        raise InputError(
            f"bias={bias!r} with order='exact'", do="leave it out: exact sums are rounded once, with the bias"
        )


def digits_of(precision: str) -> int | None:
    """`mp50` -> 50; None for a precision that is not mpN. Raises InputError outside 15 to 10,000 digits."""
    match = re.fullmatch(r"mp(\d{1,9})", precision, re.ASCII)
    if match is None:
        return None
    digits = int(match[1])
    if not 15 <= digits <= 10_000:
        raise InputError(f"precision {precision!r}", expected="mp15 to mp10000")
    return digits


def _one_of(what: str, value: object, names: tuple[object, ...], *, hint: str = "") -> None:
    if value not in names:
        raise InputError(f"{what}={value!r}", expected=f"one of {', '.join(map(str, names))}{hint}")
