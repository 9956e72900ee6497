"""fma in float16 and bfloat16 where float32 lies on a tie: only one rounding gives the right neighbour.

The product is half way between two numbers of the format, and what is added is far too small for float32 to see.
"""

from __future__ import annotations

import judge
import numpy as np
import pytest

from refnet import kernels, ops
from refnet.arithmetic import Arithmetic

# format: the factors of a product on a tie, the number added to it, and the sum rounded once
TIES = {
    "bfloat16": (7.0, 37 / 256, -(2.0**-40), 258 / 256),
    "float16": (3.0, 683 / 2048, 2.0**-24, 1025 / 1024),
}


@pytest.mark.parametrize("scale", [1.0, -1.0])
@pytest.mark.parametrize("precision", TIES)
def test_a_tie_is_rounded_once(precision: str, scale: float) -> None:
    a, b, c, once = TIES[precision]
    terms = [scale * c, scale * a], [1.0, b]
    arithmetic = Arithmetic(precision, accumulate=precision)
    twice = np.float32(np.float32(a * b) + np.float32(c))
    assert twice == a * b, "float32 does not see what is added: rounding again would go by the tie alone"
    assert kernels.dot(*terms, precision=precision, accumulate=precision) == scale * once
    assert ops.sums(*(np.array(t).reshape(s) for t, s in zip(terms, ((1, 2), (2, 1)), strict=True)), None,
                    arithmetic=arithmetic) == scale * once  # fmt: skip
    judged = judge.dot(*terms, format=precision, accumulate=precision, fma=True)
    assert judge.to_float(judged) == scale * once


@pytest.mark.parametrize("precision", TIES)
def test_a_whole_tile_of_ties(precision: str) -> None:
    """Lanes with a tie beside lanes without, in every row."""
    a, b, c, once = TIES[precision]
    left = np.array([[c, a]] * 15)
    right = np.array([[1.0] * 33, [b if column % 3 else 0.0 for column in range(33)]])
    got = kernels.matmul(left, right, precision=precision, accumulate=precision)
    kept = kernels.matmul(left[:, :1], right[:1], precision=precision, accumulate=precision)
    assert (got[:, 1::3] == once).all()
    assert (got[:, 2::3] == once).all()
    assert (got[:, ::3] == kept[:, ::3]).all()
