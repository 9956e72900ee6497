"""How far honest programs lie from the truth: the same network in other orders of addition, on the same data.

The limit is that of every other verdict (refnet.verdict.limits): what refnet's own float32 passes are off from a pass
in float64, times the prediction limit for one more order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..arithmetic import Arithmetic
from ..verdict.bands import PASSES, WORST_KIND, spread
from ..verdict.limits import prediction_limit

ORDERS: tuple[Mapping[str, Any], ...] = (
    {},
    {"fma": False},
    {"order": "reversed"},
    {"order": "lanes:16"},
    {"order": "pairwise:32"},
)
"""Orders for narrow formats and for single layers of a trace. There a batch normalisation that is folded into the
kernel before the kernel is rounded gives other weights: that is no other rounding of one program."""
LARGEST = 2.0
"""Of narrow formats few orders are run, and at small sizes their distances are of two kinds, those of programs that
happen to round alike and those of others: a spread of such logarithms says nothing, so the limit stays this near."""


def ways_to_round(own: Arithmetic) -> list[Arithmetic]:
    """The arithmetics of one number format that differ in rounding alone."""
    if own.precision == "float32":
        return [Arithmetic(**settings) for settings in PASSES]
    return [Arithmetic(own.precision, **{"batch_norm": own.batch_norm, **way}) for way in ORDERS]


def rounding_limit(errors: Sequence[float]) -> float:
    """How far from the truth one more order may be. errors: of PASSES, in their order, or of ORDERS."""
    deviation = spread([np.asarray(errors[:WORST_KIND])])
    return max(errors) * prediction_limit(deviation, WORST_KIND, 1)


def narrow_limit(distances: Sequence[float]) -> float:
    """How far from one program of a narrow format another may be. distances: of ORDERS from the first of them."""
    return LARGEST * max(distances)
