"""A whole network revealed: every layer that adds, and every batch normalisation, of one variant."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..arithmetic.formats import Array
from ..backends import Variant, select
from ..errors import InputError
from ..graph import Graph, Node, resnet
from ..provenance import provenance
from ..weights import Weights
from .joined_norms import joined_reason
from .layer_box import ASKED
from .layer_order import probe_layer
from .norm_form import probe_norm, read_scale
from .plain import probe_plain
from .profile import Profile
from .session import Session
from .softmax_form import probe_softmax
from .sum_formats import FLOAT32

Progress = Callable[[str, int, int], None]
"""Called as progress(layer, its place, how many there are) before a layer is probed; last, two of the whole."""


def reveal(
    variant: str | Variant,
    *,
    weights: Weights | None = None,
    size: tuple[int, int] = (224, 224),
    threads: int | None = None,
    progress: Progress | None = None,
) -> Profile:
    """The profile of a variant: orders and forms of every layer, found by probes alone.

    weights: whose network it is, and whose constants are read off where the backend has constants of its own; without
    them it is ResNet50 as Keras has it. Layers of the same shapes are probed once. A layer that could not be explained
    is in `unexplained`. Raises VariantError where the backend cannot run.
    """
    (chosen,) = select([variant])
    graph = resnet(50, input_shape=size) if weights is None else weights.graph(size)
    begin = time.monotonic()
    with Session(chosen, graph, threads=threads) as session:
        told = progress or (lambda layer, place, count: None)
        layers = _probed(session, graph, told)
        _add_joined_reasons(session, graph, layers)
        told("the softmax", len(layers), len(layers) + 2)
        if softmax := _softmax_entry(session, graph.output):
            layers[graph.output.name] |= softmax
        told("the plain model", len(layers) + 1, len(layers) + 2)
        plain = _with_plain(session, graph, layers)
        profile = Profile(
            chosen.name,
            (graph.name, graph.variant),
            size,
            session.describe(),
            layers,
            plain=plain,
            provenance=provenance(threads=chosen.threads or threads, seconds=round(time.monotonic() - begin, 1)),
        )
        return profile if weights is None else _with_constants(profile, session, weights)


def with_constants(
    profile: Profile, variant: str | Variant, weights: Weights, *, threads: int | None = None
) -> Profile:
    """The profile with the constants that a backend makes of these weights, unless it has them or needs none."""
    if not profile.given or weights.hash in profile.constants:
        return profile
    (chosen,) = select([variant])
    with Session(chosen, weights.graph(profile.size), threads=threads) as session:
        return _with_constants(profile, session, weights)


def _with_constants(profile: Profile, session: Session, weights: Weights) -> Profile:
    if not profile.given:
        return profile
    read: dict[str, Array] = {
        f"{layer}/scale": read_scale(
            session, session.graph[layer], weights[f"{layer}/gamma"], weights[f"{layer}/moving_variance"]
        )
        for layer in profile.given
    }
    return replace(profile, constants={**profile.constants, weights.hash: read})


def _probed(session: Session, graph: Graph, progress: Progress) -> dict[str, dict[str, Any]]:
    """The entries of a profile's layers."""
    nodes = [node for node in graph.nodes if node.operation in ASKED or node.operation == "batch_norm"]
    known: dict[object, dict[str, Any]] = {}
    found = _stored(session, graph)
    for place, node in enumerate(nodes):
        progress(node.name, place, len(nodes))
        kind = _kind(graph, node)
        if kind not in known:
            known[kind] = _norm_entry(session, node) if node.operation == "batch_norm" else _sum_entry(session, node)
        found[node.name] = found.get(node.name, {}) | known[kind]
    return found


def _add_joined_reasons(session: Session, graph: Graph, layers: dict[str, dict[str, Any]]) -> None:
    """Adds the reason to batch normalisations that compute otherwise together with their convolution.

    That is asked in narrow formats; in float32 both runs of a network, as a whole, tell it.
    """
    known: dict[object, str] = {}
    norms = [node for node in graph.nodes if node.operation == "batch_norm"]
    for node in norms if session.precision != "float32" else ():
        kind = _kind(graph, graph[node.inputs[0]]), _kind(graph, node)
        if kind not in known:
            known[kind] = joined_reason(session, graph, node, layers)
        if known[kind]:
            layers[node.name]["reason"] = known[kind]


def _stored(session: Session, graph: Graph) -> dict[str, dict[str, Any]]:
    """The precision in which every layer is stored but the picture, where that is not float32."""
    if session.precision == "float32":
        return {}
    told = {"precision": session.precision, "differing": 0, "outputs": 0}
    return {node.name: dict(told) for node in graph.nodes if node.operation != "input"}


def _with_plain(session: Session, graph: Graph, layers: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Adds what differs in the plain run to the entries, if they explain every layer; how well the plain run fits."""
    if any("reason" in entry or entry["differing"] for entry in layers.values()):
        return {}
    changed, fit = probe_plain(session, graph, layers)
    for name in {**layers, **changed}:
        layers.setdefault(name, {"differing": 0, "outputs": 0}).pop("plain", None)
        if name in changed:
            layers[name]["plain"] = dict(changed[name])
    return fit


def _kind(graph: Graph, node: Node) -> object:
    """What is equal for layers whose probes would be the same."""
    shapes = tuple(graph[name].shape for name in node.inputs)
    return node.operation, shapes, node.shape, tuple(node.weights.values()), str(sorted(node.settings.items()))


def _norm_entry(session: Session, node: Node) -> dict[str, Any]:
    form = probe_norm(session, node)
    return {
        "batch_norm": form.batch_norm, "shift": form.shift, "scale": form.scale,
        "differing": form.differing, "outputs": form.outputs,
    }  # fmt: skip


def _sum_entry(session: Session, node: Node) -> dict[str, Any]:
    """A mean pool is asked twice, since backends compute it together with what comes before where no one looks."""
    if node.operation != "mean_pool":
        return _order_entry(session, node)
    plain = _order_entry(session, node, behind=True)
    entry = plain if session.whole_graphs else _order_entry(session, node)
    if "reason" in entry or plain == entry:
        return entry
    if "reason" in plain:
        return {**entry, "reason": f"computed with what comes before it: {plain['reason']}"}
    return {**entry, "plain": plain}


def _softmax_entry(session: Session, output: Node) -> dict[str, Any]:
    """That of the output layer, as Keras's classifier has it; none where the layer is not dense or not in float32, or
    too small.
    """
    if output.operation != "dense" or session.precision != "float32":
        return {}
    try:
        return {"softmax": probe_softmax(session, output, tree=False).to_json()}
    except InputError:
        return {}


def _order_entry(session: Session, node: Node, *, behind: bool = False) -> dict[str, Any]:
    try:
        found = probe_layer(session, node, behind=behind)
    except InputError as error:  # such as a picture too small for its window
        return {"reason": str(error)}
    if found.order is None or not found.outputs:
        return {"reason": found.words}
    last: dict[str, Any] = {"mean": found.mean} if node.operation == "mean_pool" else {}
    if found.reason:
        last["where"] = found.reason
    if found.through:
        last["through"] = found.through
    if found.parts:
        last["parts"] = [part.to_json() for part in found.parts]
    if found.formats != FLOAT32:
        last |= {"precision": found.formats.precision, "accumulate": found.formats.sums}
    return {
        "order": str(found.order), "fma": found.fma, "bias": found.bias, **last,
        "differing": found.differing, "outputs": found.outputs,
        "subnormals": found.subnormals, "same": found.same and found.same.to_json(),
    }  # fmt: skip
