"""The diagnosis with a trace: pictures against pictures, layers against layers, then everything together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arithmetic import Arithmetic
from ..forward.walk import evaluate
from .change import Change, applied
from .finer import finer_departures
from .free_layer import misfit
from .layers import Layers, explain
from .oracle import engines
from .pictures import Source
from .program import Program
from .spread import ORDERS, rounding_limit
from .trials import Trials

Array = NDArray[np.floating]
SAME_PICTURES = 2e-6  # RMS of a difference over the RMS: resizing in float32 is about 1e-7, an 8-bit step 1e-3
FEW = 3  # layers left free at most; a program that departs in more does something else everywhere


@dataclass(frozen=True)
class Traced:
    """changes: that explain what departs.  free: layers whose weights are others, with what is known of each.

    departing: layers of the unchanged program, `input_layer` first where the pictures are others. after: the residual
    with all of it.  explained: whether nothing is left.
    """

    changes: tuple[Change, ...]
    free: Mapping[str, str]
    departing: tuple[str, ...]
    after: float
    explained: bool


@dataclass(frozen=True)
class Seen:
    """What a trace's layers show, each by itself. program: with the trace's pictures.  known: the trace.

    pictures: the changes that explain the trace's pictures; None where they are the same, () where nothing does.
    chosen: changes that explain layers.  left, departing: layers that nothing explains, and all that depart.
    free: of those left, layers that other weights would explain, with what is known of each.
    """

    program: Program
    known: Mapping[str, Array]
    pictures: tuple[Change, ...] | None
    chosen: tuple[Change, ...]
    left: tuple[str, ...]
    departing: tuple[str, ...]
    free: Mapping[str, str]


def seen_in(trace: Mapping[str, Array], program: Program, changes: Sequence[Change], threads: int | None) -> Seen:
    """What the trace shows of a program that was meant to be this one."""
    pictures, program = _pictures(program, trace, changes)
    layers = Layers(program, trace, threads=threads)
    chosen, left = explain(layers, changes)
    finer = () if left else finer_departures(layers, {name for change in chosen for name in change.layers})
    left = (*left, *finer)
    departing = tuple(name for name in program.graph.names if name in {*layers.departing, *finer})
    free = dict(_free(layers, chosen, left)) if len(left) <= FEW else {}
    return Seen(program, layers.known, pictures, chosen, left, departing, free)


def traced(trials: Trials, trace: Mapping[str, Array]) -> Traced:
    """What the trace shows; see Traced."""
    threads = trials.reference.oracle.threads
    seen = seen_in(trace, trials.reference.program, trials.reference.changes, threads)
    entry = seen.program.graph.nodes[0].name
    departs = seen.pictures is not None
    known = {name: seen.known[name] for name in seen.free}
    after, threshold = _together(trials, applied(seen.program, *seen.chosen), known, threads)
    everything = set(seen.left) <= seen.free.keys() and seen.pictures != ()
    return Traced(
        (*(seen.pictures or ()), *seen.chosen),
        seen.free,
        (*((entry,) if departs else ()), *seen.departing),
        after,
        bool(departs or seen.departing) and everything and after <= threshold,
    )


def _pictures(
    program: Program, trace: Mapping[str, Array], changes: Sequence[Change]
) -> tuple[tuple[Change, ...] | None, Program]:
    """The changes that explain the trace's pictures, and the program that reads them so.

    None where they are the same or the trace has none; () where nothing explains them: the program then takes them as
    they are.
    """
    there = trace.get(program.graph.nodes[0].name)
    if there is None or _same(program.x, there):
        return None, program
    own = [change for change in changes if change.stage == "picture"]
    pairs = ((a, b) for a, b in combinations(own, 2) if not a.excludes(b))
    for tried in (*((change,) for change in own), *pairs):
        changed = applied(program, *tried)
        if _same(changed.x, there):
            return tried, changed
    if there.shape[-1:] != program.x.shape[-1:] or there.ndim != 4:
        return (), program
    return (), replace(program, source=Source(np.array(there, np.float32)))


def _same(here: Array, there: Array) -> bool:
    if here.shape != there.shape:
        return False
    error = np.sqrt(np.mean(np.square(here.astype(np.float64) - there)))
    return bool(error <= SAME_PICTURES * np.sqrt(np.mean(np.square(here, dtype=np.float64))))


def _free(layers: Layers, chosen: tuple[Change, ...], left: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Layers with weights that other weights explain, and how well that is known."""
    program = applied(layers.program, *chosen)
    for name in left:
        node = program.graph[name]
        if not node.weights or not all(entry in layers.known for entry in node.inputs):
            continue
        inputs = [np.asarray(layers.known[entry], np.float32) for entry in node.inputs]
        error = misfit(node, inputs[0], np.asarray(layers.known[name]))
        if error is None:
            yield name, "other weights would explain what it gives; the trace has too few values to prove it"
        elif error <= layers.threshold(program, node, inputs):
            yield name, "what it gives is to rounding what such a layer gives with other weights (least squares)"


def _together(trials: Trials, program: Program, known: Mapping[str, Array], threads: int) -> tuple[float, float]:
    """The residual with everything that was found, and what rounding explains of it."""

    def outputs(arithmetic: Arithmetic) -> NDArray[np.float64]:
        return trials.given(_computed(replace(program, arithmetic=arithmetic), known, threads))

    truth = outputs(Arithmetic("float64"))
    limit = rounding_limit([trials.apart(outputs(Arithmetic(**way)), truth) for way in ORDERS])
    return trials.residual(truth), max(limit, trials.rounding) + trials.stored


def _computed(program: Program, known: Mapping[str, Array], threads: int) -> Any:
    """The logits, some layers' activations being given."""
    own = engines(program, threads, {})
    made: dict[str, Any] = {}
    for node in program.graph.nodes:
        inputs = [made[name] for name in node.inputs] or [program.x]
        if node.name in known:
            made[node.name] = np.asarray(known[node.name], program.arithmetic.storage.working)
        else:
            with np.errstate(all="ignore"):
                made[node.name] = evaluate(node, own[node.name], program.tensors, *inputs)
    return made[program.graph.output.name]
