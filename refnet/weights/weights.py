"""Weights: the tensors of one ResNet, checked once, never changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

import numpy as np

from ..errors import InputError
from ..graph import Graph, resnet
from ..provenance import sha256_of_arrays
from .checks import batch_norm_epsilon, declared_faults, nearest_graph, summary, value_fault
from .stored import StoredTensor


class Weights(Mapping[str, np.ndarray]):
    """An immutable mapping from Keras weight name (`conv1_conv/kernel`) to array, in the order of Keras's layers.

    The arrays are read-only, C-contiguous, in the machine's byte order, and of the dtype they came in: float16,
    float32 or float64. Arrays given are copied. Convolution kernels are (height, width, in, out), the dense kernel
    (in, out). `source` says where they came from, for people.

    depth, include_top and classes follow from the tensors; the variant is `v1` unless `variant` says v1.5 (which has
    no convolution biases) or `tensors` are Weights, and is held against the tensors.
    Raises InputError listing every missing, extra, misshapen, non-float, NaN or infinite tensor and every variance
    that is not above -epsilon, by Keras name.
    """

    def __init__(
        self,
        tensors: Mapping[str, np.ndarray | StoredTensor],
        *,
        variant: str | None = None,
        source: str = "arrays",
    ) -> None:
        if variant is None and isinstance(tensors, Weights):
            variant = tensors.variant
        given = {name: t if isinstance(t, StoredTensor) else _in_memory(np.asarray(t)) for name, t in tensors.items()}
        graph = nearest_graph({name: tensor.shape for name, tensor in given.items()}, variant)
        if graph.weights.keys().isdisjoint(given):
            raise InputError(
                f"{source} holds {len(given)} tensors and none of a ResNet",
                expected="Keras's names such as conv1_conv/kernel, or torchvision's in .safetensors",
            )
        self._graph, self._arrays, self._source = graph, _checked(given, graph, source), source

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __eq__(self, other: object) -> bool:
        return self.hash == other.hash if isinstance(other, Weights) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.hash)

    def __repr__(self) -> str:
        top = f"{self.classes} classes" if self.include_top else "no top"
        return f"<Weights ResNet{self.depth} {self.variant}, {top}, {self.hash[:12]}, from {self.source}>"

    @cached_property
    def hash(self) -> str:
        """provenance.sha256_of_arrays: the same tensors have the same hash whatever file they came in."""
        return sha256_of_arrays(self._arrays)

    @property
    def source(self) -> str:
        return self._source

    @property
    def depth(self) -> int:
        return int(self._graph.name.removeprefix("ResNet"))

    @property
    def variant(self) -> str:
        return self._graph.variant

    @property
    def include_top(self) -> bool:
        return self._graph.output.operation == "dense"

    @property
    def classes(self) -> int | None:
        """The number of classes; None without the top."""
        return self._graph.output.shape[-1] if self.include_top else None

    def graph(self, input_shape: tuple[int, int] = (224, 224)) -> Graph:
        """The graph of these weights for pictures of (height, width); raises InputError below 32 x 32."""
        top = {"include_top": True, "classes": self.classes} if self.classes else {"include_top": False}
        return resnet(self.depth, input_shape=input_shape, variant=self.variant, **top)


def _in_memory(array: np.ndarray) -> StoredTensor:
    return StoredTensor(array.shape, array.dtype.name, array.copy)


def _checked(given: Mapping[str, StoredTensor], graph: Graph, source: str) -> dict[str, np.ndarray]:
    """The arrays in the graph's order; only tensors whose declared shape and dtype fit are read at all."""
    shapes, dtypes = {n: t.shape for n, t in given.items()}, {n: t.dtype for n, t in given.items()}
    faults = declared_faults(shapes, dtypes, graph.weights)
    epsilon = batch_norm_epsilon(graph)
    arrays = {}
    for name in graph.weights:
        if name in faults:
            continue
        arrays[name] = _frozen(given[name].read())
        fault = value_fault(name, arrays[name], epsilon)
        if fault:
            faults[name] = fault
    if faults:
        raise InputError(
            f"{source} is no {graph.name} {graph.variant}: {summary(faults)}",
            expected=f"the {len(graph.weights)} tensors of {graph.name}, float and finite",
            do="say variant='v1.5' if they are of that network" if _only_biases_missing(faults, graph) else "",
        )
    return arrays


def _only_biases_missing(faults: Mapping[str, str], graph: Graph) -> bool:
    return faults == {name: "missing" for name in graph.weights if name.endswith("_conv/bias")}


def _frozen(array: np.ndarray) -> np.ndarray:
    """The same numbers, contiguous, in native byte order, read-only; the array is ours already."""
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    array.flags.writeable = False
    return array
