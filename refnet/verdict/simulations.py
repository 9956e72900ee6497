"""The float32 arithmetics that a backend is held against: what it could have done and still only have rounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arithmetic import Arithmetic
from ..graph import Node
from ..provenance import sha256_of_arrays

ROOT_ULPS = 2
"""How far an approximate reciprocal root may be off: an estimate of 14 bits after one Newton step is right to 2 ulp."""


@dataclass(frozen=True)
class Simulation:
    """name: what a verdict calls it, and `refnet.predict(order=...)` understands where it is one order alone.

    settings: fields of Arithmetic.  spread: whether it is one of the worst kind, a single chain of all terms, from
    whose spread thresholds come.  root_ulps: by how many ulp, at most, s of batch normalisation is off, drawn for each
    channel.  terms: which numbers of terms it is for.  revealed: whether probes of the backend found it.  constants: of
    its batch normalisation, read off the backend (ops.norm_vectors), such as scale.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    spread: bool = False
    root_ulps: int = 0
    terms: Callable[[int], bool] = lambda terms: True
    revealed: bool = False
    constants: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)

    def arithmetic(self, precision: str) -> Arithmetic:
        return Arithmetic(precision=precision, **self.settings)

    @property
    def key(self) -> tuple[str, ...]:
        """What tells it from others: its name, its settings, and a hash of its constants."""
        settings = (f"{name}={value}" for name, value in self.settings.items())
        return self.name, *settings, sha256_of_arrays(dict(self.constants))

    def weights(self, weights: Mapping[str, Any], nodes: Sequence[Node]) -> Mapping[str, Any]:
        """The weights with the batch normalisations' gamma, and so s, off by up to root_ulps of float32."""
        norms = [node for node in nodes if node.operation == "batch_norm"]
        if not self.root_ulps or not norms:
            return weights
        return {
            f"{node.name}/{key}": _off(weights[f"{node.name}/{key}"], self.root_ulps if key == "gamma" else 0)
            for node in nodes
            for key in node.weights
        }


def _off(vector: NDArray[np.floating], ulps: int) -> NDArray[np.floating]:
    if not ulps:
        return vector
    steps = np.random.default_rng(0).integers(-ulps, ulps + 1, vector.shape)
    moved: NDArray[np.floating] = (vector * (1 + steps * 2.0**-23)).astype(np.float32)
    return moved


def _order(text: str, *, spread: bool = False, terms: Callable[[int], bool] = lambda terms: True, **more: Any) -> Any:
    said = ", ".join([text, *(f"{key}={value}" for key, value in more.items())])
    return Simulation(said, {"order": text, **more}, spread, terms=terms)


def _blocks(*sizes: int) -> Simulation:
    text = "blocks:" + ",".join(map(str, sizes))
    if len(sizes) == 1:
        return _order(text, terms=lambda terms: terms > sizes[0])
    return _order(text, terms=lambda terms: terms == sum(sizes))


PRODUCT_ORDERS: tuple[Simulation, ...] = (
    _order("sequential", spread=True),
    _order("sequential", spread=True, fma=False),
    _order("sequential", spread=True, bias="first"),
    _order("reversed", spread=True),
    _order("permuted:0", spread=True),
    _order("permuted:1", spread=True, fma=False),
    _order("lanes:16"),
    _order("pairwise:8"),
    _blocks(512),
    _blocks(1280, 768),
    _blocks(736, 736, 576),
)
"""Of convolution and dense. The worst kind first: one chain of all terms."""

MEAN_ORDERS: tuple[Simulation, ...] = (
    _order("sequential", spread=True),
    _order("reversed", spread=True),
    _order("permuted:0", spread=True),
    _order("permuted:1", spread=True),
    _order("blocks:16", terms=lambda terms: terms > 16),
    _order("lanes:4"),
    _order("pairwise"),
)

NORM_FORMS: tuple[Simulation, ...] = tuple(
    Simulation(
        ", ".join([form, *([f"shift={shift}"] if shift != "rounded" else []), *(["approximate root"] if ulps else [])]),
        {"batch_norm": form, "shift": shift},
        True,
        ulps,
    )
    for form, shift, ulps in (
        ("centred", "rounded", 0),
        ("shifted", "rounded", 0),
        ("shifted-fma", "fused", 0),
        ("shifted-fma", "rounded", 0),
        ("shifted", "fused", 0),
        ("centred", "rounded", ROOT_ULPS),
        ("shifted", "rounded", ROOT_ULPS),
    )
)

FUSED: tuple[Simulation, ...] = (
    Simulation("sequential, centred", {"order": "sequential", "batch_norm": "centred"}, True),
    Simulation("sequential, shifted", {"order": "sequential", "fma": False, "batch_norm": "shifted"}, True, ROOT_ULPS),
    Simulation("reversed, shifted-fma", {"order": "reversed", "batch_norm": "shifted-fma"}, True, ROOT_ULPS),
    Simulation("permuted:0, centred", {"order": "permuted:0", "batch_norm": "centred"}, True, ROOT_ULPS),
    Simulation("sequential, folded", {"order": "sequential", "batch_norm": "folded"}, True),
)
"""Of runs of layers that are computed together."""

ONE_ROUNDING = (Simulation("exact", {}, True),)
"""Of operations that round at most once, whatever the order: everyone must give these bits."""

SIMULATIONS: Mapping[str, tuple[Simulation, ...]] = {
    "conv2d": PRODUCT_ORDERS,
    "dense": PRODUCT_ORDERS,
    "mean_pool": MEAN_ORDERS,
    "batch_norm": NORM_FORMS,
    **dict.fromkeys(("input", "pad", "relu", "max_pool", "add"), ONE_ROUNDING),
}


def terms_of(node: Node, inputs: Mapping[str, NDArray[np.floating]]) -> int:
    """K, the terms of each of the layer's sums; 1 where it has none."""
    if "kernel" in node.weights:
        return int(prod(node.weights["kernel"][:-1]))
    if node.operation == "mean_pool":
        return int(prod(inputs[node.inputs[0]].shape[1:3]))
    return 1


def simulations_of(nodes: Sequence[Node], inputs: Mapping[str, NDArray[np.floating]]) -> Iterator[Simulation]:
    """Those of a layer, or of several that are computed together."""
    last = nodes[-1]
    operations = {node.operation for node in nodes}
    if len(nodes) > 1:
        together = ONE_ROUNDING if operations <= {"add", "relu"} else NORM_FORMS
        yield from FUSED if "conv2d" in operations else together
        return
    terms = terms_of(last, inputs)
    yield from (row for row in SIMULATIONS[last.operation] if row.terms(terms))
