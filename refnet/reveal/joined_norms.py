"""Whether a batch normalisation reads what its convolution stores, where both are computed together.

In a narrow format a compiler may leave out a rounding that is undone at once: the convolution's output, with the bias
added, is rounded for who asks for it, and goes on as it was.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..arithmetic import Arithmetic, stored
from ..graph import Graph, Node
from .session import Session
from .together import Drawn, Entries, asked, computed, differing, draw, with_inputs

UNROUNDED = "reads its convolution's sum, as stored, with a bias added that is not rounded to storage"


def joined_reason(session: Session, graph: Graph, norm: Node, layers: Entries, seed: int = 0) -> str:
    """Why the two together have other bits than one after another; empty where they have not, or cannot be told.

    layers: a profile's entries, in which the convolution and the batch normalisation are explained.
    """
    convolution = graph[norm.inputs[0]]
    if any("reason" in layers[node.name] or layers[node.name]["differing"] for node in (convolution, norm)):
        return ""
    pair = with_inputs(graph, [convolution, norm])
    drawn = draw(session, pair, layers, seed)
    session.take_together([convolution.name, norm.name], list(drawn.inputs))
    theirs = asked(session, drawn)
    count = differing(computed(pair, layers, drawn), theirs)
    if not count:
        return ""
    told = f"{count} of {theirs.size} outputs differ where it is computed with its convolution"
    if "bias" not in convolution.weights or differing(_unrounded(pair, layers, drawn), theirs):
        return told
    return f"{told}: it {UNROUNDED}"


def _unrounded(pair: Graph, layers: Entries, drawn: Drawn) -> Any:
    """The pair's output by that reading."""
    convolution, norm = pair.nodes[-2:]
    entry = layers[norm.name]
    arithmetic = Arithmetic(entry["precision"], batch_norm=entry["batch_norm"], shift=entry["shift"])
    bias = f"{convolution.name}/bias"
    without = Drawn(drawn.inputs, {**drawn.weights, bias: np.zeros_like(drawn.weights[bias])}, drawn.constants)
    sums = computed(with_inputs(pair, [convolution]), layers, without)
    x = np.asarray(sums + stored(drawn.weights[bias], arithmetic.storage), np.float32)
    vectors = (drawn.weights[f"{norm.name}/{key}"] for key in norm.weights)
    epsilon: Any = norm.settings["epsilon"]
    given = drawn.constants.of(norm.name)
    return ops.batch_norm(x, *vectors, epsilon=epsilon, arithmetic=arithmetic, **given)
