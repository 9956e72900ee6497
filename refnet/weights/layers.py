"""Which layer is which: from the layers of a Keras file to Keras's names for their tensors.

Names decide where there are names of a ResNet, today's or those of 2016. In files without such names the order
decides: the k-th convolution of the file is the k-th convolution of the graph, and so for the other kinds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InputError
from ..graph import DEPTHS, Node, resnet
from .stored import StoredTensor

LAYERS = {node.name: node for depth in DEPTHS for node in resnet(depth).nodes if node.weights}
STEM_AND_HEAD_OF_2016 = {"conv1": "conv1_conv", "bn_conv1": "conv1_bn", "fc1000": "predictions"}
BRANCHES_OF_2016 = {"1": 0, "2a": 1, "2b": 2, "2c": 3}
KINDS_OF_2016 = {"res": "conv", "bn": "bn"}


@dataclass(frozen=True)
class StoredLayer:
    """A layer with weights: its name, its variables' names if the file has them, its tensors in the same order."""

    name: str
    variables: tuple[str, ...]
    tensors: tuple[StoredTensor, ...]

    @property
    def operation(self) -> str:
        if len(self.tensors) == 4:
            return "batch_norm"
        return {4: "conv2d", 2: "dense"}.get(len(self.tensors[0].shape), "another")


def named_tensors(layers: Sequence[StoredLayer], label: str) -> dict[str, StoredTensor]:
    """Keras weight name -> tensor; tensors of unknown layers keep the file's names, to be listed as extra.

    Raises InputError for a file that has neither the names nor the number of layers of a ResNet.
    """
    names = [_name_of_today(layer.name) for layer in layers]
    if not any(name in LAYERS for name in names):
        names = _names_by_order(layers, label)
    tensors: dict[str, StoredTensor] = {}
    for name, layer in zip(names, layers, strict=True):
        for variable, tensor in zip(_variables(name, layer), layer.tensors, strict=True):
            if f"{name}/{variable}" in tensors:
                raise InputError(f"{label} has {name}/{variable} twice", expected="each tensor once")
            tensors[f"{name}/{variable}"] = tensor
    return tensors


def _variables(name: str, layer: StoredLayer) -> tuple[str, ...]:
    """The file's names if they say anything, else the graph's by place; places beyond the graph's are numbered."""
    known = tuple(LAYERS[name].weights) if name in LAYERS else layer.variables
    if set(layer.variables) & set(known):
        return layer.variables
    numbered = tuple(str(place) for place in range(len(known), len(layer.tensors)))
    return (known + numbered)[: len(layer.tensors)]


def _name_of_today(name: str) -> str:
    """res3b_branch2a -> conv3_block2_1_conv; other names stay. Deep ResNets count their blocks a, b1, b2, ..."""
    found = re.fullmatch(r"(res|bn)(\d)([a-z])(\d*)_branch(1|2a|2b|2c)", name)
    if not found:
        return STEM_AND_HEAD_OF_2016.get(name, name)
    kind, stage, letter, count, branch = found.groups()
    block = int(count) + 1 if count else ord(letter) - ord("a") + 1
    return f"conv{stage}_block{block}_{BRANCHES_OF_2016[branch]}_{KINDS_OF_2016[kind]}"


def _names_by_order(layers: Sequence[StoredLayer], label: str) -> list[str]:
    operations = [layer.operation for layer in layers]
    for depth in DEPTHS:
        for include_top in (True, False):
            queues: dict[str, list[Node]] = {}
            for node in resnet(depth, include_top=include_top).nodes:
                if node.weights:
                    queues.setdefault(node.operation, []).append(node)
            if {kind: len(nodes) for kind, nodes in queues.items()} == {k: operations.count(k) for k in operations}:
                return [queues[operation].pop(0).name for operation in operations]
    counts = ", ".join(f"{operations.count(kind)} {kind}" for kind in sorted(set(operations))) or "no layers"
    raise InputError(f"{label} is of another model ({counts})", expected="a ResNet50, 101 or 152 of keras.applications")
