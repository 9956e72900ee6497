"""How a backend evaluates batch normalisation, decided by differing bits over drawn numbers.

Some backends only approximate 1 / sqrt(variance + epsilon), each with its processor's own instruction, or divide where
others multiply. The factor s of a channel is then read off them and not modelled: with beta = mean = 0 and x = 1 every
form gives it as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from .. import ops
from ..arithmetic import BATCH_NORM_FORMS, SHIFTS, Arithmetic
from ..arithmetic.formats import Array
from ..graph import Node
from .session import Session

SCALES = ("computed", "given")  # given: it differs from fl(gamma fl(1 / fl(sqrt(fl(variance + epsilon)))))
FORMS = [
    (scale, form, shift)
    for scale, form, shift in product(SCALES, BATCH_NORM_FORMS, SHIFTS)
    if not BATCH_NORM_FORMS[form].joined and (form != "centred" or shift == "rounded")  # centred has no shift
]


@dataclass(frozen=True)
class NormForm:
    """What was found of a batch normalisation; `differing` of `outputs` numbers have other bits in that form.

    batch_norm, shift: as in Arithmetic; those with the fewest differing bits.  scale: a name in SCALES.
    """

    layer: str
    batch_norm: str
    shift: str
    scale: str
    differing: int
    outputs: int

    def __str__(self) -> str:
        scale = "" if self.scale == "computed" else ", its own factor (read off)"
        shift = ", shift fused" if self.shift == "fused" else ""
        return f"{self.layer}: {self.batch_norm}{shift}{scale}; {self.differing} of {self.outputs} outputs differ"


def probe_norm(session: Session, node: Node, seed: int = 0) -> NormForm:
    """The form of a batch normalisation of the session's network."""
    shape = session.take(node.name)
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((session.variant.batch_size, *shape)).astype(np.float32)
    gamma, beta, mean = (rng.standard_normal(shape[-1]).astype(np.float32) for _ in range(3))
    variance = rng.uniform(0.01, 2, shape[-1]).astype(np.float32)
    session.give(x)
    theirs = session.run(gamma, beta, mean, variance)
    given: dict[str, dict[str, Array]] = {
        "computed": {},
        "given": {"scale": read_scale(session, node, gamma, variance)},
    }
    epsilon: Any = node.settings["epsilon"]
    best: NormForm | None = None
    for scale, form, shift in FORMS:
        arithmetic = Arithmetic(batch_norm=form, shift=shift)
        ours = ops.batch_norm(x, gamma, beta, mean, variance, epsilon=epsilon, arithmetic=arithmetic, **given[scale])
        differing = int((ours.view(np.uint32) != theirs.view(np.uint32)).sum())
        if best is None or differing < best.differing:
            best = NormForm(node.name, form, shift, scale, differing, ours.size)
    assert best is not None
    return best


def read_scale(session: Session, node: Node, gamma: Array, variance: Array) -> Array:
    """The backend's own gamma / sqrt(variance + epsilon): (channels,) float32."""
    shape = session.take(node.name)
    zero = np.zeros(shape[-1], np.float32)
    session.give(np.ones((session.variant.batch_size, *shape), np.float32))
    scale: Array = session.run(gamma, zero, zero, variance)[0, 0, 0].copy()
    return scale
