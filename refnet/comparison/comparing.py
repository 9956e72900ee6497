"""Run two variants on the same pictures and weights, judge both, and hold them against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends import VARIANTS, Variant, check_run, read_variants, select
from ..backends.ask import check_runnable
from ..backends.checks import TIMEOUT
from ..backends.run import Progress, Run, run
from ..drift import VariantDrift
from ..drift.truth import TRUTHS, Truth, truth_of
from ..errors import InputError, VariantError
from ..graph import Graph
from ..provenance import about_pictures, provenance, usable_cores
from ..trace import Trace
from ..verdict.measuring import about_weights, judge_runs, working_folder
from ..verdict.revealed import Revealed, by_variant
from ..weights import Weights
from .pair import Pair, VariantComparison
from .reasons import reason_of

Array = NDArray[np.floating]


def compare(
    first: str | Variant,
    second: str | Variant,
    x: Array,
    w: Weights,
    *,
    truth: str = "float64",
    threads: int | None = None,
    timeout: float = TIMEOUT,
    folder: str | Path | None = None,
    variants_file: str | Path | None = None,
    profiles: Sequence[Revealed] = (),
    progress: Progress | None = None,
    cache: Path | None = None,
) -> VariantComparison:
    """Where and why the bits of two variants part, and which is nearer to the truth, for pictures x and weights w.

    x: (n, height, width, 3) float32, preprocessed (refnet.load_image).  truth: one of TRUTHS.  The other arguments are
    those of measure_drift. Each layer of each variant is judged on its own inputs, so that a reason is told for all
    layers that compute otherwise, those behind the first too.

    Raises InputError for unknown variants, one variant twice, and whatever measure_drift refuses; VariantError where
    one of them cannot run or fails.
    """
    chosen = two_of([first, second], variants_file)
    if truth not in TRUTHS:
        raise InputError(f"truth {truth!r}", expected=f"one of {', '.join(TRUTHS)}")
    if not w.include_top:
        raise InputError("the weights have no top, so there are no logits to compare", do="give weights with their top")
    by_variant(profiles, [variant.name for variant in chosen])
    check_run(chosen, x, None if folder is None else Path(folder), threads=threads, timeout=timeout)
    for variant in chosen:
        _check_installed(variant)
    tell = progress or (lambda name, stage, seconds: None)
    true = truth_of(truth, x, w, threads=threads, cache=cache, tell=tell)
    with working_folder(folder) as place:
        at_once = min(2, usable_cores())
        ran = run(chosen, w, x, place, threads=threads, timeout=timeout, at_once=at_once, progress=progress)
        rows = _judged(ran, x, w, true.trace, {"threads": threads, "profiles": profiles, "progress": progress})
        return _held_against(
            ran,
            rows,
            x,
            w,
            true,
            {"threads": threads, "timeout": timeout, "profiles": [profile.variant for profile in profiles]},
        )


def two_of(names: Sequence[str | Variant], variants_file: str | Path | None = None) -> tuple[Variant, Variant]:
    """The two variants of these names. Raises InputError where they are not two, unknown or the same."""
    chosen = select(names, VARIANTS if variants_file is None else read_variants(variants_file))
    if len(chosen) != 2:
        raise InputError(f"{len(chosen)} variants to compare", expected="two names, such as torch and tensorflow")
    return chosen[0], chosen[1]


def _check_installed(variant: Variant) -> None:
    """Says now, and not after the other has run, that one cannot."""
    try:
        check_runnable(variant)
    except VariantError as error:
        raise VariantError(f"{variant.name} {error}", status=error.status) from error


def _judged(
    ran: list[Run], x: Array, w: Weights, true: Trace, how: Mapping[str, Any]
) -> tuple[VariantDrift, VariantDrift]:
    for each in ran:
        if each.trace is None:
            raise VariantError(f"{each.variant} {each.status}: {each.reason}", status=each.status)
    _, first, second = judge_runs(ran, x, w, true, **how)
    return first, second


def _held_against(
    ran: list[Run],
    rows: tuple[VariantDrift, VariantDrift],
    x: Array,
    w: Weights,
    true: Truth,
    how: Mapping[str, object],
) -> VariantComparison:
    graph = w.graph(x.shape[1:3])
    first, second = ran
    assert first.trace is not None and second.trace is not None  # _judged
    assert first.logits is not None and second.logits is not None
    output = true.trace[graph.output.name]
    return VariantComparison(
        provenance(weights=about_weights(w), pictures=about_pictures(x), **how),
        true.about,
        rows,
        _pairs(graph, first.trace, second.trace, true.trace, rows),
        Pair.of("logits", first.logits, second.logits, output),
    )


def _pairs(
    graph: Graph, first: Trace, second: Trace, true: Trace, rows: tuple[VariantDrift, VariantDrift]
) -> tuple[Pair, ...]:
    return tuple(
        Pair.of(
            node.name,
            first[node.name],
            second[node.name],
            true[node.name],
            reason_of(node.operation, *(row.verdicts[node.name] for row in rows)),
        )
        for node in graph.nodes
    )
