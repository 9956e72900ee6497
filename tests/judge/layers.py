"""What layers compute, one output number at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction

from .numbers import (
    DEFAULT_ACCUMULATE,
    NAN,
    ONE,
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
    """sum a_k b_k + bias, a number in the storage of `format` (tf32: float32).

    a and b are rounded to `format` and the bias to its storage before; the order runs in `accumulate` (default as in
    the semantics); one rounding to storage at the end. `exact` rounds once, to storage, bias included.
    """
    accumulate, storage = accumulate or DEFAULT_ACCUMULATE[format], STORAGE[format]
    terms = [(round_to(read(x), format), round_to(read(y), format)) for x, y in zip(a, b, strict=True)]
    addend = None if bias is None else round_to(read(bias), storage)
    if order == "exact":
        terms += [] if addend is None else [(addend, ONE)]
        return accumulated(terms, ZERO, format=storage, order=order, fused=None)
    if bias_at not in ("first", "last"):
        raise ValueError(f"no bias joins {bias_at!r}")
    start = ZERO if addend is None or bias_at == "last" else addend
    value = accumulated(terms, start, format=accumulate, order=order, fused=fma)
    if addend is not None and bias_at == "last":
        value = add(value, addend, accumulate)
    return round_to(value, storage)


def total(values: Iterable[object], *, format: str, order: str = "sequential") -> Number:
    """A sum without products, in `format`; the order `exact` rounds it once to `format`."""
    return accumulated([(read(x), ONE) for x in values], ZERO, format=format, order=order, fused=None)


def mean(values: Sequence[object], *, format: str, order: str = "sequential", by_reciprocal: bool = False) -> Number:
    """fl(sum / n), or in the form of some backends fl(sum fl(1 / n)); all in `format`."""
    value, count = total(values, format=format, order=order), Fraction(len(values))
    return multiply(value, divide(ONE, count, format), format) if by_reciprocal else divide(value, count, format)


def relu(x: object) -> Number:
    value = read(x)
    return value if value == NAN or not (is_negative(value) or is_zero(value)) else ZERO


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


def scale_of(gamma: object, variance: object, epsilon: object, format: str) -> Number:
    """s = fl(gamma fl(1 / fl(sqrt(fl(var + eps))))), eps rounded to `format` before."""
    root = sqrt(add(read(variance), round_to(read(epsilon), format), format), format)
    return multiply(read(gamma), divide(ONE, root, format), format)


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
) -> Number:
    """One normalised number, in `format`. form: centred, shifted, shifted-fma; fused_shift: t = fma(-mean, s, beta)."""
    x, beta, mean = read(x), read(beta), read(mean)
    s = scale_of(gamma, variance, epsilon, format)
    if form == "centred":
        return add(multiply(subtract(x, mean, format), s, format), beta, format)
    t = fma(negated(mean), s, beta, format) if fused_shift else subtract(beta, multiply(mean, s, format), format)
    if form == "shifted":
        return add(multiply(x, s, format), t, format)
    if form == "shifted-fma":
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
) -> tuple[list[Number], Number]:
    """The kernel fl(w s) and the bias fl(fl(fl(b - mean) s) + beta) that stand for convolution and normalisation."""
    s = scale_of(gamma, variance, epsilon, format)
    shift = multiply(subtract(read(bias), read(mean), format), s, format)
    return [multiply(read(w), s, format) for w in kernel], add(shift, read(beta), format)
