"""What a child left behind: read it, and refuse it unless it is whole and was made as it was asked for."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, VariantError
from ..graph import Graph
from ..provenance import sha256_of_array, usable_cores
from ..trace import Trace, open_layer
from .variant import Variant

PLAIN_LOGITS = "logits of the plain model"
SHOWN = 3  # names in a reason; the rest is counted


def read_result(
    folder: Path,
    graph: Graph,
    weights: Mapping[str, np.ndarray],
    batch: int,
    variant: Variant,
    threads: int | None = None,
) -> tuple[Trace, np.ndarray]:
    """The trace, in the graph's order, and the plain model's logits; NaN and infinity are results too.

    Raises VariantError, with the reason as text, for layers that are missing or have another shape, and where either
    model was another than asked for: held other weights than `weights`, ran in another backend, environment, policy,
    data format, setting or mode than `variant` says, or on another number of threads.
    """
    try:
        found = Trace.load(folder / "trace")
    except InputError as error:
        raise VariantError(f"left no whole result: {error}") from error
    trace = complete(found, graph, batch)
    logits = read_logits(folder, trace, graph.output.name)
    told = _mapping(trace.provenance.get("backend"))
    _check_told("the process", _mapping(told.get("environment")), variant.environment)
    checked = None
    for name, model in models(told).items():
        if checked is None or model.get("weights") != checked:
            checked = model.get("weights")
            check_weights(name, checked, weights)
        _check_model(name, model, variant, threads)
    return trace, logits


def models(told: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """What a child tells of its two models, by what they are called."""
    return {"the plain model": told, "the model of all layers": _mapping(told.get("layered"))}


def condensed(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """A run's provenance without the hash of each tensor of each model: `check_weights` was content with them."""

    def counted(model: Mapping[str, Any]) -> dict[str, Any]:
        held = model.get("weights")
        told = {"weights": f"{len(held)} tensors, those that were given"} if isinstance(held, Mapping) else {}
        return {**model, **told}

    told = provenance.get("backend")
    if not isinstance(told, Mapping):
        return dict(provenance)
    layered = {"layered": counted(told["layered"])} if isinstance(told.get("layered"), Mapping) else {}
    return {**provenance, "backend": {**counted(told), **layered}}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def read_logits(folder: Path, trace: Trace, output: str) -> np.ndarray:
    """Those of the plain model, memory-mapped: of the shape and dtype that the trace's layer `output` has.

    Raises VariantError for any other, and where their sha256 is not the one that the child told, if it did.
    """
    layer, told = trace[output], _mapping(_mapping(trace.provenance.get("backend")).get("logits"))
    entry = {"name": PLAIN_LOGITS, "file": "logits.npy", "dtype": layer.dtype.name, "shape": layer.shape}
    try:
        return open_layer(folder, {**entry, "sha256": told.get("sha256")})
    except InputError as error:
        raise VariantError(f"left no whole result: {error}") from error


def remarks(trace: Trace, logits: np.ndarray) -> str:
    """What a result that is whole has to say: numbers that are not finite, places of a batch that differ; or ""."""
    return "; ".join(filter(None, (_nonfinite(trace, logits), _differing_places(trace))))


def _differing_places(trace: Trace) -> str:
    """Where the copies of one picture in one batch did not give the same bits."""
    backend = _mapping(trace.provenance.get("backend"))
    layers = list(_mapping(backend.get("layered")).get("differing_places", []))
    if _mapping(backend.get("logits")).get("places_differ"):
        layers.append(PLAIN_LOGITS)
    return f"copies of one picture in a batch differ in {_some(layers)}" if layers else ""


def _nonfinite(trace: Trace, logits: np.ndarray) -> str:
    """How many numbers are NaN or infinite and where the first are; "" if none."""
    arrays = {**trace, PLAIN_LOGITS: logits}
    counts = {name: array.size - int(np.isfinite(array).sum()) for name, array in arrays.items()}
    first = next((name for name, count in counts.items() if count), None)
    return f"{sum(counts.values())} numbers are NaN or infinite, first in {first}" if first else ""


def reason_of_status(status: int, log: Path) -> str:
    """Why a child that ended with this exit status gave nothing."""
    text = reason_in_log(log.read_text(encoding="utf-8", errors="replace"))
    if status < 0:
        hint = " (out of memory?)" if -status == signal.SIGKILL else f" ({_signal_name(-status)})"
        last_words = f": {text}" if -status == signal.SIGABRT and text else ""  # it ended itself, and may have said why
        return f"killed by signal {-status}{hint}{last_words}"
    if status > 0:
        return text or f"ended with exit status {status}"
    return "ended without a result"


def reason_in_log(text: str) -> str:
    """The last meaningful line: the error of the last traceback, else the last line that is not blank."""
    _, traceback, tail = text.rpartition("Traceback (most recent call last):\n")
    if traceback:
        errors = [line for line in tail.splitlines() if re.match(r"[A-Za-z_][\w.]*(:|$)", line)]
        if errors:
            return errors[0].strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def complete(found: Trace, graph: Graph, batch: int) -> Trace:
    """The layers of the graph, in its order. Raises VariantError where one is missing or has another shape."""
    missing = [name for name in graph.names if name not in found]
    if missing:
        raise VariantError(f"the trace lacks {_some(missing)}")
    shapes = {node.name: (batch, *node.shape) for node in graph.nodes}
    wrong = [f"{name} {found[name].shape} for {shape}" for name, shape in shapes.items() if found[name].shape != shape]
    if wrong:
        raise VariantError(f"layers have another shape: {_some(wrong)}")
    return Trace({name: found[name] for name in graph.names}, found.provenance, found.formats)


def _check_model(name: str, told: Mapping[str, Any], variant: Variant, threads: int | None) -> None:
    """What a model said of itself against what was asked for.

    A backend need not tell its threads, and may start fewer where more are asked for than there are cores.
    """
    started = told.get("threads")
    excused = threads is None or started is None or (threads > usable_cores() and started < threads)
    asked = {
        "backend": variant.backend,
        "dtype_policy": variant.dtype_policy,
        "data_format": variant.data_format,
        "threads": None if excused else threads,
        **variant.settings,
        **variant.compile,
        **variant.expect,
    }
    _check_told(name, told, asked)


def _check_told(name: str, told: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """What was told of itself against what was asked for, None being no question."""
    for what, value in asked.items():
        if value is not None and told.get(what) != value:
            raise VariantError(f"{name} had the {what} {told.get(what)} instead of {value}")


def check_weights(model: str, held: Any, weights: Mapping[str, np.ndarray]) -> None:
    """The tensors that the model held, by hash, against ours rounded to the type that it holds them in.

    Raises VariantError where they differ, or where it did not say which it held.
    """
    if not isinstance(held, dict):
        raise VariantError(f"did not say which weights {model} held")
    absent = sorted(set(weights) ^ set(held))
    if absent:
        raise VariantError(f"{model} and the weights differ in {_some(absent)}")
    try:
        other = [
            name
            for name, tensor in weights.items()
            if sha256_of_array(tensor.astype(held[name]["dtype"], copy=False)) != held[name]["sha256"]
        ]
    except (KeyError, TypeError) as error:
        raise VariantError(f"said in an unknown way which weights {model} held: {json.dumps(held)[:80]}") from error
    if other:
        raise VariantError(f"{model} held other weights than were given to it: {_some(other)}")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
