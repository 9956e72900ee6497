"""The plain run, as a user's predict computes it: the whole network, of which the last layer alone is returned.

Where a block's end shows another form, a backend may have computed more than that at once: how far back it reaches is
asked of the whole network, for drawn pictures and weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ..graph import Graph
from .session import Session
from .together import Entries, asked, block_ends, computed, differing, draw, merged, others, probe_end


def probe_plain(session: Session, graph: Graph, layers: Entries, seed: int = 0) -> tuple[Entries, dict[str, Any]]:
    """By layer, the fields that are others in the plain run; and `differing` of `outputs` of the whole network.

    layers: a profile's entries, which explain every layer. Without a fit, the fields with the fewest differing bits.
    """
    found = _of_ends(session, graph, layers, seed)
    drawn = draw(session, graph, layers, seed)
    session.take_whole(list(graph.names))
    theirs = asked(session, drawn)
    first = replace(drawn, inputs={name: x[:1] for name, x in drawn.inputs.items()})  # of the batch: it tells enough
    counts = []
    for changed in _reaching_back(graph, layers, found):
        counts.append((differing(computed(graph, merged(layers, changed), first), theirs[:1]), changed))
        if not counts[-1][0]:
            break
    _, best = min(counts, key=lambda each: each[0])
    ours = computed(graph, merged(layers, best), drawn)
    return best, {"differing": differing(ours, theirs), "outputs": theirs.size}


def _of_ends(session: Session, graph: Graph, layers: Entries, seed: int) -> Entries:
    """What the ends of blocks show; those of the same shapes are asked once."""
    known: dict[object, list[Any]] = {}
    found: dict[str, Any] = {}
    for end in block_ends(graph):
        kind = tuple((node.operation, node.shape, tuple(node.weights.values())) for node in end.nodes)
        if kind not in known:
            fields = probe_end(session, end, layers, seed)
            known[kind] = [fields.get(name) for name in end.names]
        found |= {name: fields for name, fields in zip(end.names, known[kind], strict=True) if fields}
    return found


def _reaching_back(graph: Graph, layers: Entries, found: Entries) -> Iterator[Entries]:
    """What the ends show, then the same with each form of a batch normalisation in more and more of the last ones."""
    yield found
    norms = [node.name for node in graph.nodes if node.operation == "batch_norm"]
    forms: list[Any] = []
    for name in norms:
        if name in found and found[name] not in forms:
            forms.append(found[name])
    for form in forms:
        for count in range(1, len(norms) + 1):
            yield others({**found, **dict.fromkeys(norms[-count:], form)}, layers)
