"""What the outputs' form says by itself: softmax where none was meant, scaled probabilities, a narrow format."""

from __future__ import annotations

import numpy as np

from ..arithmetic.formats import round_to
from ..verdict.outputs import sum_excess
from .outputs import NARROW, comparable, floor_of, outputs_of, residual
from .result import Cause
from .trials import Trials

SOFTMAXES = {
    0: ("softmax:missing", "the outputs are logits: no softmax was taken"),
    1: ("softmax:extra", "the outputs are probabilities: a softmax was taken"),
    2: ("softmax:twice", "softmax was taken twice"),
}
SCALED = "softmax:scaled"


def form_causes(trials: Trials, meant: int) -> tuple[Cause, ...]:
    """Another number of softmaxes than meant, and rows of probabilities that do not add up to one.

    Their residuals are those of the outputs as they are, against what was meant; after is the residual of the logits.
    """
    named = [SOFTMAXES[trials.form]] if trials.form != meant else []
    if trials.form and sum_excess(trials.outputs) > 1:
        sums = trials.outputs.sum(1, dtype=np.float64)
        worst = float(sums[np.abs(sums - 1).argmax()])
        named.append((SCALED, f"the probabilities of a picture add up to {worst:.6g}, not to 1: all are scaled alike"))
    expected = outputs_of(trials.reference.oracle.logits, meant)
    size = float(np.sqrt(np.mean(np.square(expected, dtype=np.float64)))) or 1.0
    before = residual(trials.outputs, expected, size)
    return tuple(Cause(name, detail, before, trials.before) for name, detail in named)


def narrow_cause(trials: Trials, after: float, explaining: tuple[Cause, ...]) -> tuple[Cause, ...]:
    """That the outputs were kept in a narrow format, where that and no computation in it is needed to explain them."""
    name = trials.format.name
    computed_in = any(cause.name.startswith("precision:") for cause in explaining)
    if name not in NARROW or after <= trials.rounding or computed_in:
        return ()
    y = round_to(outputs_of(trials.reference.oracle.logits, trials.form), trials.format)
    kept = trials.apart(comparable(y, trials.form, floor_of(trials.format)), trials.target)
    return (Cause(f"outputs:{name}", f"the outputs were rounded to {name}", after, kept if not explaining else after),)


def untold(trials: Trials) -> tuple[str, ...]:
    """That most probabilities are too small to tell anything."""
    floor = floor_of(trials.format)
    small = int(np.count_nonzero(trials.outputs <= floor)) if trials.form else 0
    if 2 * small < trials.outputs.size:
        return ()
    total, name = trials.outputs.size, trials.format.name
    return (f"{small} of {total} classes, whose probabilities are too small for {name}: give logits",)
