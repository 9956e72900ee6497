"""Ways to ask one backend for logits, as the child process knows them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

COPIES = 8  # pictures in the batch of `eight`
OTHER_SEED = 12345
FINER = 1 + 2.0**-26
"""A float32 number times this is a float64 number with digits that float32 has not, and rounds back to that float32
number: what is added is less than half of half an ulp."""

CALLS: Mapping[str, str] = MappingProxyType(
    {
        "predict": "predict",
        "again": "second predict",
        "fresh": "made afresh",
        "seed": f"seed {OTHER_SEED}",
        "float64": "float64 picture",
        "called": "model(x)",
        "eight": f"in a batch of {COPIES}",
        "wide": "float64 input",
        "wide-float64": "float64 input and picture",
    }
)
"""Name -> what people call it, in the order in which a child process does them: those that spoil the process come last.

The picture in float64 has digits that float32 has not. A float64 input is that of a model made under floatx float64.
"""

FINER_CALLS = frozenset({"float64", "wide-float64"})
"""The calls that give the model another picture: every number times FINER, in float64. It has a truth of its own."""


def picture_of(call: str, x: NDArray[np.floating]) -> NDArray[np.floating]:
    """What the model is given in this call, for the picture x (float32)."""
    return x.astype(np.float64) * FINER if call in FINER_CALLS else x
