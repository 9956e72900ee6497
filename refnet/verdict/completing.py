"""What is added to rows that are judged: why a replayed backend drifts, and the causes of mismatches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..backends.run import Progress
from ..drift.truth import timed
from ..drift.variant import VariantDrift
from ..trace import Trace
from ..weights import Weights
from .explaining import explain
from .logits import REVEALED
from .revealed import Revealed

Array = NDArray[np.floating]
FindCauses = Callable[[Mapping[str, Array], Array, Weights, int | None], Mapping[str, str] | None]
"""find_causes(trace, x, w, threads): layer -> the name of what it does otherwise; None for a trace that cannot be
searched."""


def completed(
    rows: list[VariantDrift],
    traces: Mapping[str, Trace],
    x: Array,
    w: Weights,
    true: Trace,
    *,
    revealed: Mapping[str, Revealed],
    find_causes: FindCauses | None,
    threads: int | None,
    tell: Progress,
) -> list[VariantDrift]:
    """The rows, with the explanation of each that was replayed wholly, and the causes of layers that are a mismatch.

    traces, revealed: by variant. Where there is neither, nothing is computed and progress is told nothing.
    """

    def explained(row: VariantDrift) -> VariantDrift:
        return replace(row, explanation=explain(revealed[row.variant], x, w, true, threads=threads))

    def caused(row: VariantDrift) -> VariantDrift:
        causes = find_causes(traces[row.variant], x, w, threads) if find_causes else None
        return row if causes is None else row.caused(causes)

    rows = _each("explanation", rows, _replayed_wholly, explained, tell)
    return _each("causes", rows, _mismatch, caused, tell) if find_causes else rows


def _each(
    stage: str,
    rows: list[VariantDrift],
    concerned: Callable[[VariantDrift], bool],
    more: Callable[[VariantDrift], VariantDrift],
    tell: Progress,
) -> list[VariantDrift]:
    """The rows, with more of those that it concerns; progress is told whose turn it is."""
    names = [row.variant for row in rows if concerned(row)]
    if not names:
        return rows

    def next_row(row: VariantDrift) -> VariantDrift:
        if row.variant not in names:
            return row
        tell(stage, f"{row.variant}, {names.index(row.variant) + 1} of {len(names)}", 0.0)
        return more(row)

    with timed(stage, tell):
        return [next_row(row) for row in rows]


def _replayed_wholly(row: VariantDrift) -> bool:
    """Whether the bits of every layer are known, and those of the plain model by a profile, from the picture alone."""
    whole, plain = row.verdict, row.logits_verdict
    return whole is not None and whole.kind == "identical" and plain is not None and plain.replayed == REVEALED


def _mismatch(row: VariantDrift) -> bool:
    """Whether a layer is one: where only the plain model's logits are, no layer shows a cause."""
    return any(verdict.kind == "mismatch" for verdict in row.verdicts.values())
