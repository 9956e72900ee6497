"""Run the oracle and the backends on one picture and one set of weights, and measure every layer."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends import VARIANTS, check_run, load_runs, read_variants, select
from ..backends.checks import TIMEOUT
from ..backends.result import condensed
from ..backends.run import Progress, Run, run
from ..drift.comparison import Comparison
from ..drift.drift import Drift
from ..drift.histogram import Histogram, ulp_histogram
from ..drift.logits import best_logits, measure_logits
from ..drift.magnitude import sum_of_magnitudes
from ..drift.measures import measure_comparison
from ..drift.truth import DEFAULT_TRUTH, TRUTHS, timed, truth_of
from ..drift.ulp import bit_difference
from ..drift.variant import OWN, VariantDrift
from ..errors import InputError
from ..forward import activations
from ..graph import Graph, Node
from ..provenance import about_pictures, provenance, usable_cores
from ..trace import Trace
from ..weights import Weights
from .bands import bands
from .completing import FindCauses, completed
from .judging import OfLayer, judged
from .revealed import Revealed, by_variant, plain_logits, simulations_by_profile
from .sharing import Digests, Shared, digests_of

Array = NDArray[np.floating]
Measured = tuple[dict[str, float], Histogram]


def measure_drift(
    x: Array,
    w: Weights,
    variants: Sequence[str] = ("default",),
    *,
    truth: str = DEFAULT_TRUTH,
    threads: int | None = None,
    timeout: float = TIMEOUT,
    folder: str | Path | None = None,
    variants_file: str | Path | None = None,
    traces: Sequence[str | Path] = (),
    resume: bool = False,
    profiles: Sequence[Revealed] = (),
    find_causes: FindCauses | None = None,
    progress: Progress | None = None,
    cache: Path | None = None,
) -> Drift:
    """How far every layer and the logits of backend variants are from the truth, for pictures x and weights w.

    x: (n, height, width, 3) float32, preprocessed (refnet.load_image).  variants: names of refnet.backends.VARIANTS,
    or words of refnet.backends.GROUPS.  truth: one of TRUTHS: "certified", or the quick "float64".  threads: of refnet
    and of each backend; None is the usable cores for refnet and each backend's own choice, which is what its users get.
    timeout: seconds for each backend.  folder: where the backends' traces stay; by default they are deleted.
    variants_file: TOML that adds variants to the table.  traces: folders that Trace.save or the script of --write-job
    wrote; each is one more row.  resume: take what an earlier run left in `folder`, if it was made from the same.
    profiles: what was revealed of variants (refnet.reveal.Profile), each held against its own.
    find_causes: what names the causes of mismatches, refnet.diagnosis.find_causes; None leaves them unnamed.
    progress: called as progress(variant, stage or final status, seconds since it began), refnet's own runs included.
    cache: where the last certificates lie; default, the user's cache folder.

    Layers are measured on the model that returns every layer, `logits` on the plain model; both, where they differ,
    are in the result. The first row is refnet's own float32. A variant that cannot run is a row with its reason.
    Raises InputError, before anything is computed, for unknown variants or truths, pictures, weights, threads or
    timeouts that cannot be, and a folder that cannot be written or holds something else.
    """
    if truth not in TRUTHS:
        raise InputError(f"truth {truth!r}", expected=f"one of {', '.join(TRUTHS)}")
    if not w.include_top:
        raise InputError("the weights have no top, so there are no logits to compare", do="give weights with their top")
    if resume and folder is None:
        raise InputError("nothing to resume without a folder", do="name the folder of the run that was interrupted")
    chosen = select(variants, VARIANTS if variants_file is None else read_variants(variants_file))
    check_run(chosen, x, None if folder is None else Path(folder), threads=threads, timeout=timeout)
    by_variant(profiles, [variant.name for variant in chosen])
    elsewhere = load_runs(traces, w, x)
    tell = progress or _silent
    true = truth_of(truth, x, w, threads=threads, cache=cache, tell=tell)
    with working_folder(folder) as place:
        how: Any = {"threads": threads, "timeout": timeout, "resume": resume, "progress": progress}
        ran = run(chosen, w, x, place, at_once=min(2, usable_cores()), **how)
        how = {"threads": threads, "profiles": profiles, "find_causes": find_causes, "progress": progress}
        rows = judge_runs([*ran, *elsewhere], x, w, true.trace, **how)
    how = {"threads": threads, "timeout": timeout, "profiles": [profile.variant for profile in profiles]}
    about = provenance(weights=about_weights(w), pictures=about_pictures(x), **how)
    truth_best = best_logits(np.asarray(true.trace[w.graph(x.shape[1:3]).output.name], np.float64))
    top5 = [[list(ranked) for ranked in picture] for picture in truth_best]  # as a file gives them back
    return Drift(about, {**true.about, "top5": top5}, tuple(rows))


def judge_runs(
    runs: Sequence[Run],
    x: Array,
    w: Weights,
    true: Trace,
    *,
    threads: int | None = None,
    profiles: Sequence[Revealed] = (),
    find_causes: FindCauses | None = None,
    progress: Progress | None = None,
) -> list[VariantDrift]:
    """Rows of a drift, refnet's own float32 pass first: what backends computed for pictures x, held against the truth.

    Arguments are those of measure_drift; true: the truth of every layer (refnet.drift.truth).
    """
    tell, graph = progress or _silent, w.graph(x.shape[1:3])
    trace, seconds = _own_trace(x, w, threads, tell)
    own = Run(OWN, "ok", trace=trace, logits=trace[graph.output.name], provenance=trace.provenance, seconds=seconds)
    every, cores = [own, *runs], threads or usable_cores()
    with timed("measures", tell):
        digests = {ran.variant: digests_of(ran.trace, cores) for ran in every if ran.trace is not None}
        rows = _measure_all(every, digests, true, graph, w, cores)
    with timed("bands", tell):
        explained = bands(x, w, true, first=trace, threads=threads)
    with timed("verdicts", tell):
        known = Shared[OfLayer]()
        revealed = by_variant(profiles, [ran.variant for ran in runs])

        def judge(row: VariantDrift, ran: Run) -> VariantDrift:
            if ran.trace is None or ran.logits is None:
                return row
            sharing: Any = {"digests": digests[ran.variant], "known": known, "threads": cores}
            if profile := revealed.get(ran.variant):
                sharing["revealed"] = simulations_by_profile(profile, graph, w)
                sharing["replayed"] = plain_logits(profile, x, w, threads=threads)
            return judged(row, ran.trace, ran.logits, true, graph, w, explained, **sharing)

        found = [judge(row, ran) for row, ran in zip(rows, every, strict=True)]

    traces = {ran.variant: ran.trace for ran in every if ran.trace is not None}
    return completed(found, traces, x, w, true, revealed=revealed, find_causes=find_causes, threads=threads, tell=tell)


def _own_trace(x: Array, w: Weights, threads: int | None, tell: Progress) -> tuple[Trace, float]:
    """Refnet's own float32 trace, and its seconds."""
    begin = time.monotonic()
    with timed(OWN, tell):
        trace = activations(x, w, threads=threads)
    return trace, time.monotonic() - begin


