"""What is wrong with a set of tensors, held against the graph that they come nearest to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..graph import DEPTHS, VARIANTS, Graph, resnet

FLOATS = ("float16", "float32", "float64")
MOST_CLASSES = 65_536  # bounds what a file can make us read; ImageNet-21k has 21,843
MOST_LISTED = 1000  # names of one kind in an error; the largest network has 932


def nearest_graph(shapes: Mapping[str, Sequence[int]], variant: str | None = None) -> Graph:
    """The graph that these tensors are meant for, at 224 x 224.

    The depth is the one with the most names in common, the top is there if any tensor of it is. The variant is v1
    unless another is given: tensors without biases may be those of v1.5, or of v1 with the biases lost.
    """
    top = [shapes[name] for name in ("predictions/kernel", "predictions/bias") if name in shapes]
    classes = next((shape[-1] for shape in top if len(shape) and 1 <= shape[-1] <= MOST_CLASSES), 1000)
    graphs = [resnet(depth, classes=classes, include_top=bool(top), variant=variant or "v1") for depth in DEPTHS]
    return min(graphs, key=lambda graph: len(graph.weights.keys() ^ shapes.keys()))


def declared_faults(
    shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, str], expected: Mapping[str, tuple[int, ...]]
) -> dict[str, str]:
    """Name -> what can be said against it before its values are known."""
    faults = {name: "missing" for name in expected if name not in shapes}
    for name, shape in shapes.items():
        if name not in expected:
            faults[name] = "not of this network"
        elif shape != expected[name]:
            faults[name] = f"of shape {shape} instead of {expected[name]}"
        elif dtypes[name] not in FLOATS:
            faults[name] = f"{dtypes[name]} instead of {', '.join(FLOATS)}"
    return faults


def value_fault(name: str, array: np.ndarray, epsilon: float) -> str | None:
    """What is wrong with the values: NaN, infinity, or a variance that leaves nothing to take the root of."""
    if not np.isfinite(array).all():
        return "NaN" if np.isnan(array).any() else "infinite"
    if name.endswith("/moving_variance") and not (array.astype(np.float64) + epsilon > 0).all():
        return "a variance not above -epsilon"
    return None


def batch_norm_epsilon(graph: Graph) -> float:
    return VARIANTS[graph.variant].epsilon


def summary(faults: Mapping[str, str]) -> str:
    """All faults on one line, grouped by kind: `missing: a, b; NaN: c`."""
    kinds: dict[str, list[str]] = {}
    for name, fault in faults.items():
        kinds.setdefault(fault, []).append(name if name.isprintable() else ascii(name))
    return "; ".join(f"{fault}: {_listed(names)}" for fault, names in kinds.items())


def _listed(names: list[str]) -> str:
    more = len(names) - MOST_LISTED
    return ", ".join(names[:MOST_LISTED]) + (f" and {more} more" if more > 0 else "")
