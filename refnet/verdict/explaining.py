"""The drift of a backend that replays wholly: how each layer computes, its share, and what other orders would give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arithmetic import Arithmetic
from ..arithmetic.plan import plan
from ..drift.explanation import WHOLE, Explanation, Part
from ..forward import activations
from ..forward.checks import joined_layers
from ..graph import Node
from ..kernels.threads import usable_threads
from ..weights import Weights
from .otherwise import Replay, otherwise
from .revealed import Revealed, parts_text, short_text
from .shares import Share, shares

Array = NDArray[np.floating]


def explain(
    profile: Revealed, x: Array, weights: Weights, truth: Mapping[str, Array], *, threads: int | None = None
) -> Explanation | None:
    """What explains the plain model's logits, whose bits the profile gives.

    truth: every layer, float64. By the replay alone: the backend is not asked. None where nothing drifts, numbers are
    not finite, or the drift is so little that float64 does not take it apart.
    """
    graph = weights.graph(x.shape[1:3])
    replay = Replay(graph, profile.settings(plain=True), profile.constants.get(weights.hash, {}))
    how: dict[str, Any] = {**replay.settings, "constants": replay.constants}
    run = activations(x, weights, **how, threads=threads)
    planned = plan(graph.names, replay.settings)
    joined = joined_layers(graph, planned)
    found = shares(run, truth, graph, weights, joined=joined, threads=usable_threads(threads))
    if not abs(sum(share.share for share in found.values()) - 1) <= WHOLE:  # NaN too
        return None
    output = graph.output.name
    others = otherwise(replay, x, weights, truth[output], threads=threads)
    parts = (
        _part(node, planned[node.name], found[node.name], _given(node, replay.constants))
        for node in graph.nodes
        if node.operation in FORMS or found[node.name].added
    )
    return Explanation(tuple(parts), tuple(others))


def _part(node: Node, arithmetic: Arithmetic, share: Share, given: bool) -> Part:
    """Of a layer in another format than float32 that is said too, and is all that is said of those that only store."""
    form = FORMS[node.operation](arithmetic) if node.operation in FORMS else "stored"
    more = ", its own factor" * given + f", {arithmetic.precision}" * (arithmetic.precision != "float32")
    return Part(node.name, node.operation, form + more, share.added, share.share)


def _given(node: Node, constants: Mapping[str, Array]) -> bool:
    return any(key.partition("/")[0] == node.name for key in constants)


def _sum(arithmetic: Arithmetic) -> str:
    fma = "fma" if arithmetic.fma else "no fma"
    return ", ".join([short_text(arithmetic.summation), fma, f"bias {arithmetic.bias}", *parts_text(arithmetic)])


def _norm(arithmetic: Arithmetic) -> str:
    fused = arithmetic.shift == "fused" and arithmetic.norm.applied != "centred"
    return arithmetic.batch_norm + (", shift fused" if fused else "")


ADDITIONS = {"outputs": "x + y", "shifts-last": "the shifts last"}
FORMS: Mapping[str, Callable[[Arithmetic], str]] = {
    "conv2d": _sum,
    "dense": _sum,
    "mean_pool": lambda arithmetic: f"{short_text(arithmetic.summation)}, then {arithmetic.mean}",
    "batch_norm": _norm,
    "add": lambda arithmetic: ADDITIONS[arithmetic.addition],
}
"""Operation -> in which order or form a layer computes, in words."""
