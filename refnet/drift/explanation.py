"""Why a replayed run is as far from the truth as it is: each layer's share, and what other orders would give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from ..errors import InputError
from .storage import number

WHOLE = 1e-6  # how far from 1 the shares may add up
"""How far from 1 all shares together may be: what float64 loses of them is far less."""


@dataclass(frozen=True)
class Part:
    """A layer that rounds. operation: of its node.  form: the order or form in which it was replayed, in words.

    added: RMS(y - e) / RMS(e), e its exact result on the replay's own inputs.  share: of the drift of the logits d: the
    part of (d, d) that its error y - e becomes there; negative where it takes away what others added.
    """

    layer: str
    operation: str
    form: str
    added: float
    share: float


@dataclass(frozen=True)
class Otherwise:
    """The replay with some layers computed in another way. operation: of these, or "" where all are.  how: in words.

    rel_l2: of its logits against the truth (refnet.drift.MEASURES).
    """

    operation: str
    how: str
    rel_l2: float


@dataclass(frozen=True)
class Explanation:
    """The drift of the plain model's logits, whose bits are those of a replay, taken apart.

    parts: every layer that rounds, in the order of the graph.  otherwise: what other orders and forms would give.
    Raises InputError unless the shares add up to 1: the drift would not be explained.
    """

    parts: tuple[Part, ...]
    otherwise: tuple[Otherwise, ...] = ()

    def __post_init__(self) -> None:
        total = sum(part.share for part in self.parts)
        if not abs(total - 1) <= WHOLE:
            raise InputError(f"shares of a drift that add up to {total:.9g}", expected="1")

    def share_of(self, operation: str) -> float:
        """What all layers of this operation have together."""
        return sum(part.share for part in self.parts if part.operation == operation)

    def document(self) -> dict[str, Any]:
        """What the JSON file holds."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any] | None) -> Self | None:
        """What `document` wrote; None where there is none. Raises KeyError, TypeError or InputError for others."""
        if document is None:
            return None
        parts = (
            Part(row["layer"], row["operation"], row["form"], number(row["added"]), number(row["share"]))
            for row in document["parts"]
        )
        others = (Otherwise(row["operation"], row["how"], number(row["rel_l2"])) for row in document["otherwise"])
        return cls(tuple(parts), tuple(others))
