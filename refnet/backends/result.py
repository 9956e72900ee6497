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
from ..trace import Trace
from .variants import Variant

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
    model was another than asked for: held other weights than `weights`, ran in another backend, dtype policy or
    inference precision than `variant` says, or on another number of threads.
    """
    try:
        found = Trace.load(folder / "trace")
        logits = np.load(folder / "logits.npy", mmap_mode="r", allow_pickle=False)
    except (InputError, OSError, ValueError, EOFError) as error:
        raise VariantError(f"left no whole result: {error}") from error
    trace = _complete(found, graph, batch)
    if not isinstance(logits, np.ndarray) or logits.shape != (batch, *graph.output.shape):
        raise VariantError(f"logits have the shape {getattr(logits, 'shape', None)}")
    told = trace.provenance.get("backend")
    plain = told if isinstance(told, dict) else {}
    layered = plain.get("layered")
    for name, model in (("the plain model", plain), ("the model of all layers", layered)):
        _check_model(name, model if isinstance(model, dict) else {}, weights, variant, threads)
    return trace, logits


def nonfinite(trace: Trace, logits: np.ndarray) -> str:
    """How many numbers are NaN or infinite and where the first are; "" if none."""
    arrays = {**trace, "logits of the plain model": logits}
    counts = {name: array.size - int(np.isfinite(array).sum()) for name, array in arrays.items()}
    first = next((name for name, count in counts.items() if count), None)
    return f"{sum(counts.values())} numbers are NaN or infinite, first in {first}" if first else ""


def reason_of_status(status: int, log: Path) -> str:
    """Why a child that ended with this exit status gave nothing."""
    if status < 0:
        hint = " (out of memory?)" if -status == signal.SIGKILL else f" ({_signal_name(-status)})"
        return f"killed by signal {-status}{hint}"
    if status > 0:
        return reason_in_log(log.read_text(encoding="utf-8", errors="replace")) or f"ended with exit status {status}"
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


def _complete(found: Trace, graph: Graph, batch: int) -> Trace:
    missing = [name for name in graph.names if name not in found]
    if missing:
        raise VariantError(f"the trace lacks {_some(missing)}")
    shapes = {node.name: (batch, *node.shape) for node in graph.nodes}
    wrong = [f"{name} {found[name].shape} for {shape}" for name, shape in shapes.items() if found[name].shape != shape]
    if wrong:
        raise VariantError(f"layers have another shape: {_some(wrong)}")
    return Trace({name: found[name] for name in graph.names}, found.provenance)


def _check_model(
    name: str, told: Mapping[str, Any], weights: Mapping[str, np.ndarray], variant: Variant, threads: int | None
) -> None:
    """What a model said of itself against what was asked for.

    A backend need not tell its threads, and may start fewer where more are asked for than there are cores.
    """
    started = told.get("threads")
    excused = threads is None or started is None or (threads > usable_cores() and started < threads)
    asked = {
        "backend": variant.backend,
        "dtype_policy": variant.dtype_policy,
        "inference_precision": variant.inference_precision,
        "threads": None if excused else threads,
    }
    _check_weights(name, told.get("weights"), weights)
    for what, value in asked.items():
        if value is not None and told.get(what) != value:
            raise VariantError(f"{name} had the {what} {told.get(what)} instead of {value}")


def _check_weights(model: str, held: Any, weights: Mapping[str, np.ndarray]) -> None:
    """The tensors that the model held, by hash, against ours rounded to the type that it holds them in."""
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
