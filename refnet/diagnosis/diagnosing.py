"""diagnose: from a foreign program's outputs to what it does otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..weights import Weights
from .answer import answer
from .checked_trace import checked_trace
from .outputs import checked_outputs
from .reference import Reference
from .result import Diagnosis
from .search import search
from .traced import traced
from .trials import Progress, TimeIsUpError, Trials

BUDGET = 300.0
ACTIVATIONS: Mapping[str | None, int] = {"softmax": 1, None: 0}


def diagnose(
    outputs: NDArray[np.floating],
    x: NDArray[np.floating] | None,
    w: Weights,
    *,
    trace: Mapping[str, NDArray[np.floating]] | None = None,
    image: str | Path | Sequence[str | Path] | None = None,
    size: tuple[int, int] | None = None,
    other: Mapping[str, NDArray[np.floating]] | None = None,
    classifier_activation: str | None = "softmax",
    budget: float = BUDGET,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Diagnosis:
    """What a program does otherwise, whose `outputs` for these pictures and weights are not refnet's.

    outputs: (n, classes), logits or softmax, which is found out.  x: (n, height, width, 3), preprocessed as Keras does
    (load_image), or None where image, one picture's file or several, is given; size is then (height, width), by default
    224 x 224. Changes of resizing, cropping and decoding need the files.  w: what the program was meant to use.
    trace: the program's activations by Keras's layer names, as many as there are; every layer is then held against what
    refnet makes of the trace's own inputs.  other: another checkpoint's tensors, one layer of which it may have.
    classifier_activation: what the outputs were meant to be: "softmax", or None for logits.
    budget: seconds after which the search ends.  progress: see Progress.

    Each change is tried alone, then in pairs; one is the cause where the residual collapses to what rounding explains:
    see refnet.diagnosis.spread. Ctrl-C ends the search and keeps what was found. Raises InputError for outputs of
    another shape or with NaN, and for what is wrong with pictures, weights or trace.
    """
    reference = Reference(x, w, image=image, size=size, other=other, threads=threads)
    return diagnose_with(
        reference, outputs, trace=trace, classifier_activation=classifier_activation, budget=budget, progress=progress
    )


def diagnose_with(
    reference: Reference,
    outputs: NDArray[np.floating],
    *,
    trace: Mapping[str, NDArray[np.floating]] | None = None,
    classifier_activation: str | None = "softmax",
    budget: float = BUDGET,
    progress: Progress | None = None,
) -> Diagnosis:
    """`diagnose` with a Reference that was made before: the way to diagnose several programs on the same pictures."""
    if classifier_activation not in ACTIVATIONS:
        raise InputError(f"classifier_activation={classifier_activation!r}", expected="'softmax' or None")
    if not budget >= 0:  # NaN too
        raise InputError(f"budget {budget}", expected="seconds, 0 or more")
    array = checked_outputs(outputs, len(reference.program.x), reference.classes)
    checked = None if trace is None else checked_trace(trace, reference.program)
    trials = Trials(array, reference, budget, progress or _silent)
    seen, found, finished, interrupted = None, None, True, False
    try:
        if checked is not None:
            seen = traced(trials, checked)
        if not trials.agrees and not (seen and seen.explained):
            found = search(trials, reference.changes)
    except (TimeIsUpError, KeyboardInterrupt) as stop:
        found, finished, interrupted = trials.collapsed, False, isinstance(stop, KeyboardInterrupt)
    said = answer(trials, ACTIVATIONS[classifier_activation], seen, found, finished=finished)
    return replace(said, finished=finished, interrupted=interrupted)


def _silent(what: str, done: int, total: int) -> None:
    """Progress that nobody watches."""
