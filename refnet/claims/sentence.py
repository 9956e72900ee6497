"""The words for what was measured: chosen by the measurements, never written beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from types import MappingProxyType

from .claim import OUTCOMES, Claim
from .measured import Measured

VERDICTS: Mapping[str, str] = MappingProxyType(
    {
        "same": "no: the same bits",
        "rounding": "yes: other rounding",
        "picture": "yes: it is another picture",
        "higher": "yes: more digits",
        "lower": "yes: beyond rounding",
        "not run": "not measured",
    }
)
"""Outcome -> the verdict on a claim, of which it is the gravest outcome (the last in OUTCOMES that was measured)."""


def gravest(found: Sequence[Measured]) -> str:
    """The last outcome in OUTCOMES among those that ran; "not run" only if none did."""
    ran = [row.outcome for row in found if row.outcome != "not run"]
    return max(ran, key=OUTCOMES.index, default="not run")


def verdict(found: Sequence[Measured]) -> str:
    """A few words on a claim."""
    return VERDICTS[gravest(found)]


def sentence(claim: Claim, found: Sequence[Measured]) -> str:
    """What the experiments of a claim showed: for each outcome the sides that had it, with the largest numbers."""
    parts = [SAY[outcome](rows) for outcome in OUTCOMES if (rows := [row for row in found if row.outcome == outcome])]
    ran = {row.outcome for row in found} - {"not run"}
    because = claim.because.get(ran.pop(), "") if len(ran) == 1 else ""
    return " ".join([*parts, *([because] if because else [])])


def _same(rows: Sequence[Measured]) -> str:
    return f"Not one of {rows[0].logits} logits changes in {_changed(rows)}."


def _rounding(rows: Sequence[Measured]) -> str:
    """Both sides of each are within the limit: that is what the outcome means."""
    largest = max(max(row.error_first, row.error_second) for row in rows)
    return (
        f"A logit changes by {_change(rows)} in {_changed(rows)}; every side lies within {largest:.1e} of the truth, "
        "which rounding explains."
    )


def _picture(rows: Sequence[Measured]) -> str:
    """Both sides are right, each for its own picture."""
    return f"A logit changes by {_change(rows)} in {_changed(rows)}, as the truths of the two pictures do."


def _higher(rows: Sequence[Measured]) -> str:
    return (
        f"A logit changes by {_change(rows)} in {_changed(rows)}, and not by float32's rounding: one side keeps more "
        "digits."
    )


def _change(rows: Sequence[Measured]) -> str:
    """The largest |difference|, from the smallest to the largest of these experiments."""
    changes = [f"{change:.1e}" for change in sorted(row.max_abs for row in rows)]
    return changes[0] if changes[0] == changes[-1] else f"{changes[0]} to {changes[-1]}"


def _lower(rows: Sequence[Measured]) -> str:
    return f"{'; '.join(map(_too_far, rows))}: more than rounding explains."


def _too_far(row: Measured) -> str:
    """Which sides are beyond rounding. Where both are, neither is held against the other."""
    lost = [str(arm) for arm, error in row.beyond.items() if not isfinite(error)]
    if lost:
        return f"{_listed(lost)} {'gives' if len(lost) == 1 else 'give'} NaN or infinity"
    (arm, error), *others = row.beyond.items()
    if not others:
        return f"{arm} is {row.factor:,.0f} times farther from the truth"
    return f"{_listed([str(side) for side in row.beyond])} are {error:.1e} and {others[0][1]:.1e} from the truth"


def _not_run(rows: Sequence[Measured]) -> str:
    return f"Not measured: {'; '.join(dict.fromkeys(row.reason for row in rows))}."


SAY = {
    "same": _same,
    "rounding": _rounding,
    "picture": _picture,
    "higher": _higher,
    "lower": _lower,
    "not run": _not_run,
}
"""Outcome -> the sentence on all experiments that had it."""


def _changed(rows: Sequence[Measured]) -> str:
    """What was changed: the variant alone where predict and another call differ, else `b, c (against a)`."""
    against: dict[str, list[str]] = {}
    for row in rows:
        first, second = row.experiment.first, row.experiment.second
        usual = first.variant == second.variant and first.call == "predict"
        against.setdefault("" if usual else str(first), []).append(second.variant if usual else str(second))
    parts = [_listed(names) + (f" (against {first})" if first else "") for first, names in against.items()]
    return _listed(parts)


def _listed(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
