"""Batch normalisation in all its forms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arithmetic import Arithmetic, numpy_ops, shape_of, spread, stored
from ..arithmetic.formats import Array


def batch_norm(
    x: Any,
    gamma: Array,
    beta: Array,
    mean: Array,
    variance: Array,
    *,
    epsilon: float,
    arithmetic: Arithmetic,
    **given: Any,
) -> Any:
    """gamma (x - mean) / sqrt(variance + epsilon) + beta (Ioffe and Szegedy 2015, arXiv 1502.03167, at inference).

    By form: `centred` fl(fl(fl(x - mean) s) + beta); `shifted` fl(fl(x s) + t); `shifted-fma` fma(x, s, t).
    `sum-shifted` and `sum-shifted-fma` are the same two where x is a convolution without its bias, which t holds.
    `folded` goes into that convolution (folded_kernel) and has no form here.
    given: keywords of norm_vectors, which says what s and t are.
    """
    vectors = norm_vectors(gamma, beta, mean, variance, epsilon=epsilon, arithmetic=arithmetic, **given)
    return normalised(x, vectors, arithmetic=arithmetic)


def normalised(x: Any, vectors: tuple[Any, ...], *, arithmetic: Arithmetic) -> Any:
    """batch_norm with the vectors that norm_vectors gave."""
    ops = numpy_ops(arithmetic.elementwise)
    x = ops.storage(x)
    if arithmetic.norm.applied == "centred":
        mean, s, beta = vectors
        y = ops.add(ops.mul(ops.sub(x, mean), s), beta)
    else:
        s, t = vectors
        y = ops.fma(x, s, t) if arithmetic.norm.applied == "shifted-fma" else ops.add(ops.mul(x, s), t)
    return stored(y, arithmetic.storage)


def shifts_last(x: Any, y: Any, of_x: tuple[Any, ...], of_y: tuple[Any, ...], *, arithmetic: Arithmetic) -> Any:
    """An addition of batch normalisations, their shifts behind it: fl(fl(fl(x s) + fl(y s')) + fl(t + t')).

    of_x, of_y: (s, t) of norm_vectors, whose form is `shifted`; empty for what is no batch normalisation: that is added
    as it is, fl(fl(x + fl(y s')) + t'). So tensorflow's graph optimiser regroups sums of arrays of two shapes. Rounded
    to storage once.
    """
    shift = sum_of_shifts([own[1] for own in (of_x, of_y) if own], arithmetic=arithmetic)
    s, other = (own[0] if own else None for own in (of_x, of_y))
    return sum_of_products(x, y, s, other, shift, arithmetic=arithmetic)


def sum_of_products(x: Any, y: Any, of_x: Any, of_y: Any, shift: Any, *, arithmetic: Arithmetic) -> Any:
    """fl(fl(fl(x s) + fl(y s')) + shift) with factors s and s'; None stands for no factor, and none of its rounding."""
    ops = numpy_ops(arithmetic.elementwise)
    scaled = (ops.storage(z) if s is None else ops.mul(ops.storage(z), s) for z, s in ((x, of_x), (y, of_y)))
    return stored(ops.add(ops.add(*scaled), shift), arithmetic.storage)


def sum_of_shifts(shifts: Sequence[Any], *, arithmetic: Arithmetic) -> Any:
    """What shifts_last adds behind the products: fl(t + t'), or t where there is no other."""
    return numpy_ops(arithmetic.elementwise).add(*shifts) if len(shifts) > 1 else shifts[0]


def norm_vectors(
    gamma: Array,
    beta: Array,
    mean: Array,
    variance: Array,
    *,
    epsilon: float,
    arithmetic: Arithmetic,
    bias: Any = None,
    inverse: Array | None = None,
    scale: Array | None = None,
    shift: Array | None = None,
) -> tuple[Any, ...]:
    """What batch normalisation has for each channel: (mean, s, beta) where it is centred, else (s, t).

    s = fl(gamma fl(1 / fl(sqrt(fl(variance + epsilon))))).  t of a joined form: fl(fl(fl(bias - mean) s) + beta), the
    convolution's bias being zero where there is none; else fl(beta - fl(mean s)), or where the shift is fused
    fma(-mean, s, beta).  inverse, scale, shift: given for 1 / sqrt(variance + epsilon), s and t; rounded to the
    elementwise format, in which all of this is computed.
    """
    ops = numpy_ops(arithmetic.elementwise)
    gamma, beta, mean = (ops.storage(vector) for vector in (gamma, beta, mean))
    if scale is not None:
        s = ops.storage(scale)
    else:
        s = ops.mul(gamma, _inverse(ops, variance, epsilon) if inverse is None else ops.storage(inverse))
    if arithmetic.norm.applied == "centred":
        return mean, s, beta
    if shift is not None:
        return s, ops.storage(shift)
    if arithmetic.norm.joined:
        offset = ops.storage(np.zeros(shape_of(s)) if bias is None else bias)
        return s, ops.add(ops.mul(ops.sub(offset, mean), s), beta)
    fused = arithmetic.shift == "fused"
    return s, ops.fma(ops.neg(mean), s, beta) if fused else ops.sub(beta, ops.mul(mean, s))


def _inverse(ops: Any, variance: Array, epsilon: float) -> Any:
    """fl(1 / fl(sqrt(fl(variance + epsilon))))."""
    eps, one = (ops.storage(np.full(shape_of(variance), number)) for number in (epsilon, 1.0))
    return ops.div(one, ops.sqrt(ops.add(ops.storage(variance), eps)))


def folded_kernel(kernel: Any, s: Any, t: Any, *, arithmetic: Arithmetic) -> tuple[Any, Any]:
    """Batch normalisation inside the convolution: the kernel fl(w s) and the bias t, rounded to storage."""
    ops = numpy_ops(arithmetic.elementwise)
    scaled = ops.mul(ops.storage(kernel), spread(s, shape_of(kernel)))
    return stored(scaled, arithmetic.storage), stored(t, arithmetic.storage)
