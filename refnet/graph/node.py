"""A network as data: what each layer is, what it reads, and the shape of what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from types import MappingProxyType

from ..errors import InputError

BATCH_NORM_EPSILON = 1.001e-5  # Keras's ResNet; the variance is never used without it

OPERATIONS = ("input", "pad", "conv2d", "batch_norm", "relu", "max_pool", "add", "mean_pool", "dense")


@dataclass(frozen=True)
class Node:
    """One layer.

    name: Keras's layer name.  operation: one of OPERATIONS.  inputs: names of the layers it reads.
    shape: of the output, without the batch axis; images are (height, width, channels).
    weights: variable name -> shape, in Keras's order (kernel before bias; gamma, beta, mean, variance).
    settings: what else the operation needs: strides, padding ((top, bottom), (left, right)), pool size, epsilon.
    """

    name: str
    operation: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    weights: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.operation not in OPERATIONS:
            raise InputError(f"layer {self.name} has the operation {self.operation!r}", expected=f"one of {OPERATIONS}")
        if any(size < 1 for size in self.shape):
            raise InputError(f"layer {self.name} would have the shape {self.shape}", expected="sizes of at least 1")
        object.__setattr__(self, "weights", MappingProxyType(dict(self.weights)))
        object.__setattr__(self, "settings", MappingProxyType(dict(self.settings)))


@dataclass(frozen=True, eq=False, repr=False)
class Graph:
    """Nodes in topological order, the input first and the output last; `variant` is a name in resnet.VARIANTS.

    A graph is equal to itself only, and has a hash: what follows from it can be remembered.
    """

    name: str
    variant: str
    nodes: tuple[Node, ...]

    def __post_init__(self) -> None:
        known: set[str] = set()
        for node in self.nodes:
            missing = [name for name in node.inputs if name not in known]
            if missing or node.name in known:
                raise InputError(f"layer {node.name} reads {missing} before they exist or has a name that is taken")
            known.add(node.name)

    def __getitem__(self, name: str) -> Node:
        for node in self.nodes:
            if node.name == name:
                return node
        raise InputError(f"{self.name} has no layer {name!r}", expected="a Keras layer name such as conv1_conv")

    def __repr__(self) -> str:
        return (
            f"<Graph {self.name} {self.variant}, {len(self.nodes)} layers, {self.input_shape} -> {self.output.shape}>"
        )

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(node.name for node in self.nodes)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.nodes[0].shape

    @property
    def output(self) -> Node:
        return self.nodes[-1]

    @property
    def weights(self) -> dict[str, tuple[int, ...]]:
        """Keras weight name (`conv1_conv/kernel`) -> shape, in the order of the layers."""
        return {f"{node.name}/{key}": shape for node in self.nodes for key, shape in node.weights.items()}

    @property
    def parameters(self) -> int:
        return sum(prod(shape) for shape in self.weights.values())
