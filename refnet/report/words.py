"""Verdicts in words: the sign, the label and the sentence by which every report names them."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass

from ..drift import KINDS, OWN, Drift, VariantDrift, Verdict
from ..drift.verdict import NO_CAUSE


@dataclass(frozen=True)
class Look:
    """How a kind of verdict is shown. sign: tells it without colour.  style: of a terminal.  says: what it means."""

    kind: str
    sign: str
    style: str
    heading: str
    says: str


LOOKS = {
    look.kind: look
    for look in (
        Look("identical", "=", "green", "Identical to the bit", "is equal in every bit to orders that refnet knows"),
        Look("rounding", "≈", "green", "Rounding alone", "differs from the truth by rounding alone"),
        Look("reduced", "↓", "yellow", "Lower precision", "computes in {format}"),
        Look("undecided", "?", "yellow", "Undecided", "cannot be judged on this data"),
        Look("mismatch", "≠", "red", "Mismatch", "computes something else"),
        Look("unjudged", "·", "", "Not judged", "was measured and not judged"),
        Look("absent", "–", "dim", "Did not run", "did not run"),
    )
}
ORDER = (*reversed(KINDS), "unjudged", "absent")
"""What a reader should see first."""


def look_of(row: VariantDrift) -> Look:
    return look_of_verdict(row.verdict) if row.ran else LOOKS["absent"]


def look_of_verdict(verdict: Verdict | None) -> Look:
    return LOOKS[verdict.kind if verdict else "unjudged"]


def label(row: VariantDrift) -> str:
    """Sign and word, such as `≈ rounding`, `↓ bfloat16`; the status of a variant that did not run."""
    return label_of(row.verdict) if row.ran else row.status


def label_of(verdict: Verdict | None) -> str:
    look = look_of_verdict(verdict)
    word = verdict.format if verdict and verdict.kind == "reduced" else look.kind
    return f"{look.sign} {word}" if verdict else "not judged"


def sentence(row: VariantDrift) -> str:
    """What follows the variant's name: the verdict, where it begins, and its evidence."""
    reason = " ".join(row.reason.split())
    if not row.ran:
        return f"did not run ({row.status}): {reason}"
    says = look_of(row).says.format(format=row.verdict.format if row.verdict else None)
    if row.verdict and row.verdict.kind == "rounding" and row.verdict.format not in (None, "float32"):
        says += f", that of {row.verdict.format}"
    evidence = f" {_capital(reason, {row.variant, *row.layers}).rstrip('.')}." if reason else ""
    return f"{says}{_where(row)}{_proof(row.verdict)}.{evidence}{_cause(row.verdict)}"


@dataclass(frozen=True)
class Group:
    """Variants of one verdict. heading: such as `Lower precision, bfloat16`."""

    look: Look
    heading: str
    variants: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.heading}: {', '.join(self.variants)}"


def overall(drift: Drift) -> list[Group]:
    """The report in one look: for each kind of verdict, worst first, the backends of which it is true."""
    rows = [row for row in drift.variants if row.variant != OWN] or list(drift.variants)
    groups: dict[tuple[str, str], list[str]] = {}
    for row in by_verdict(rows):
        of_format = row.verdict.format if row.verdict and row.verdict.kind == "reduced" else None
        groups.setdefault((look_of(row).kind, f", {of_format}" if of_format else ""), []).append(row.variant)
    return [Group(LOOKS[kind], LOOKS[kind].heading + more, tuple(names)) for (kind, more), names in groups.items()]


def by_verdict(rows: Iterable[VariantDrift]) -> list[VariantDrift]:
    """The worst first; those alike stay in their order."""
    return sorted(rows, key=lambda row: ORDER.index(look_of(row).kind))


def _capital(text: str, names: Container[str]) -> str:
    """The first word with a capital letter, unless it is one of these names, or no plain word."""
    first = text.split(maxsplit=1)[0].rstrip(":,;")
    return text[:1].upper() + text[1:] if first.isalpha() and first not in names else text


def _where(row: VariantDrift) -> str:
    if row.verdict is None or row.verdict.fine:
        return ""
    return f" from {row.first_layer} on" if row.first_layer else " in the logits of the plain model alone"


def _proof(verdict: Verdict | None) -> str:
    return ", and that is proven: no order of adding gives these numbers" if verdict and verdict.proved else ""


def _cause(verdict: Verdict | None) -> str:
    """The cause by its name; of a mismatch also that none was found, or how to search for one."""
    if verdict is None or (verdict.cause is None and verdict.kind != "mismatch"):
        return ""
    if verdict.cause is None:
        return " Cause: not searched; refnet diagnose searches for it."
    if verdict.cause == NO_CAUSE:
        return " Cause: none of the changes that refnet diagnose knows."
    return f" Cause: {verdict.cause}."
