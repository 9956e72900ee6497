"""What layers compute, one output number at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction

from .numbers import (
    DEFAULT_ACCUMULATE,
    NAN,
    ONE,
    OPERANDS,
    STORAGE,
    ZERO,
    Number,
    is_negative,
    is_zero,
    negated,
    read,
    round_to,
    to_float,
)
from .operations import add, divide, fma, multiply, sqrt, subtract
from .orders import accumulated


def dot(
    a: Iterable[object],
    b: Iterable[object],
    *,
    format: str,
    accumulate: str | None = None,
    order: str = "sequential",
    fma: bool | None = None,
    bias: object = None,
    bias_at: str = "last",
) -> Number:
    """sum a_k b_k + bias, a number in the storage of `format`, a precision (tf32: float32).

    a and b are rounded to its operands' format and the bias to its storage before; the order runs in `accumulate`
    (default as in the semantics); one rounding to storage at the end. `exact` rounds once, to storage, bias included.
    A bias that is added to a stored or narrowed sum has two.
    """
    accumulate, operands, storage = accumulate or DEFAULT_ACCUMULATE[format], OPERANDS[format], STORAGE[format]
    terms = [(round_to(read(x), operands), round_to(read(y), operands)) for x, y in zip(a, b, strict=True)]
    addend = None if bias is None else round_to(read(bias), storage)
    if order == "exact":
        terms += [] if addend is None else [(addend, ONE)]
        return accumulated(terms, ZERO, format=storage, order=order, fused=None)
    before = {"stored": storage, "narrowed": operands}  # to which the sum is rounded before its bias
    if bias_at not in ("first", "last", *before):
        raise ValueError(f"no bias joins {bias_at!r}")
    start = addend if addend is not None and bias_at == "first" else ZERO
    value = accumulated(terms, start, format=accumulate, order=order, fused=fma)
    if bias_at in before:
        value = round_to(value, before[bias_at])
    if addend is not None and bias_at != "first":
        value = add(value, addend, accumulate)
    return round_to(value, storage)


def total(values: Iterable[object], *, format: str, order: str = "sequential") -> Number:
    """A sum without products, in `format`; the order `exact` rounds it once to `format`."""
    return accumulated([(read(x), ONE) for x in values], ZERO, format=format, order=order, fused=None)


def mean(values: Sequence[object], *, format: str, order: str = "sequential", by_reciprocal: bool = False) -> Number:
    """fl(sum / n), or in the form of some backends fl(sum fl(1 / n)); all in `format`."""
    value, count = total(values, format=format, order=order), Fraction(len(values))
    return multiply(value, divide(ONE, count, format), format) if by_reciprocal else divide(value, count, format)


def relu(x: object, *, signed_zero: bool = False) -> Number:
    """Numbers above zero and NaN; else +0, or where the form keeps the sign of zero a zero as it is."""
    value = read(x)
    if value == NAN:
        return value
    if is_zero(value):
        return value if signed_zero else ZERO
    return ZERO if is_negative(value) else value


def maximum(values: Iterable[object]) -> Number:
    """The largest; NaN wins; of the zeros the first."""
    numbers = [read(x) for x in values]
    return NAN if NAN in numbers else max(numbers, key=to_float)


def softmax(
    values: Sequence[object], *, format: str, exp: Callable[[Number, str], Number], order: str = "sequential"
) -> list[Number]:
    """fl(e_k / sum e) with e_k = exp(fl(x_k - max x), format), where `exp` is trusted to be RN(exp)."""
    top = maximum(values)
    powers = [exp(subtract(read(x), top, format), format) for x in values]
    divisor = total(powers, format=format, order=order)
    return [divide(power, divisor, format) for power in powers]


def scale_of(
    gamma: object, variance: object, epsilon: object, format: str, *, inverse: object = None, scale: object = None
) -> Number:
    """s = fl(gamma fl(1 / fl(sqrt(fl(var + eps))))), eps rounded to `format` before; the inner quotient or s given."""
    if scale is not None:
        return round_to(read(scale), format)
    if inverse is not None:
        return multiply(read(gamma), round_to(read(inverse), format), format)
    root = sqrt(add(read(variance), round_to(read(epsilon), format), format), format)
    return multiply(read(gamma), divide(ONE, root, format), format)


def joined_shift(bias: object, beta: object, mean: object, s: Number, format: str) -> Number:
    """What is added where batch normalisation takes over the convolution's bias: fl(fl(fl(b - mean) s) + beta)."""
    return add(multiply(subtract(read(bias), read(mean), format), s, format), read(beta), format)


def batch_norm(
    x: object,
    gamma: object,
    beta: object,
    mean: object,
    variance: object,
    *,
    epsilon: object,
    format: str,
    form: str = "centred",
    fused_shift: bool = False,
    bias: object = None,
    inverse: object = None,
    scale: object = None,
    shift: object = None,
) -> Number:
    """One normalised number, in `format`. form: centred, shifted, shifted-fma, or sum-shifted, sum-shifted-fma, of an x
    that lacks its bias; fused_shift: t = fma(-mean, s, beta).  inverse, scale, shift: given instead of computed."""
    s = scale_of(gamma, variance, epsilon, format, inverse=inverse, scale=scale)
    x, beta, mean = read(x), read(beta), read(mean)
    if form == "centred":
        return add(multiply(subtract(x, mean, format), s, format), beta, format)
    if shift is not None:
        t = round_to(read(shift), format)
    elif form.startswith("sum-"):
        t = joined_shift(0 if bias is None else bias, beta, mean, s, format)
    else:
        t = fma(negated(mean), s, beta, format) if fused_shift else subtract(beta, multiply(mean, s, format), format)
    if form in ("shifted", "sum-shifted"):
        return add(multiply(x, s, format), t, format)
    if form in ("shifted-fma", "sum-shifted-fma"):
        return fma(x, s, t, format)
    raise ValueError(f"no batch normalisation is {form!r}")


def folded(
    kernel: Iterable[object],
    bias: object,
    gamma: object,
    beta: object,
    mean: object,
    variance: object,
    *,
    epsilon: object,
    format: str,
    inverse: object = None,
    scale: object = None,
    shift: object = None,
) -> tuple[list[Number], Number]:
    """The kernel fl(w s) and the bias fl(fl(fl(b - mean) s) + beta) that stand for convolution and normalisation."""
    s = scale_of(gamma, variance, epsilon, format, inverse=inverse, scale=scale)
    offset = joined_shift(bias, beta, mean, s, format) if shift is None else round_to(read(shift), format)
    return [multiply(read(w), s, format) for w in kernel], offset
