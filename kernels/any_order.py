"""Convolutions in every order that has kernels: those of the register tile, exact ones, and those in parts."""

from __future__ import annotations

from typing import Any

from ..arithmetic import Arithmetic
from . import convolution, exact, parts


def prepare(kernel: Any, arithmetic: Arithmetic) -> Any:
    """A kernel of the storage format, made ready for `convolve` in this order and accumulate format."""
    if arithmetic.parts:
        return parts.prepare(kernel, arithmetic, convolution.pack_kernel)
    return (exact.prepare if arithmetic.exact else convolution.pack_kernel)(kernel, arithmetic)


def convolve(x: Any, kernel: Any, bias: Any, *, arithmetic: Arithmetic, **how: Any) -> Any:
    """convolution.convolve, whatever the order; kernel: what `prepare` made in the same arithmetic."""
    if arithmetic.parts:
        return parts.convolve(x, kernel, bias, convolution.convolve, **how)
    run = exact.convolve if arithmetic.exact else convolution.convolve
    return run(x, kernel, bias, arithmetic=arithmetic, **how)