def _measure_all(
    runs: Sequence[Run], digests: Mapping[str, Digests], true: Trace, graph: Graph, w: Weights, threads: int
) -> list[VariantDrift]:
    """Rows in the order of `runs`. A layer is measured for all variants at once, as they share its sum |a b|."""
    traces = {ran.variant: ran.trace for ran in runs if ran.trace is not None}

    def measure_layer(node: Node) -> dict[str, Measured]:
        truth = true[node.name]
        scale = sum_of_magnitudes(node, true[node.inputs[0]], w, threads=1) if node.inputs else None
        known = Shared[Measured]()

        def measured_of(variant: str) -> Measured:
            return known.of(digests[variant][node.name], lambda: _measured(traces[variant][node.name], truth, scale))

        return {variant: measured_of(variant) for variant in traces}

    with ThreadPoolExecutor(threads) as pool:
        measured = dict(zip(graph.names, pool.map(measure_layer, graph.nodes), strict=True))
    output = graph.output.name
    return [
        VariantDrift(
            ran.variant,
            ran.status,
            ran.reason,
            ran.seconds,
            _measure_logits(ran, true[output], output),
            {layer: found[ran.variant][0] for layer, found in measured.items() if ran.variant in found},
            condensed(ran.provenance),
            ulp_histograms={layer: found[ran.variant][1] for layer, found in measured.items() if ran.variant in found},
            best_logits=best_logits(ran.logits) if ran.trace is not None and ran.logits is not None else (),
        )
        for ran in runs
    ]


def _measured(values: Array, truth: Array, scale: Array | None) -> Measured:
    comparison = Comparison(values, truth, scale)
    return measure_comparison(comparison), ulp_histogram(comparison)


def _measure_logits(ran: Run, truth: Array, output: str) -> dict[str, float]:
    if ran.trace is None or ran.logits is None:
        return {}
    return measure_logits(ran.logits, truth) | _looking(ran.logits, ran.trace[output])


def _looking(plain: Array, layered: Array) -> dict[str, float]:
    """LAYERED: what returning every layer changes in the logits."""
    difference = bit_difference(plain, layered)
    finite = np.isfinite(plain) & np.isfinite(layered)
    largest = np.max(np.abs(plain[finite].astype(np.float64) - layered[finite])) if finite.any() else np.nan
    return {
        "layered_values": difference.values,
        "layered_zero_signs": difference.zero_signs,
        "layered_max_abs": float(largest),
    }


def about_weights(w: Weights) -> dict[str, Any]:
    return {"source": w.source, "sha256": w.hash, "depth": w.depth, "variant": w.variant}


def working_folder(folder: str | Path | None) -> AbstractContextManager[str | Path]:
    return nullcontext(folder) if folder is not None else TemporaryDirectory(prefix="refnet-")


def _silent(name: str, stage: str, seconds: float) -> None:
    """Progress that nobody watches."""
