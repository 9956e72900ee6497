"""A variant judged: each layer, the logits, and from those the whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ..arithmetic.formats import FORMATS, round_to
from ..drift.evidence import NO_EVIDENCE
from ..drift.measures import relative_l2
from ..drift.variant import VariantDrift
from ..drift.verdict import Verdict, worst
from ..graph import Graph, Node
from ..weights import Weights
from .bands import Bands
from .hypothesis import nominal
from .layer import judge_layer
from .logits import judge_logits
from .sharing import Digests, Shared, looked_at
from .simulations import Simulation

Array = NDArray[np.floating]
OfLayer = tuple[Verdict, dict[str, float]]
"""The verdict on a layer, and its evidence."""


def judged(
    row: VariantDrift,
    trace: Mapping[str, Array],
    logits: Array,
    truth: Mapping[str, Array],
    graph: Graph,
    weights: Weights,
    explained: Bands,
    *,
    digests: Digests,
    known: Shared[OfLayer],
    revealed: Mapping[str, Simulation] = MappingProxyType({}),
    replayed: Array | None = None,
    threads: int = 1,
) -> VariantDrift:
    """The row with its verdicts. trace: every layer of the variant; logits: of the plain model; truth: every layer.

    digests: of the trace.  known: verdicts on other variants, to which new ones are added.
    revealed: what probes found the variant to compute, by layer.  replayed: the plain model's logits by that, from the
    picture alone. Layers are judged side by side on `threads` threads.
    """

    def judge(node: Node) -> OfLayer:
        found = revealed.get(node.name)
        key = node.name, found and found.key, *(digests[name] for name in looked_at(node, graph))
        return known.of(key, lambda: _of_layer(node, row, trace, truth, graph, weights, explained, found))

    with ThreadPoolExecutor(threads) as pool:
        rows = dict(zip(graph.names, pool.map(judge, graph.nodes), strict=True))
    verdicts = {layer: verdict for layer, (verdict, _) in rows.items()}
    output = graph.output.name
    band, every = explained[output], list(verdicts.values())
    plain = judge_logits(logits, trace[output], truth[output], band, explained.factor, every, replayed=replayed)
    return row.judged(
        _whole(verdicts, plain, row),
        plain,
        verdicts,
        {layer: evidence for layer, (_, evidence) in rows.items()},
        band.of(nominal(logits)).evidence(),
    )


def _of_layer(
    node: Node,
    row: VariantDrift,
    trace: Mapping[str, Array],
    truth: Mapping[str, Array],
    graph: Graph,
    weights: Weights,
    explained: Bands,
    revealed: Simulation | None,
) -> OfLayer:
    band = explained[node.name].of(nominal(trace[node.name])).evidence()
    if node.operation == "input":
        return judge_picture(trace[node.name], truth[node.name]), {**NO_EVIDENCE, **band}
    found = judge_layer(node, graph, weights, trace, revealed)
    entered = max(row.layers[name]["rel_l2"] for name in node.inputs)
    amplification = float("nan")
    if entered > 0:
        passed = relative_l2(found.local.reference[0], truth[node.name])
        amplification = passed / entered
    return found.verdict, {**found.evidence, "amplification": amplification, **band}


def judge_picture(y: Array, picture: Array) -> Verdict:
    """The verdict on what entered the network. picture: what was given to it, in any type that holds its numbers."""
    if np.array_equal(y, picture):
        return Verdict("identical", nominal(y), "the picture that was given", replayed="exact", margin=0.0, power=0.0)
    for name in ("bfloat16", "float16"):
        if np.array_equal(y, round_to(picture, FORMATS[name])):
            reason, cause = f"the picture rounded to {name}", f"input:{name}"
            return Verdict("reduced", name, reason, cause=cause, margin=0.0, power=0.0)
    largest = float(np.max(np.abs(np.asarray(y, np.float64) - picture)))
    reason = f"the picture that entered is not the one that was given: they differ by up to {largest:.3g}"
    return Verdict("mismatch", nominal(y), reason, margin=float("inf"), power=0.0)


def _whole(verdicts: Mapping[str, Verdict], plain: Verdict, row: VariantDrift) -> Verdict:
    """The worst of all layers and of the plain logits, with a reason that says where."""
    found = worst([*verdicts.values(), plain])
    first = next((layer for layer, verdict in verdicts.items() if verdict.kind == found.kind), None)
    if found.fine:
        counts = Counter(verdict.kind for verdict in verdicts.values())
        layer, most = max(verdicts.items(), key=lambda item: item[1].margin if item[1].kind == "rounding" else -1.0)
        reason = f"{counts['identical']} of {len(verdicts)} layers are equal to the bit to a named order"
        if most.kind == "rounding":
            reason += f", the others are rounding, {layer} with the largest margin, {most.margin:.2g}"
        computed = list(verdicts.values())[1:]  # all but the picture
        found = replace(found, format=_coarsest([*computed, plain]))
    elif first is None:
        reason = f"logits of the plain model: {plain.reason}"
    else:
        found = verdicts[first]
        alike = sum(verdict.kind == found.kind for verdict in verdicts.values())
        others = f"; so are {alike - 1} other layers" if alike > 1 else ""
        reason = f"{first}: {found.reason}{others}"
    return _with_looking(found, reason, row, verdicts)


def _coarsest(verdicts: Sequence[Verdict]) -> str | None:
    """Where layers differ in their format, the whole rounds as the least precise of them does."""
    formats = [verdict.format for verdict in verdicts if verdict.format is not None]
    return max(formats, key=lambda name: FORMATS[name].unit_roundoff, default=None)


def _with_looking(found: Verdict, reason: str, row: VariantDrift, verdicts: Mapping[str, Verdict]) -> Verdict:
    """What looking at every layer changes belongs to every reason; the power is that of the layer which hides most."""
    changed = row.logits["layered_values"]
    looking = f"Looking at every layer changes {changed:.0f} logits" if changed else "Looking changes no bit of a logit"
    power = max((verdict.power for verdict in verdicts.values() if verdict.power == verdict.power), default=found.power)
    more = f" {row.reason}." if row.reason else ""  # NaN and infinities, counted
    return replace(found, reason=f"{reason}. {looking}.{more}", power=power)
