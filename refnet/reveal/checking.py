"""Whether a profile still holds: one small layer of each order and form that it knows is asked again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from ..backends import Variant
from ..graph import Graph, Node
from ..weights import Weights
from .layer_parts import Layer
from .norm_form import probe_norm
from .profile import FIELDS, Profile, formats_of, found_of, parts_of
from .session import Session

SEED = 1  # other numbers than those that the profile was found with


def lost_layers(profile: Profile, variant: Variant, weights: Weights, *, threads: int | None = None) -> tuple[str, ...]:
    """The layers, of those that are asked, whose outputs for drawn numbers are no longer those of the profile.

    Of each order and form the layer with the fewest multiplications is asked. weights: whose network it is. Starts the
    framework, in a process of its own; raises VariantError where it cannot run.
    """
    graph = weights.graph(profile.size)
    with Session(variant, graph, threads=threads) as session:
        return tuple(name for name in asked_again(profile, graph) if not _holds(session, graph[name], profile))


def asked_again(profile: Profile, graph: Graph) -> tuple[str, ...]:
    """For each order and form that the profile explains, the layer with the fewest multiplications."""
    smallest: dict[tuple[object, ...], str] = {}
    for node in graph.nodes:
        entry = profile.layers.get(node.name, {})
        if node.name not in explained_by(profile) or not {"order", "batch_norm"} & entry.keys():
            continue
        kind = tuple(str(entry.get(field)) for field in (*FIELDS, "scale"))
        if kind not in smallest or _work(graph, node) < _work(graph, graph[smallest[kind]]):
            smallest[kind] = node.name
    return tuple(smallest.values())


def explained_by(profile: Profile) -> frozenset[str]:
    """The layers whose bits the profile claims to have, where the constants that they need are known."""
    named = {layer for layers in profile.settings().values() for layer in layers}
    return frozenset(named - profile.unexplained.keys())


def no_longer_holds(variant: str, layer: str) -> str:
    return f"the profile of {variant} no longer holds in {layer}"


def _work(graph: Graph, node: Node) -> int:
    if "kernel" in node.weights:
        return prod(node.shape) * prod(node.weights["kernel"][:-1])
    return prod(graph[node.inputs[0]].shape)


def _holds(session: Session, node: Node, profile: Profile) -> bool:
    entry: Mapping[str, Any] = profile.layers[node.name]
    if node.operation == "batch_norm":
        form = probe_norm(session, node, SEED)
        found = {"batch_norm": form.batch_norm, "shift": form.shift, "scale": form.scale}
        return not form.differing and all(entry[name] == value for name, value in found.items())
    layer = Layer(session, node, SEED, behind=node.operation == "mean_pool" and session.whole_graphs)
    formats = formats_of(entry)
    theirs, ours = layer.drawn(replace(formats, operands=entry.get("through", formats.operands)))
    y = ours(found_of(entry), parts_of(entry))
    return bool((theirs.view(np.uint32) == y.view(np.uint32)).all())
