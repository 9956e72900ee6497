"""What another order or form would have given: the replay again, with the layers of one kind computed otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arithmetic import BATCH_NORM_FORMS, ROUNDED_BEFORE
from ..arithmetic.plan import plan
from ..drift.explanation import Otherwise
from ..drift.measures import relative_l2
from ..forward import predict
from ..graph import Graph
from ..weights import Weights

Array = NDArray[np.floating]
Settings = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Way:
    """how: in words.  changes: operation -> fields of Arithmetic that its layers have instead of their own."""

    how: str
    changes: Mapping[str, Mapping[str, Any]]

    @property
    def operation(self) -> str:
        """The one that is changed; "" for several."""
        return next(iter(self.changes)) if len(self.changes) == 1 else ""


ONCE: Mapping[str, Mapping[str, Any]] = {
    "conv2d": {"order": "exact"},
    "batch_norm": {"precision": "float64"},
    "mean_pool": {"precision": "float64"},
    "dense": {"order": "exact"},
}
"""Of each operation, what rounds its result once: sums without any rounding, or float64, whose results the next layer
reads in float32."""

ROUNDED_ONCE = "rounded once"

WAYS = (
    *(
        Way(how, {operation: fields})
        for operation in ("conv2d", "dense")
        for how, fields in (
            (ROUNDED_ONCE, ONCE[operation]),
            ("sequential", {"order": "sequential"}),
            ("pairwise:8", {"order": "pairwise:8"}),
        )
    ),
    Way(ROUNDED_ONCE, {"batch_norm": ONCE["batch_norm"]}),
    *(Way(form, {"batch_norm": {"batch_norm": form}}) for form in ("centred", "shifted", "shifted-fma")),
    Way(ROUNDED_ONCE, {"mean_pool": ONCE["mean_pool"]}),
    Way(ROUNDED_ONCE, ONCE),
)


@dataclass(frozen=True)
class Replay:
    """How a backend computes a network: keywords of predict, a mapping of layers for each field.

    constants: of its batch normalisations, `conv1_bn/scale` -> (channels,).
    """

    graph: Graph
    settings: Settings
    constants: Mapping[str, Array] = field(default_factory=dict)

    def changed(self, way: Way) -> Replay:
        """The same, but for the layers that are computed otherwise: of what those had only the formats stay, that of a
        sum before its bias among them.

        What is rounded once has its own, and none of sums.
        """
        other = {node.name: way.changes[node.operation] for node in self.graph.nodes if node.operation in way.changes}
        once = way.how == ROUNDED_ONCE

        def stays(name: str, value: Any) -> bool:
            formats = name == "accumulate" or (name == "bias" and value in ROUNDED_BEFORE)
            return name == "precision" or (formats and not once)

        settings: dict[str, dict[str, Any]] = {
            name: {layer: value for layer, value in values.items() if layer not in other or stays(name, value)}
            for name, values in self.settings.items()
        }
        for layer, fields in other.items():
            for name, value in fields.items():
                settings.setdefault(name, {})[layer] = value
        if "batch_norm" in way.changes:
            settings.pop("addition", None)  # the forms of additions are those of what they add
        constants = {key: value for key, value in self.constants.items() if _reads(other, key)}
        return Replay(self.graph, {name: values for name, values in settings.items() if values}, constants)

    def same(self, other: Replay) -> bool:
        """Whether every layer is computed alike."""
        mine, theirs = (plan(self.graph.names, each.settings) for each in (self, other))
        return mine == theirs and self.constants.keys() == other.constants.keys()

    def logits(self, x: Array, weights: Weights, threads: int | None) -> Array:
        how: dict[str, Any] = {**self.settings, "constants": self.constants}
        return predict(x, weights, **how, threads=threads, classifier_activation=None)


def _reads(other: Mapping[str, Mapping[str, Any]], constant: str) -> bool:
    """Whether a layer still has use for a constant of its own: other forms read it, results rounded once do not."""
    layer, _, name = constant.partition("/")
    if layer not in other:
        return True
    form = other[layer].get("batch_norm")
    return form is not None and name in BATCH_NORM_FORMS[form].constants


def otherwise(
    replay: Replay, x: Array, weights: Weights, truth: Array, *, threads: int | None = None
) -> Iterator[Otherwise]:
    """Each of WAYS that is not how the replay computes anyway. truth: of the logits, float64."""
    for way in WAYS:
        other = replay.changed(way)
        if not other.same(replay):
            logits = other.logits(x, weights, threads)
            yield Otherwise(way.operation, way.how, relative_l2(logits, truth))
