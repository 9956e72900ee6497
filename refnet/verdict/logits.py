"""The verdict on the plain model's logits: propagated errors, held against what rounding does end to end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..drift.logits import top_classes
from ..drift.measures import relative_error
from ..drift.verdict import Verdict, worst
from .bands import Band
from .hypothesis import nominal

Array = NDArray[np.floating]
REVEALED = "as revealed"
"""The order of a network whose plain logits are those of the replay by a profile, from the picture alone."""


def judge_logits(
    logits: Array,
    layered: Array,
    truth: Array,
    band: Band,
    factor: float,
    layers: Sequence[Verdict],
    *,
    replayed: Array | None = None,
) -> Verdict:
    """logits: of the plain model; layered: of the model that returns every layer; layers: the verdicts on those.

    replayed: the plain model's logits by what was revealed of the backend; where they are its own, that says all.

    band: of float32.  float64 logits beyond their own band and within it are reduced to float32.
    What the layers explain is inherited: a reduced format as long as the plain model is not much farther from the truth
    than the layered one.
    """
    format_ = nominal(logits)
    if replayed is not None and np.array_equal(logits, replayed):
        reason = "every bit is that of the replay from the picture, in the orders and forms that were revealed"
        power = factor * band.high
        return Verdict("identical", format_, reason, replayed=REVEALED, margin=0.0, power=power)
    if format_ == "float64":
        found = _judge(logits, layered, truth, band.of(format_), factor, layers)
        narrow = _judge(logits, layered, truth, band, factor, layers) if found.kind == "mismatch" else found
        if found.kind == "mismatch" and narrow.kind == "rounding":
            reason, cause = f"{narrow.reason} in float32", "precision:float32"
            return replace(narrow, kind="reduced", format="float32", reason=reason, cause=cause)
        return narrow if narrow.kind == "undecided" else found
    return _judge(logits, layered, truth, band, factor, layers)


def _judge(
    logits: Array, layered: Array, truth: Array, band: Band, factor: float, layers: Sequence[Verdict]
) -> Verdict:
    format_, whole = nominal(logits), worst(layers)
    if not np.isfinite(logits).all():
        bad = int(np.count_nonzero(~np.isfinite(logits)))
        return Verdict("mismatch", format_, f"{bad} logits are NaN or infinite", margin=float("inf"))
    same = bool(np.array_equal(logits, layered))
    error = relative_error(logits, truth)
    margin = max(band.excess(logits, truth), error / (factor * band.high) if band.high else 0.0)
    power = factor * band.high
    if same and whole.kind == "identical":
        reason = "every bit follows from the layers, which are replayed to the bit"
        return Verdict("identical", format_, reason, replayed="layer by layer", margin=margin, power=power)
    where = f"relative error {error:.2g}, {margin:.2g} times what rounding explains"
    if margin <= 1:
        return _within(logits, truth, format_, where, margin, power)
    seen = relative_error(layered, truth)
    reduced = [layer for layer in layers if layer.kind == "reduced"]
    if reduced and whole.kind != "mismatch" and error <= factor * seen:
        lower = worst(reduced)
        reason = f"relative error {error:.2g}, {error / seen:.2g} times that of the layers, of which some are {lower}"
        margin = error / (factor * seen)
        return Verdict("reduced", lower.format, reason, cause=lower.cause, margin=margin, power=factor * seen)
    why = (
        ", though each layer of the layered model is rounding" if whole.fine else ": the layers say where it comes from"
    )
    return Verdict("mismatch", format_, where + why, margin=margin, power=power)


def _within(logits: Array, truth: Array, format_: str, where: str, margin: float, power: float) -> Verdict:
    """rounding; but undecided where that rounding was enough to change the best class."""
    best, wanted = top_classes(logits, 1)[:, 0], top_classes(truth, 2)
    changed = np.flatnonzero(best != wanted[:, 0])
    if not len(changed):
        return Verdict("rounding", format_, where, margin=margin, power=power)
    picture = int(changed[0])
    gap = float(truth[picture, wanted[picture, 0]] - truth[picture, best[picture]])
    reason = (
        f"the best class of picture {picture} is {best[picture]} and not {wanted[picture, 0]}, in the truth only "
        f"{gap:.2g} apart: rounding explains it"
    )
    return Verdict("undecided", format_, reason, margin=margin, power=power)
