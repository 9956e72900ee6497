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

READINGS = {
    True: "the stored sum and a bias, added but not rounded",
    False: "a sum and a bias that are not rounded at all",
}
"""What it may read, by whether the sum is stored before the bias is added."""
TOGETHER = "computed with its convolution"


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
    readings = READINGS.items() if "bias" in convolution.weights else ()
    for stores, what in readings:
        if not differing(_unrounded(pair, layers, drawn, stores=stores), theirs):
            return f"{TOGETHER}, it reads {what}"
    return f"{TOGETHER}, {count} of {theirs.size} outputs differ"


def _unrounded(pair: Graph, layers: Entries, drawn: Drawn, *, stores: bool) -> Any:
    """The pair's output by one of the readings."""
    convolution, norm = pair.nodes[-2:]
    entry = layers[norm.name]
    arithmetic = Arithmetic(entry["precision"], batch_norm=entry["batch_norm"], shift=entry["shift"])
    narrow = {name: stored(numbers, arithmetic.storage) for name, numbers in drawn.weights.items()}
    bias, inputs = f"{convolution.name}/bias", {name: stored(x, arithmetic.storage) for name, x in drawn.inputs.items()}
    without = Drawn(inputs, {**narrow, bias: np.zeros_like(narrow[bias])}, drawn.constants)
    precision = entry["precision"] if stores else layers[convolution.name]["accumulate"]
    own = {convolution.name: {**layers[convolution.name], "precision": precision}}
    x = np.asarray(computed(with_inputs(pair, [convolution]), own, without) + narrow[bias], np.float32)
    vectors = (drawn.weights[f"{norm.name}/{key}"] for key in norm.weights)
    epsilon: Any = norm.settings["epsilon"]
    return ops.batch_norm(x, *vectors, epsilon=epsilon, arithmetic=arithmetic, **drawn.constants.of(norm.name))
