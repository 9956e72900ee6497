"""Convolutions in every order that has kernels: those of the register tile, and exact ones."""

from __future__ import annotations

from typing import Any

from ..arithmetic import Arithmetic
from . import convolution, exact


def prepare(kernel: Any, arithmetic: Arithmetic) -> Any:
    """A kernel of the storage format, made ready for `convolve` in this order and accumulate format."""
    return (exact.prepare if arithmetic.exact else convolution.pack_kernel)(kernel, arithmetic)


def convolve(x: Any, kernel: Any, bias: Any, *, arithmetic: Arithmetic, **how: Any) -> Any:
    """convolution.convolve, whatever the order; kernel: what `prepare` made in the same arithmetic."""
    run = exact.convolve if arithmetic.exact else convolution.convolve
    return run(x, kernel, bias, arithmetic=arithmetic, **how)
