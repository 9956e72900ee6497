"""Whether a layer adds in one order wherever and whenever it is asked: place, channel, picture, run, and numbers.

An order that is one answers the same question with the same bits. Nor does it look at the numbers: rounding to nearest
commutes with signs and powers of two, so that any fixed order of additions gives -y for -x and 16 y for 16 x. Where an
order is chosen by the numbers, some of these bits differ. (One that looks at ratios of magnitudes alone passes; no tree
fits it, since a mask is a magnitude.) Subnormal outputs have fewer bits, and are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arithmetic import FORMATS
from ..arithmetic.formats import Array
from ..graph import Node
from .session import Session

AGAIN = 3  # runs with the same numbers; an order that alternates shows in the second
FACTORS = (-1.0, 16.0)


@dataclass(frozen=True)
class Sameness:
    """Where a layer's outputs for drawn numbers were equal to the bit to what was found, (so many, of so many).

    places, channels, pictures: of the output and the batch; all outputs of each.  runs: with the same numbers.
    """

    places: tuple[int, int]
    channels: tuple[int, int]
    pictures: tuple[int, int]
    runs: int = AGAIN

    @classmethod
    def of(cls, theirs: Array, ours: Array, *, pictures: int) -> Sameness:
        """theirs, ours: (runs of so many pictures, [height, width,] channels), of the backend and by what was found."""
        equal = (theirs.view(np.uint32) == ours.view(np.uint32)).reshape(-1, pictures, *ours.shape[1:]).all(0)
        equal = equal.reshape(pictures, -1, ours.shape[-1])
        return cls(_count(equal, 1), _count(equal, 2), _count(equal, 0))

    def to_json(self) -> dict[str, Any]:
        """As a profile's entry has it."""
        return {
            "places": list(self.places), "channels": list(self.channels), "pictures": list(self.pictures),
            "runs": self.runs,
        }  # fmt: skip

    def __str__(self) -> str:
        parts = {"place": self.places, "channel": self.channels, "picture": self.pictures}
        held = [_counted(name, *count) for name, count in parts.items()]
        return f"{', '.join(held)}, {self.runs} runs"


def changes(session: Session, node: Node, seed: int = 0) -> str:
    """How the order of the layer that the session has taken up changes; "" where it does not.

    Asks for the whole output, AGAIN times with the same drawn numbers and once for each of FACTORS; biases are zero.
    """
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((session.variant.batch_size, *session.graph[node.inputs[0]].shape)).astype(np.float32)
    tensors = [
        rng.standard_normal(shape).astype(np.float32) if len(shape) > 1 else np.zeros(shape, np.float32)
        for shape in node.weights.values()
    ]
    session.give(x)
    first, *again = (session.run(*tensors) for _ in range(AGAIN))
    if other := max(int((each != first).sum()) for each in again):
        return f"the order changes from run to run: {other} of {first.size} outputs have other bits when asked again"
    normal = abs(first) >= FORMATS[session.precision].smallest_normal
    for factor in FACTORS:
        session.give(x * np.float32(factor))
        if other := int((session.run(*tensors) != first * np.float32(factor))[normal].sum()):
            return (
                f"the order depends on the numbers: {other} of {first.size} outputs have other bits "
                f"when all inputs are {factor:g} times as large"
            )
    return ""


def _count(equal: np.ndarray, axis: int) -> tuple[int, int]:
    along = equal.all(axis=tuple(other for other in range(3) if other != axis))
    return int(along.sum()), along.size


def _counted(name: str, same: int, of: int) -> str:
    names = name if of == 1 else f"{name}s"
    return f"{of} {names}" if same == of else f"{same} of {of} {names}"
