"""What a child left behind: read it, and refuse it unless it is whole, finite and made from the same weights."""

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
from ..provenance import sha256_of_array
from ..trace import Trace

SHOWN = 3  # names in a reason; the rest is counted


def read_result(folder: Path, graph: Graph, weights: Mapping[str, np.ndarray], batch: int) -> tuple[Trace, np.ndarray]:
    """The trace, in the graph's order, and the plain model's logits.

    Raises VariantError, with the reason as text, for layers that are missing or have another shape, for NaN and
    infinity, and for a backend that held other weights than `weights`.
    """
    try:
        found = Trace.load(folder / "trace")
        logits = np.load(folder / "logits.npy", mmap_mode="r", allow_pickle=False)
    except (InputError, OSError, ValueError, EOFError) as error:
        raise VariantError(f"left no whole result: {error}") from error
    trace = _complete(found, graph, batch)
    if not isinstance(logits, np.ndarray) or logits.shape != (batch, *graph.output.shape):
        raise VariantError(f"logits have the shape {getattr(logits, 'shape', None)}")
    _check_finite({**trace, "logits of the plain model": logits})
    _check_weights(trace.provenance.get("backend"), weights)
    return trace, logits


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


def _check_finite(arrays: Mapping[str, np.ndarray]) -> None:
    for name, array in arrays.items():
        bad = array.size - int(np.isfinite(array).sum())
        if bad:
            kind = "NaN" if np.isnan(array).any() else "infinity"
            raise VariantError(f"returned {kind}: first in {name}, {bad} of {array.size} values")


def _check_weights(backend: object, weights: Mapping[str, np.ndarray]) -> None:
    """The tensors that the model held, by hash, against ours rounded to the type that it holds them in."""
    held: Any = backend.get("weights") if isinstance(backend, dict) else None
    if not isinstance(held, dict):
        raise VariantError("did not say which weights it held")
    absent = sorted(set(weights) ^ set(held))
    if absent:
        raise VariantError(f"the model and the weights differ in {_some(absent)}")
    try:
        other = [
            name
            for name, tensor in weights.items()
            if sha256_of_array(tensor.astype(held[name]["dtype"], copy=False)) != held[name]["sha256"]
        ]
    except (KeyError, TypeError) as error:
        raise VariantError(f"said in an unknown way which weights it held: {json.dumps(held)[:80]}") from error
    if other:
        raise VariantError(f"held other weights than were given to it: {_some(other)}")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
