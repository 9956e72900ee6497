"""A verdict as a value: what a layer, the logits or a whole variant is judged to be, with the evidence for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isnan, nan
from typing import Any

from ..arithmetic.formats import FORMATS
from ..errors import InputError
from .storage import number

KINDS = ("identical", "rounding", "reduced", "undecided", "mismatch")
"""From best to worst: equal to the bit to a named order; within the rounding of its format; within the rounding of a
lower one; nothing that this data can decide; none of these."""

FINE = ("identical", "rounding")
"""The kinds that need no explanation."""

NO_CAUSE = "none"

VERDICT_COLUMNS = ("verdict", "reason", "format", "replayed", "proved", "cause", "margin", "power")


@dataclass(frozen=True)
class Verdict:
    """kind: one of KINDS; `str(verdict)` is the kind, with the format where it is reduced ("reduced:bfloat16").

    format: a name in FORMATS; of `reduced` the format that it was reduced to (required), of `identical` and `rounding`
    that whose rounding it is.  reason: one sentence with the evidence.  replayed: the named order under which every bit
    is equal.  proved: the any-order bound is broken, so that no direct sum in that format gives these numbers.
    cause: the name of what is done otherwise (docs/diagnose.md); NO_CAUSE where it was searched in vain, None where
    there is none or it was not searched.  margin: evidence over threshold, at most 1 inside.  power: the smallest error
    that this verdict would have seen, as a part of the layer's RMS; of an `identical` layer the unit roundoff: one bit
    takes that word away, though the rest may still be rounding.  NaN: does not apply.

    Raises InputError for another kind or format, `reduced` without a format, and `proved` of anything but a mismatch.
    """

    kind: str
    format: str | None = None
    reason: str = ""
    replayed: str | None = None
    proved: bool = False
    cause: str | None = None
    margin: float = nan
    power: float = nan

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"verdict {self.kind!r}", expected=f"one of {', '.join(KINDS)}")
        if self.format is not None and self.format not in FORMATS:
            raise InputError(f"a verdict on the format {self.format!r}", expected=f"one of {', '.join(FORMATS)}")
        if self.kind == "reduced" and self.format is None:
            raise InputError("the verdict reduced without a format", expected="such as bfloat16")
        if self.kind == "identical" and self.replayed is None:
            raise InputError("the verdict identical without the order that was replayed")
        if self.proved and self.kind != "mismatch":
            raise InputError(f"a proof that the any-order bound is broken, with {self}", expected="mismatch")

    def __str__(self) -> str:
        return f"{self.kind}:{self.format}" if self.kind == "reduced" else self.kind

    @property
    def fine(self) -> bool:
        return self.kind in FINE

    @property
    def rank(self) -> int:
        """The place in KINDS: larger is worse."""
        return KINDS.index(self.kind)

    def document(self) -> dict[str, Any]:
        """VERDICT_COLUMNS, as JSON files and tables have them."""
        return {"verdict": str(self)} | {name: getattr(self, name) for name in VERDICT_COLUMNS[1:]}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Verdict | None:
        """What `document` wrote; None where there is none. Raises InputError for what cannot be a verdict."""
        text = document.get("verdict")
        if text is None:
            return None
        kind, _, reduced_to = str(text).partition(":")
        return cls(
            kind,
            document.get("format") or reduced_to or None,
            document.get("reason") or "",
            document.get("replayed"),
            bool(document.get("proved")),
            document.get("cause"),
            number(document.get("margin")),
            number(document.get("power")),
        )


NO_VERDICT: Mapping[str, Any] = dict.fromkeys(VERDICT_COLUMNS)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst kind; of equals the one with the largest margin, and of those the first."""
    return max(verdicts, key=lambda verdict: (verdict.rank, -1.0 if isnan(verdict.margin) else verdict.margin))
