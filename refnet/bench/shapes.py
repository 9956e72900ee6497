"""The distinct convolutions of a network, and a timer for each as the network runs it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..forward.kernel_engine import KernelEngine
from ..graph import Graph
from .arithmetics import BASE, parse
from .timing import Timer

CALLS = 5  # in one measurement, which is the fastest of them: such short calls are often held up by other processes


@dataclass(frozen=True)
class Convolution:
    """shape: of the picture, (height, width, channels).  kernel: (height, width, channels, filters).

    output: (height, width).  padding: ((top, bottom), (left, right)).
    """

    shape: tuple[int, int, int]
    kernel: tuple[int, int, int, int]
    strides: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    output: tuple[int, int]

    def __str__(self) -> str:
        height, width, channels, filters = self.kernel
        stride = f"/{self.strides[0]}" if self.strides[0] > 1 else ""
        return f"{self.shape[0]}x{self.shape[1]} {height}x{width}{stride} {channels}->{filters}"

    @property
    def product(self) -> tuple[int, int, int]:
        """(M, K, N) of the matrix product with the same multiplications."""
        height, width, channels, filters = self.kernel
        return self.output[0] * self.output[1], height * width * channels, filters


def convolutions(graph: Graph) -> tuple[Convolution, ...]:
    """Each one once, in the order of the layers."""
    return tuple(layers_alike(graph))


def layers_alike(graph: Graph) -> dict[Convolution, int]:
    """Each one, and how many layers compute it."""
    nodes = [node for node in graph.nodes if node.operation == "conv2d"]
    found: list[Any] = [
        Convolution(
            graph[node.inputs[0]].shape,  # type: ignore[arg-type]
            node.weights["kernel"],  # type: ignore[arg-type]
            node.settings["strides"],  # type: ignore[arg-type]
            node.settings["padding"],  # type: ignore[arg-type]
            node.shape[:2],  # type: ignore[arg-type]
        )
        for node in nodes
    ]
    return dict(Counter(found))


def convolution_timer(convolution: Convolution, threads: int) -> Timer:
    """refnet's convolution in BASE, batch 1: im2col counts, packing the kernel does not, as in a network's calls."""
    engine = KernelEngine(parse(BASE), "convolution", threads=threads)
    kernel = np.random.default_rng(0).standard_normal(convolution.kernel, np.float32)

    def seconds(seed: int) -> float:
        pictures = np.random.default_rng(seed).standard_normal((CALLS, 1, *convolution.shape), np.float32)
        return min(_seconds(engine, picture, kernel, convolution) for picture in pictures)

    return seconds


def _seconds(engine: KernelEngine, picture: np.ndarray, kernel: np.ndarray, convolution: Convolution) -> float:
    begin = time.perf_counter()
    engine.conv2d(picture, kernel, None, strides=convolution.strides, padding=convolution.padding)
    return time.perf_counter() - begin
