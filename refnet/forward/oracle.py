"""The oracle: `predict` for the last layer, `activations` for every layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import ArrayLike

from ..arithmetic import Arithmetic, Order
from ..arithmetic.big_floats import BigFloats
from ..arithmetic.environment import check_environment
from ..arithmetic.plan import plan
from ..errors import InputError
from ..graph import Node
from ..kernels.threads import usable_threads
from ..provenance import provenance, sha256_of_array
from ..trace import Trace
from ..weights import Weights
from .big_engine import BigEngine
from .checks import check_orders, checked_pictures, digits_asked_for, joined_layers
from .constants import NO_CONSTANTS, checked_constants
from .engine import Engine, SpecEngine
from .kernel_engine import Kept, fastest_engine
from .multiprecision import MultiprecisionEngine
from .walk import Probe, walk

PerLayer = Mapping[str, Any]
Progress = Callable[[Node], None]
ACTIVATIONS = ("softmax", None)
ENGINES = ("kernels", "spec")

_kept: WeakKeyDictionary[Weights, Kept] = WeakKeyDictionary()
_kept_residues: WeakKeyDictionary[Weights, dict[str, Any]] = WeakKeyDictionary()


def predict(
    x: np.ndarray,
    weights: Mapping[str, np.ndarray],
    *,
    precision: str | PerLayer = "float32",
    accumulate: str | PerLayer | None = None,
    order: str | Order | PerLayer = "sequential",
    fma: bool | PerLayer | None = None,
    bias: str | PerLayer = "last",
    batch_norm: str | PerLayer = "centred",
    shift: str | PerLayer = "rounded",
    mean: str | PerLayer = "divide",
    relu: str | PerLayer = "positive",
    addition: str | PerLayer = "outputs",
    parts: Sequence[Any] | PerLayer = (),
    constants: Mapping[str, ArrayLike] | None = None,
    threads: int | None = None,
    classifier_activation: str | None = "softmax",
    engine: str = "kernels",
    progress: Progress | None = None,
) -> np.ndarray:
    """What Keras's ResNet `predict` gives, computed in the arithmetic that is asked for.

    x: (n, height, width, 3), preprocessed pictures (load_image).  weights: load_weights' value.
    precision, accumulate, order, fma, bias, batch_norm, shift, mean, relu, addition, parts: the fields of Arithmetic,
    which explains them; each may be a mapping from pattern of layer names to value (`{"conv5_*": "blocks:512"}`), the
    first match counts.  precision="mpN": N decimal digits; the order is exact and the other fields must be left alone.
    constants: given for batch normalisations instead of computed, one number for each channel: `conv1_bn/inverse` for
    1 / sqrt(variance + epsilon), `conv1_bn/scale` for s, `conv1_bn/shift` for t.
    threads: default, the cores that this process may use; the bits never depend on it.
    classifier_activation: "softmax", or None for logits.  engine: "kernels", or "spec" for the NumPy definition,
    which has the same bits and is slow.  progress: called before each step, with the node of its last layer (several
    layers may be one step). What the weights become for the kernels is kept as long as the weights live.

    Returns (n, classes) in the precision's result type (float32 for bfloat16 and for what stores float32; a
    DoubleDouble for double-double; mpmath.mpf objects for mpN), or (n, height, width, channels) for weights without
    top. Raises InputError for bad input.
    """
    settings = _settings(precision, accumulate, order, fma, bias, batch_norm, shift, mean, relu, addition, parts)
    run = _Run(x, weights, settings, constants, threads, classifier_activation, engine)
    y = run.export(run.graph.output, run.walk(None, progress))
    return y.to_mpf() if isinstance(y, BigFloats) else y


def activations(
    x: np.ndarray,
    weights: Mapping[str, np.ndarray],
    *,
    precision: str | PerLayer = "float32",
    accumulate: str | PerLayer | None = None,
    order: str | Order | PerLayer = "sequential",
    fma: bool | PerLayer | None = None,
    bias: str | PerLayer = "last",
    batch_norm: str | PerLayer = "centred",
    shift: str | PerLayer = "rounded",
    mean: str | PerLayer = "divide",
    relu: str | PerLayer = "positive",
    addition: str | PerLayer = "outputs",
    parts: Sequence[Any] | PerLayer = (),
    constants: Mapping[str, ArrayLike] | None = None,
    threads: int | None = None,
    classifier_activation: str | None = None,
    engine: str = "kernels",
    progress: Progress | None = None,
) -> Trace:
    """The Trace of every layer, keywords as in `predict`; `predictions` are the logits unless softmax is asked for.

    In mpN the layers are BigFloats, from which an index takes an mpmath.mpf.
    """
    settings = _settings(precision, accumulate, order, fma, bias, batch_norm, shift, mean, relu, addition, parts)
    run = _Run(x, weights, settings, constants, threads, classifier_activation, engine)
    seen: dict[str, np.ndarray] = {}

    def probe(node: Node, activation: Any) -> None:
        seen[node.name] = run.export(node, activation)

    run.walk(probe, progress)
    return Trace(seen, run.provenance())


def _settings(*values: Any) -> dict[str, Any]:
    return dict(zip((field.name for field in fields(Arithmetic)), values, strict=True))


class _Run:
    """One forward pass, checked before it starts."""

    def __init__(
        self,
        x: np.ndarray,
        weights: Mapping[str, np.ndarray],
        settings: dict[str, Any],
        constants: Mapping[str, ArrayLike] | None,
        threads: int | None,
        activation: str | None,
        engine: str,
    ) -> None:
        check_environment()
        if activation not in ACTIVATIONS:
            raise InputError(f"classifier_activation={activation!r}", expected="'softmax' or None")
        if engine not in ENGINES:
            raise InputError(f"engine={engine!r}", expected=f"one of {', '.join(ENGINES)}")
        self.x = checked_pictures(x)
        self.weights = weights if isinstance(weights, Weights) else Weights(weights)
        self.graph = self.weights.graph(self.x.shape[1:3])
        self.settings, self.engine = settings, engine
        self.softmax = activation == "softmax" and self.graph.output.operation == "dense"
        self.threads = usable_threads(threads)
        self.joined: frozenset[str] = frozenset()
        self.constants = NO_CONSTANTS
        self.engines = self._engines(constants)

    def _engines(self, constants: Mapping[str, ArrayLike] | None) -> Mapping[str, Engine]:
        digits = digits_asked_for(self.settings)
        if digits is not None:
            if constants:
                raise InputError(f"constants with precision='mp{digits}'", do="leave them out")
            return self._big_engines(MultiprecisionEngine.of_digits(digits))
        planned = plan(self.graph.names, self.settings)
        check_orders(self.graph, planned, self.softmax)
        self.joined = joined_layers(self.graph, planned)
        self.constants = checked_constants(constants, self.graph, planned)
        if self.engine == "kernels":
            kept = _kept.setdefault(self.weights, {})
            how = (self.constants, self.threads, kept)
            return {name: fastest_engine(planned[name], name, *how) for name in self.graph.names}
        return {name: SpecEngine(planned[name], name, self.constants) for name in self.graph.names}

    def _big_engines(self, definition: MultiprecisionEngine) -> Mapping[str, Engine]:
        if self.engine == "spec":
            return dict.fromkeys(self.graph.names, definition)
        kept = _kept_residues.setdefault(self.weights, {})
        return {name: BigEngine(definition, name, self.threads, kept) for name in self.graph.names}

    def walk(self, probe: Probe | None, progress: Progress | None) -> Any:
        output = self.graph.output
        engine = self.engines[output.name]

        def before_softmax(node: Node, activation: Any) -> None:
            if probe and not (self.softmax and node is output):
                probe(node, activation)

        last = walk(
            self.graph,
            self.weights,
            self.engines,
            self.x,
            joined=self.joined,
            probe=before_softmax if probe else None,
            progress=progress,
        )
        if self.softmax:
            last = engine.softmax(last)
            if probe:
                probe(output, last)
        return last

    def export(self, node: Node, activation: Any) -> np.ndarray:
        result: np.ndarray = self.engines[node.name].export(activation)
        return result

    def provenance(self) -> dict[str, Any]:
        arithmetic = {name: str(value) for name, value in self.settings.items()}
        return provenance(
            engine=f"refnet {self.engine}",
            arithmetic=arithmetic,
            constants=self.constants.hash,
            weights=self.weights.hash,
            picture=sha256_of_array(self.x),
            graph={"name": self.graph.name, "variant": self.graph.variant},
            threads=self.threads,
        )
