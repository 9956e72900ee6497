"""What a drift must not be: verdicts that were asked to fail, and anything worse than a drift that was kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..drift import Drift, VariantDrift
from ..drift.variant import OWN
from ..drift.verdict import KINDS, Verdict
from ..errors import InputError

SHOWN = 3  # layers named in one line; the rest is counted
WORDS = f"one of {', '.join(KINDS[1:])}"


def check_kind(kind: str) -> None:
    """Raises InputError for a word that `failing` does not know."""
    if kind not in KINDS[1:]:
        raise InputError(f"--fail-on {kind}", expected=WORDS)


def failing(drift: Drift, kind: str) -> list[str]:
    """A line for each backend whose verdict is `kind` or worse (KINDS is from best to worst); refnet's own is none."""
    check_kind(kind)
    return [
        f"{row.variant} is {row.verdict}: {row.reason}"
        for row in drift.variants
        if row.variant != OWN and row.verdict is not None and row.verdict.rank >= KINDS.index(kind)
    ]


def worse_than(before: Drift, after: Drift) -> list[str]:
    """A line for each thing that is worse in `after`: nothing if none is.

    Worse is a variant that ran and does not any more; a verdict on a variant, its logits or a layer farther down in
    KINDS, or reduced to another format than it was; and a layer, not identical, whose local error grew by more than the
    orders simulated on it are apart, and above them all. Variants that only one of both has been asked for are left
    out; `absent` names them.
    Raises InputError if the two are of other pictures or other weights, do not say which, or were not judged.
    """
    check_baseline(before, _sha256(after, "weights"), _sha256(after, "pictures"))
    found = {row.variant: row for row in after.variants}
    return [
        line for old in before.variants if old.ran and old.variant in found for line in _worse(old, found[old.variant])
    ]


def absent(before: Drift, after: Drift) -> list[str]:
    """A line for each variant that ran in `before` and was not asked for in `after`: nothing is known of it now."""
    names = {row.variant for row in after.variants}
    return [
        f"{row.variant} is in the baseline and was not run now"
        for row in before.variants
        if row.ran and row.variant not in names
    ]


def check_baseline(before: Drift, weights: str, pictures: Sequence[str]) -> None:
    """Raises InputError unless `before` was judged, with weights and pictures of these hashes (refnet.provenance)."""
    for what, new in (("weights", weights), ("pictures", list(pictures))):
        old = _sha256(before, what)
        if old != new:
            raise InputError(
                f"the baseline is of other {what} (sha256 {old})",
                expected=f"sha256 {new}",
                do="make it again with these, and keep it",
            )
    if any(row.ran and row.verdict is None for row in before.variants):
        raise InputError("the baseline has no verdicts", do="make it again with this refnet")


def _worse(old: VariantDrift, new: VariantDrift) -> Iterator[str]:
    if not new.ran:
        yield f"{new.variant} ran before and is {new.status} now: {new.reason}"
        return
    if _fell(old.verdict, new.verdict):
        yield f"{new.variant} is {new.verdict} and was {old.verdict}: {new.reason}"
    if _fell(old.logits_verdict, new.logits_verdict):
        yield f"{new.variant}: its logits are {new.logits_verdict} and were {old.logits_verdict}"
    shared = [layer for layer in new.layers if layer in old.layers]
    fallen = [
        f"{layer} ({old.verdicts[layer]} to {new.verdicts[layer]})"
        for layer in shared
        if _fell(old.verdicts.get(layer), new.verdicts.get(layer))
    ]
    if fallen:
        yield f"{new.variant}: the verdict is worse on {_some(fallen)}"
    grown = [
        f"{layer} ({old.layers[layer]['local_rms']:.2g} to {new.layers[layer]['local_rms']:.2g})"
        for layer in shared
        if _grew(old, new, layer)
    ]
    if grown:
        yield f"{new.variant}: the local error grew by more than the simulated orders are apart in {_some(grown)}"


def _fell(old: Verdict | None, new: Verdict | None) -> bool:
    """Farther down in KINDS, or reduced to another format; False where one was not judged."""
    if old is None or new is None:
        return False
    other_format = old.kind == new.kind == "reduced" and old.format != new.format
    return new.rank > old.rank or other_format


def _sha256(drift: Drift, what: str) -> Any:
    """The hash of the weights, or those of the pictures. Raises InputError where the drift does not say."""
    try:
        return drift.provenance[what]["sha256"]
    except (KeyError, TypeError):
        raise InputError(
            f"a drift that does not say of which {what} it is", do="make it again with this refnet"
        ) from None


def _grew(old: VariantDrift, new: VariantDrift, layer: str) -> bool:
    """False wherever a number has no meaning, since comparisons with NaN are.

    The error of a named order is that order's own on these inputs, and no other was simulated to tell how far they lie.
    """
    verdict, numbers = new.verdicts.get(layer), new.layers[layer]
    if verdict is not None and verdict.kind == "identical":
        return False
    error, low, high = (numbers[name] for name in ("local_rms", "simulated_low", "simulated_high"))
    return error > high and error - old.layers[layer]["local_rms"] > high - low


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
