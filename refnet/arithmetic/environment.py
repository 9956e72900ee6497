"""The floating-point environment of a thread: what every definition of refnet takes for granted, looked at."""

from __future__ import annotations

import numpy as np

from ..errors import InputError

SMALLEST = {dtype: np.nextafter(dtype(0), dtype(1)) for dtype in (np.float32, np.float64)}


def check_environment() -> None:
    """Raises InputError where this thread rounds otherwise than to nearest, or takes subnormal numbers for zero.

    Other libraries may switch that for a thread (torch.set_flush_denormal, C's fesetround); refnet's bits and bounds
    would then be others, without a word.
    """
    small = np.float64(2.0**-60)
    if not (1 + small == 1 and 1 - small == 1 and -1 - small == -1):
        raise InputError(
            "a thread that does not round to nearest", do="set the rounding mode back before calling refnet"
        )
    if not all(smallest * dtype(1) > 0 and smallest + smallest > smallest for dtype, smallest in SMALLEST.items()):
        raise InputError(
            "a thread that takes subnormal numbers for zero", do="call torch.set_flush_denormal(False), or what set it"
        )
