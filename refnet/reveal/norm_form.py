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
from ..arithmetic import BATCH_NORM_FORMS, FORMATS, SHIFTS, Arithmetic, stored
from ..arithmetic.formats import Array
from ..graph import Node
from .session import Session

CLOSE = np.float32(2.0**-10)  # what is left when the mean is taken away, relative to it
SIZED = 10  # the exponent below which a factor is read
PARTS = 4  # of at least eight bits
SCALES = ("computed", "given")  # given: it differs from fl(gamma fl(1 / fl(sqrt(fl(variance + epsilon)))))
FORMS = [
    (scale, form, shift)
    for scale, form, shift in product(SCALES, BATCH_NORM_FORMS, SHIFTS)
    if not BATCH_NORM_FORMS[form].joined and (form != "centred" or shift == "rounded")  # centred has no shift
]

Vectors = tuple[Array, Array, Array, Array]  # gamma, beta, mean, variance


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
    """The form of a batch normalisation of the session's network, the one from which the fewest outputs differ.

    An output of few bits hides most roundings. Then outputs are asked too of which the mean takes away all but a
    little, so that each form shows what it rounds.
    """
    shape = (session.variant.batch_size, *session.take(node.name))
    drawn = [_drawn(shape, seed)]
    if session.precision != "float32":
        drawn.append(_close_to_the_mean(shape, seed))
    theirs = []
    for x, vectors in drawn:
        session.give(x)
        theirs.append(session.run(*vectors))
    epsilon: Any = node.settings["epsilon"]
    gamma, _, _, variance = drawn[0][1]  # all drawn numbers have these
    read = read_scale(session, node, gamma, variance)
    own = "computed" if np.array_equal(read, _computed_scale(drawn[0][1], epsilon)) else "given"
    constants: dict[str, Array] = {} if own == "computed" else {"scale": read}
    found = []
    for _, form, shift in (each for each in FORMS if each[0] == own):
        arithmetic = Arithmetic(session.precision, batch_norm=form, shift=shift)
        differing = 0
        for (x, vectors), answer in zip(drawn, theirs, strict=True):
            x = stored(x, arithmetic.storage)
            ours = ops.batch_norm(x, *vectors, epsilon=epsilon, arithmetic=arithmetic, **constants)
            differing += int((ours.view(np.uint32) != answer.view(np.uint32)).sum())
        found.append(NormForm(node.name, form, shift, own, differing, sum(answer.size for answer in theirs)))
    return min(found, key=lambda form: form.differing)


def _computed_scale(vectors: Vectors, epsilon: float) -> Array:
    scale: Array = ops.norm_vectors(*vectors, epsilon=epsilon, arithmetic=Arithmetic())[1]
    return scale


def _drawn(shape: tuple[int, ...], seed: int) -> tuple[Array, Vectors]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape).astype(np.float32)
    gamma, beta, mean = (rng.standard_normal(shape[-1]).astype(np.float32) for _ in range(3))
    return x, (gamma, beta, mean, rng.uniform(0.01, 2, shape[-1]).astype(np.float32))


def _close_to_the_mean(shape: tuple[int, ...], seed: int) -> tuple[Array, Vectors]:
    """Numbers of eight bits, next to which the mean lies: every format has them."""
    _, (gamma, beta, mean, variance) = _drawn(shape, seed)
    x = stored(mean, FORMATS["bfloat16"])
    return np.broadcast_to(x, shape).copy(), (gamma, beta * CLOSE, x * (1 + mean * CLOSE), variance)


def read_scale(session: Session, node: Node, gamma: Array, variance: Array) -> Array:
    """The backend's own gamma / sqrt(variance + epsilon): (channels,) float32.

    An output of few bits gives its first ones; beta takes them away, and the next ones come. x is a power of two that
    keeps them in the range of float16.
    """
    shape = (session.variant.batch_size, *session.take(node.name))
    zero = np.zeros(shape[-1], np.float32)
    session.give(np.ones(shape, np.float32))
    first: Array = session.run(gamma, zero, zero, variance)[0, 0, 0].copy()
    if session.precision == "float32":
        return first
    size = np.ldexp(np.float32(1), np.minimum(SIZED - np.frexp(first)[1], FORMATS["float16"].emax))
    session.give(np.broadcast_to(size.astype(np.float32), shape))
    scale = zero
    for _ in range(PARTS):
        scale = scale + session.run(gamma, -scale, zero, variance)[0, 0, 0]
    return np.asarray(scale / size, np.float32)
