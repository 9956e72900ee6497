"""Runs of one picture or several, each measured and judged by itself as soon as it has ended."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends.result import condensed
from ..backends.run import Progress, Run
from ..drift.comparison import Comparison
from ..drift.histogram import Histogram, ulp_histogram
from ..drift.logits import best_logits, measure_logits
from ..drift.magnitude import sum_of_magnitudes
from ..drift.measures import measure_comparison
from ..drift.truth import timed
from ..drift.ulp import bit_difference
from ..drift.variant import OWN, VariantDrift
from ..forward import activations
from ..graph import Graph, Node
from ..provenance import usable_cores
from ..trace import Trace
from ..weights import Weights
from .bands import Bands, bands
from .judging import OfLayer, judged
from .revealed import Revealed, plain_logits, simulations_by_profile
from .sharing import Digests, Shared, digests_of

Array = NDArray[np.floating]
Measured = tuple[dict[str, float], Histogram]


@dataclass(frozen=True)
class Judge:
    """Measures and judges runs on pictures x, with these weights, one by one.

    true: the truth of every layer.  own: refnet's own float32 pass, as a run.  bands: what such passes span.
    revealed: what was revealed of variants, by their names.  threads: of refnet; None is the usable cores.
    scales, measures, verdicts: what was computed for earlier runs and holds for others: sum |a b| of each layer, and
    what was found of layers that hold the same bits.
    """

    x: Array
    weights: Weights
    true: Trace
    own: Run
    bands: Bands
    revealed: Mapping[str, Revealed]
    threads: int | None
    scales: Shared[Array | None] = field(default_factory=Shared)
    measures: Shared[Measured] = field(default_factory=Shared)
    verdicts: Shared[OfLayer] = field(default_factory=Shared)

    @property
    def graph(self) -> Graph:
        return self.weights.graph(self.x.shape[1:3])

    @property
    def cores(self) -> int:
        return self.threads or usable_cores()

    def of(self, ran: Run) -> VariantDrift:
        """The row of a run, with its verdicts; of one that gave nothing, with the reason."""
        if ran.trace is None or ran.logits is None:
            provenance = condensed(ran.provenance)
            return VariantDrift(ran.variant, ran.status, ran.reason, ran.seconds, provenance=provenance)
        digests = digests_of(ran.trace, self.cores)
        sharing: dict[str, Any] = {"digests": digests, "known": self.verdicts, "threads": self.cores}
        if profile := self.revealed.get(ran.variant):
            sharing["revealed"] = simulations_by_profile(profile, self.graph, self.weights)
            sharing["replayed"] = plain_logits(profile, self.x, self.weights, threads=self.threads)
        row = self._row(ran, ran.trace, ran.logits, digests)
        return judged(row, ran.trace, ran.logits, self.true, self.graph, self.weights, self.bands, **sharing)

    def _row(self, ran: Run, trace: Trace, logits: Array, digests: Digests) -> VariantDrift:
        """What is measured, without verdicts."""

        def measure_layer(node: Node) -> Measured:
            key = node.name, digests[node.name]
            return self.measures.of(key, lambda: self._measured(node, trace[node.name]))

        with ThreadPoolExecutor(self.cores) as pool:
            found = dict(zip(self.graph.names, pool.map(measure_layer, self.graph.nodes), strict=True))
        output = self.graph.output.name
        return VariantDrift(
            ran.variant,
            ran.status,
            ran.reason,
            ran.seconds,
            measure_logits(logits, self.true[output]) | _looking(logits, trace[output]),
            {layer: numbers for layer, (numbers, _) in found.items()},
            condensed(ran.provenance),
            ulp_histograms={layer: histogram for layer, (_, histogram) in found.items()},
            best_logits=best_logits(logits),
        )

    def _measured(self, node: Node, values: Array) -> Measured:
        comparison = Comparison(values, self.true[node.name], self.scales.of(node.name, lambda: self._scale(node)))
        return measure_comparison(comparison), ulp_histogram(comparison)

    def _scale(self, node: Node) -> Array | None:
        return sum_of_magnitudes(node, self.true[node.inputs[0]], self.weights, threads=1) if node.inputs else None


def judge_for(
    x: Array,
    w: Weights,
    true: Trace,
    revealed: Mapping[str, Revealed],
    *,
    threads: int | None,
    tell: Progress,
) -> Judge:
    """The judge, once refnet's own float32 passes are made."""
    begin = time.monotonic()
    with timed(OWN, tell):
        trace = activations(x, w, threads=threads)
    seconds, logits = time.monotonic() - begin, trace[w.graph(x.shape[1:3]).output.name]
    own = Run(OWN, "ok", trace=trace, logits=logits, provenance=trace.provenance, seconds=seconds)
    with timed("bands", tell):
        explained = bands(x, w, true, first=trace, threads=threads)
    return Judge(x, w, true, own, explained, revealed, threads)


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
