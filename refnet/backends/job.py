"""The job: all that a child process needs to know, as one JSON file. The same file works on another machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..graph import Graph, Node
from .variant import Variant

SCHEMA = 2
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PJRT_NPROC")
"""Where libraries look for a thread count when they start (the last is jax's); the child sets the others' itself."""


def make_job(
    variant: Variant,
    graph: Graph,
    *,
    weights: Path,
    images: Path,
    output: Path,
    threads: int | None = None,
    seed: int = 0,
    provenance: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The job of running `variant`, ready for JSON.

    weights: the exchange file (legacy Keras .h5).  images: a .npy of shape (n, height, width, 3).  output: the folder
    that will appear, with `logits.npy` and the folder `trace`. All three may be relative to the place of the job.
    threads: None leaves the frameworks' own choice; a variant that has a number of its own keeps it.
    """
    threads = variant.threads or threads
    return {
        "schema": SCHEMA,
        "variant": variant.name,
        "framework": variant.framework,
        "environment": {**variant.environment, **_threads(threads)},
        "dtype_policy": variant.dtype_policy,
        "data_format": variant.data_format,
        "compile": dict(variant.compile),
        "settings": dict(variant.settings),
        "needs": list(variant.needs),
        "batch_size": variant.batch_size,
        "threads": threads,
        "seed": seed,
        "application": graph.name if graph.variant == "v1" else None,  # of keras.applications; None: build the nodes
        "nodes": [_plain(node) for node in graph.nodes],
        "weights": str(weights),
        "images": str(images),
        "output": str(output),
        "provenance": dict(provenance or {}),
    }


def _threads(threads: int | None) -> dict[str, str]:
    return {} if threads is None else dict.fromkeys(THREAD_VARIABLES, str(threads))


def _plain(node: Node) -> dict[str, Any]:
    return {
        "name": node.name,
        "operation": node.operation,
        "inputs": list(node.inputs),
        "shape": list(node.shape),
        "weights": {key: list(shape) for key, shape in node.weights.items()},
        "settings": dict(node.settings),
    }
