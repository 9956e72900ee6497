"""Why one layer gives two variants other bits from the same inputs, in terms of what each is known to compute."""

from __future__ import annotations

from dataclasses import dataclass

from ..drift import Verdict
from ..errors import InputError
from ..verdict.layer import is_fused

REASONS = {
    "order": "order of addition",
    "form": "form of batch normalisation",
    "precision": "precision",
    "fusion": "layers computed together",
    "flushing": "subnormal numbers",
    "unexplained": "not rounding",
}
"""Kind of a reason -> how it is called."""

UNNAMED = "unnamed"
OPERATIONS = {"conv2d": "order", "dense": "order", "mean_pool": "order", "batch_norm": "form"}


@dataclass(frozen=True)
class Reason:
    """kind: a key of REASONS.  ways: how each of the two computes, in their order."""

    kind: str
    ways: tuple[str, str]

    def __post_init__(self) -> None:
        if self.kind not in REASONS:
            raise InputError(f"a reason of the kind {self.kind!r}", expected=f"one of {', '.join(REASONS)}")

    def between(self, first: str, second: str) -> str:
        """The reason as people read it: `order of addition: sequential (torch), blocks:512 (jax)`."""
        return f"{REASONS[self.kind]}: {self.ways[0]} ({first}), {self.ways[1]} ({second})"


def reason_of(operation: str, first: Verdict, second: Verdict) -> Reason | None:
    """Why two variants compute this layer otherwise, by the verdicts on it; None where both are known to do the same.

    operation: of the layer's node. Layers that no name was found for in either count as different.
    """
    both = (first, second)
    if not all(verdict.fine or verdict.kind == "reduced" for verdict in both):
        return Reason("unexplained", (str(first), str(second)))
    if any(verdict.kind == "reduced" for verdict in both) or first.format != second.format:
        formats = _precision(first), _precision(second)
        return Reason("precision", formats) if formats[0] != formats[1] else None
    if any(is_fused(verdict) for verdict in both):
        return Reason("fusion", (_fusion(first), _fusion(second)))
    if operation not in OPERATIONS:
        ways = _flushing(first), _flushing(second)
        return Reason("flushing", ways) if ways[0] != ways[1] else None
    if first.replayed is not None and first.replayed == second.replayed:
        return None
    return Reason(OPERATIONS[operation], (first.replayed or UNNAMED, second.replayed or UNNAMED))


def _precision(verdict: Verdict) -> str:
    return verdict.format or "an unknown format"


def _fusion(verdict: Verdict) -> str:
    return verdict.reason.partition(":")[0] if is_fused(verdict) else "by itself"


def _flushing(verdict: Verdict) -> str:
    """Of an operation that rounds once at most, which has one result: only flushing is rounding then."""
    return "flushed to zero" if verdict.replayed is None else "kept"
