"""Changes of tensors: stored in a narrower format, laid out otherwise, dropped, exchanged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..graph import Graph, Node
from .change import Change
from .graph_edits import select
from .pictures import ROUNDINGS
from .program import Program

Array = NDArray[np.floating]
LARGEST_INT8 = 127


def quantised(kernel: Array, axes: tuple[int, ...]) -> Array:
    """Symmetric int8: w -> s rint(w / s) with s = max |w| / 127, the largest being taken over `axes`."""
    largest = np.abs(kernel).max(axes, keepdims=True)
    scale = (np.where(largest > 0, largest, 1) / np.float32(LARGEST_INT8)).astype(kernel.dtype)
    return np.asarray(np.rint(kernel / scale) * scale, kernel.dtype)


def _of_kernels(change: Callable[[Array], Array]) -> Callable[[str, Array], Array]:
    return lambda name, tensor: change(tensor) if name.endswith("/kernel") else tensor


STORED: dict[str, tuple[str, Callable[[str, Array], Array]]] = {
    "float16": ("all weights were stored in float16", lambda name, tensor: ROUNDINGS["float16"](tensor)),
    "bfloat16": ("all weights were stored in bfloat16", lambda name, tensor: ROUNDINGS["bfloat16"](tensor)),
    "int8": (
        "kernels were rounded to int8, symmetric, one scale for each output channel",
        _of_kernels(lambda kernel: quantised(kernel, tuple(range(kernel.ndim - 1)))),
    ),
    "int8:tensor": (
        "kernels were rounded to int8, symmetric, one scale for each tensor",
        _of_kernels(lambda kernel: quantised(kernel, tuple(range(kernel.ndim)))),
    ),
}


@dataclass(frozen=True)
class Exchange:
    """A family of changes in the tensors of single layers.

    fits: which layers it can change.  change: the layer's own tensors by variable -> those that are new.
    together: which of them the change of all at once takes; others change alone only.
    """

    detail: str
    fits: Callable[[Node], bool]
    change: Callable[[Mapping[str, Array]], dict[str, Array]]
    together: Callable[[Node], bool] = lambda node: True
    unseen: Callable[[Mapping[str, Array]], str] = lambda own: ""


def _spatial(node: Node) -> bool:
    return node.operation == "conv2d" and max(node.weights["kernel"][:2]) > 1


def _square_in_channels(node: Node) -> bool:
    return node.operation == "conv2d" and node.weights["kernel"][2] == node.weights["kernel"][3]


def _kernel(change: Callable[[Array], Array]) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    return lambda own: {"kernel": np.ascontiguousarray(change(own["kernel"]))}


def _zero_bias(own: Mapping[str, Array]) -> str:
    return "" if own["bias"].any() else "the bias is zero in these weights"


EXCHANGES = {
    "kernel:transposed": Exchange(
        "height and width of the kernel are exchanged", _spatial, _kernel(lambda k: k.transpose(1, 0, 2, 3))
    ),
    "kernel:flipped": Exchange(
        "the kernel is turned by 180 degrees, as Theano convolves", _spatial, _kernel(lambda k: k[::-1, ::-1])
    ),
    "kernel:in-out": Exchange(
        "the kernel's input and output channels are exchanged",
        _square_in_channels,
        _kernel(lambda k: k.transpose(0, 1, 3, 2)),
    ),
    "bias:dropped": Exchange(
        "the bias is not added",
        lambda node: "bias" in node.weights,
        lambda own: {"bias": np.zeros_like(own["bias"])},
        together=lambda node: node.operation == "conv2d",
        unseen=_zero_bias,
    ),
    "batch_norm:swapped": Exchange(
        "moving mean and moving variance are exchanged",
        lambda node: node.operation == "batch_norm",
        lambda own: {"moving_mean": own["moving_variance"], "moving_variance": own["moving_mean"]},
    ),
    "batch_norm:gamma-beta": Exchange(
        "gamma and beta are exchanged",
        lambda node: node.operation == "batch_norm",
        lambda own: {"gamma": own["beta"], "beta": own["gamma"]},
    ),
}


def weight_changes(program: Program) -> Iterator[Change]:
    graph = program.graph
    everywhere = frozenset(select(graph, lambda node: bool(node.weights)))
    for name, (detail, store) in STORED.items():
        yield Change(f"weights:{name}", detail, "weights", _stored(store), everywhere)
    for name, exchange in EXCHANGES.items():
        fitting = select(graph, exchange.fits)
        together = tuple(layer for layer in fitting if exchange.together(graph[layer]))
        all_of_them = f"in every such layer, {exchange.detail}"
        yield Change(name, all_of_them, "weights", _on(exchange, together), frozenset(together))
        for layer in fitting:
            one, how = f"in {layer}, {exchange.detail}", _on(exchange, (layer,))
            unseen = exchange.unseen(_own(program, graph[layer]))
            yield Change(f"{name}:{layer}", one, "weights", how, frozenset([layer]), single=True, unseen=unseen)


def other_weights(graph: Graph, other: Mapping[str, Array]) -> Iterator[Change]:
    """One layer from another checkpoint, for each layer."""
    for layer in select(graph, lambda node: bool(node.weights)):
        names = [f"{layer}/{key}" for key in graph[layer].weights]

        def apply(program: Program, names: list[str] = names) -> Program:
            return replace(program, tensors={**program.tensors, **{name: other[name] for name in names}})

        detail = f"{layer} has the other checkpoint's weights"
        yield Change(f"weights:other:{layer}", detail, "weights", apply, frozenset([layer]), single=True)


def _own(program: Program, node: Node) -> dict[str, Array]:
    return {key: program.tensors[f"{node.name}/{key}"] for key in node.weights}


def _stored(store: Callable[[str, Array], Array]) -> Callable[[Program], Program]:
    def apply(program: Program) -> Program:
        return replace(program, tensors={name: store(name, tensor) for name, tensor in program.tensors.items()})

    return apply


def _on(exchange: Exchange, layers: tuple[str, ...]) -> Callable[[Program], Program]:
    def apply(program: Program) -> Program:
        changed = {
            f"{layer}/{key}": tensor
            for layer in layers
            for key, tensor in exchange.change(_own(program, program.graph[layer])).items()
        }
        return replace(program, tensors={**program.tensors, **changed})

    return apply
