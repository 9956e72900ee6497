"""Layers of a whole trace that are no rounding though their RMS is small: one channel, or bits that others have."""

from __future__ import annotations

from collections.abc import Container
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..graph import Node
from ..verdict.layer import judge_layer
from .layers import Layers


def finer_departures(layers: Layers, explained: Container[str]) -> tuple[str, ...]:
    """The layers whose verdict (refnet.verdict.layer) is a mismatch, but for those that are `explained`.

    None where the trace lacks a layer or has another shape or format than float32: the verdict needs them all. Outputs
    that are probabilities are no layer that it knows.
    """
    program, trace = layers.program, layers.known
    nodes = program.graph.nodes
    batch = len(program.x)
    whole = all(
        node.name in trace and trace[node.name].dtype == np.float32 and trace[node.name].shape == (batch, *node.shape)
        for node in nodes
        if not (layers.form and node is program.graph.output)
    )
    if not whole or program.rules:
        return ()

    def departs(node: Node) -> bool:
        if not node.inputs or node.name in explained or (layers.form and node is program.graph.output):
            return False
        return judge_layer(node, program.graph, program.tensors, trace).verdict.kind == "mismatch"

    with ThreadPoolExecutor(layers.threads) as pool:
        return tuple(node.name for node, found in zip(nodes, pool.map(departs, nodes), strict=True) if found)
