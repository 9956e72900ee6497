"""The verdict on one layer: the hypotheses tried in order, from the narrowest claim to the widest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arithmetic.formats import FORMATS
from ..drift.evidence import NO_EVIDENCE
from ..drift.verdict import Verdict
from ..graph import Graph, Node
from .blocks import KINDS, Blocks, mean_squares, ratios
from .chains import PRODUCTS, alone, fused_runs
from .hypothesis import REDUCED, Hypothesis, possible
from .limits import Limits, limits
from .local import Local
from .simulations import Simulation

Array = NDArray[np.floating]
TOGETHER = "computed together with"
"""How the reason begins where a layer is what it should be as part of a run of layers, and not by itself."""

FLUSHED = 2.0**-126
"""Where only numbers below the smallest normal one of float32 differ, they were flushed to zero."""


@dataclass(frozen=True)
class Fit:
    """How well errors agree with rounding: the worst block, its ratio to the allowed RMS, and the limit of that.

    margin: ratio over limit of the worst block; at most 1 is rounding.
    """

    margin: float
    ratio: float
    limit: float
    kind: str
    place: int

    @property
    def fits(self) -> bool:
        return self.margin <= 1

    def words(self) -> str:
        where = "" if self.kind == "layer" else f" in {self.kind} {self.place}"
        return f"RMS error{where} {self.ratio:.2g} times that of simulated rounding (limit {self.limit:.2g})"


def judge_layer(
    node: Node,
    graph: Graph,
    weights: Mapping[str, Array],
    trace: Mapping[str, Array],
    revealed: Simulation | None = None,
) -> Judged:
    """The verdict on this layer of a backend's trace, and EVIDENCE as far as its inputs and output tell.

    revealed: what probes found the backend to compute in this layer.
    """
    local = Local(alone(node), weights, trace, revealed)
    verdict = _judge(local, graph)
    if verdict.kind in ("rounding", "mismatch") and not verdict.proved and not local.strange and verdict.power >= 1:
        reason = "the layer cancels: rounding alone is as large as its outputs, so that nothing can be said of it"
        verdict = replace(verdict, kind="undecided", reason=reason)
    return Judged(verdict, _evidence(local), local)


def is_fused(verdict: Verdict) -> bool:
    """Whether the layer was found to be computed together with those before it."""
    return verdict.reason.startswith(TOGETHER)


@dataclass(frozen=True)
class Judged:
    verdict: Verdict
    evidence: Mapping[str, float]
    local: Local


def _judge(local: Local, graph: Graph) -> Verdict:
    if local.strange and local.replayed is None:
        if local.may_overflow:
            return Verdict("undecided", local.format, "sums overflow or not, as the order of additions has it")
        reason = f"{local.strange} numbers are NaN or infinite, or are not where they must be"
        return Verdict("mismatch", local.format, reason, margin=inf)
    if not local.compared.any() and local.replayed is None:
        return Verdict("undecided", reason="no output is finite")
    layers = len(graph.nodes)
    found = _as_expected(local, layers)
    if found.fine:
        return found
    return next((attempt for attempt in _otherwise(local, graph) if attempt is not None), found)


def _in_float32(local: Local, graph: Graph) -> Verdict | None:
    """The verdict on float64 outputs that are float32 numbers, or such numbers and the bias: float32 computed them."""
    output = local.chain.nodes[-1]
    for words, bias in (("float32 numbers in float64", None), ("float32 sums, the bias added in float64", local.bias)):
        sums = local.y if bias is None else local.y - bias
        narrow = {name: np.asarray(local.trace[name], np.float32) for name in local.chain.inputs}
        narrow[output.name] = sums.astype(np.float32)
        weights: Mapping[str, Array] = local.weights
        if bias is not None:
            own = {f"{output.name}/{key}": weights[f"{output.name}/{key}"] for key in output.weights}
            weights = {name: np.zeros_like(value) if name.endswith("/bias") else value for name, value in own.items()}
        unit = FORMATS["float64"].unit_roundoff
        if not np.allclose(narrow[output.name], sums, rtol=0, atol=4 * unit * float(np.abs(local.y).max())):
            continue
        found = _judge(Local(local.chain, weights, narrow), graph)
        if found.fine:
            cause = "precision:float32"
            return replace(found, kind="reduced", format="float32", reason=f"{words}: {found.reason}", cause=cause)
        return found if found.kind == "reduced" else None
    return None


def _as_expected(local: Local, layers: int) -> Verdict:
    """identical, rounding or mismatch, of the format that is expected."""
    if (order := local.replayed) is not None:
        bit = FORMATS[local.format].unit_roundoff  # any other bit would have shown
        return Verdict("identical", local.format, f"every bit is that of {order}", order, margin=0.0, power=bit)
    if local.exact_operation:
        return _of_exact_operation(local)
    allowed = limits(local.effective, layers)
    fit = fit_of(local.errors, local.scale, allowed)
    about: dict[str, Any] = {"format": local.format, "margin": fit.margin, "power": power_of(local, allowed)}
    if (channel := _single_channel(local)) is not None:
        reason = f"channel {channel[0]} differs, all others have every bit of {channel[1]}: rounding does not do that"
        return Verdict("mismatch", reason=reason, replayed=None, **{**about, "margin": max(fit.margin, 1.0)})
    if fit.fits and local.over_bound <= 1:
        return Verdict("rounding", reason=fit.words(), **about)
    if local.over_bound > 1:
        reason = f"{fit.words()}; {local.over_bound:.2g} times the bound of any order of additions in {local.format}"
        if local.chain.nodes[0].operation == "conv2d":
            reason += " (Winograd and FFT convolutions do not obey it)"
        return Verdict("mismatch", reason=reason, proved=True, **about)
    return Verdict("mismatch", reason=fit.words(), **about)


def _of_exact_operation(local: Local) -> Verdict:
    """An operation that rounds once at most has one result; what flushes subnormal numbers to zero is no fault."""
    power = FORMATS[local.format].unit_roundoff
    differing = int(np.count_nonzero(local.errors)) or 1
    if np.max(np.abs(local.errors), initial=0.0) < FLUSHED:
        reason = "equal to the bit but for subnormal numbers, which were flushed to zero"
        return Verdict("rounding", local.format, reason, margin=0.0, power=power)
    what = local.chain.nodes[-1].operation
    reason = f"{differing} outputs differ from {what} of the inputs, which leaves no choice of rounding"
    return Verdict("mismatch", local.format, reason, margin=inf, power=power)


def _single_channel(local: Local) -> tuple[int, str] | None:
    """The one channel that differs where all others are equal to the bit under an order, and that order.

    Not the last one, which kernels may compute by themselves; and only where the orders can be told apart at all:
    another one differs in half of the channels and more.
    """
    node = local.chain.nodes[-1]
    if len(local.chain.nodes) > 1 or node.operation not in PRODUCTS:
        return None
    rows = [row for row in local.simulated if not row.simulation.revealed]  # its odd channels may be the backend's own
    counts = [int(row.differing.sum()) for row in rows]
    channels = len(local.simulated[0].differing)
    if max(counts) < channels / 2:
        return None
    for row, count in zip(rows, counts, strict=True):
        if count == 1 and not row.differing[-1]:
            return int(np.argmax(row.differing)), row.simulation.name
    return None


def _otherwise(local: Local, graph: Graph) -> Iterator[Verdict | None]:
    """Layers computed together; then lower formats, of this layer and of such runs."""
    if local.format == "float64":
        yield _in_float32(local, graph)
    layers = len(graph.nodes)
    runs = [Local(chain, local.weights, local.trace) for chain in fused_runs(graph, local.chain.nodes[-1].name)]
    for run in runs:
        found = _as_expected(run, layers)
        if found.fine:
            yield replace(found, reason=f"{TOGETHER} {_names(run)}: {found.reason}")
    for candidate in [local, *runs] if local.format == "float32" else []:
        for hypothesis in REDUCED:
            yield _as_reduced(candidate, hypothesis, layers)


def _as_reduced(local: Local, hypothesis: Hypothesis, layers: int) -> Verdict | None:
    """`reduced` if the errors against what this hypothesis would have given are rounding; None if they are not."""
    products = [node for node in local.chain.nodes if node.operation in PRODUCTS]
    alone_ = len(local.chain.nodes) == 1
    if not products and not (hypothesis.outputs and hypothesis.bias):
        return None  # nothing else can have been reduced here
    if (hypothesis.sums or hypothesis.bias != hypothesis.outputs) and not (products and alone_):
        return None
    bias = local.bias if alone_ else np.zeros(local.y.shape[-1])
    if hypothesis.steps and not (alone_ and local.chain.nodes[0].operation == "batch_norm"):
        return None
    if not possible(local.y, bias, hypothesis):
        return None
    rounded = hypothesis.format if products and hypothesis.operands else None
    reference = local.reference_of(rounded, hypothesis.operands) if rounded else local.reference
    remaining = hypothesis.remaining(local.y, local.error(local.y, reference), bias, local.magnitudes)
    allowed = limits(local.effective, layers)
    fit = fit_of(remaining, local.scale, allowed)
    if not fit.fits:
        return None
    expected = fit_of(local.errors, local.scale, allowed)
    together = f"{TOGETHER} {_names(local)}: " if not alone_ else ""
    reason = f"{together}{hypothesis.words}: {fit.words()}; as {local.format} it would be {expected.ratio:.2g} times"
    ulps = (hypothesis.steps or hypothesis.halves) * 2 * FORMATS[hypothesis.format].unit_roundoff
    power = max(power_of(local, allowed), ulps)
    return Verdict("reduced", hypothesis.format, reason, cause=hypothesis.cause, margin=fit.margin, power=power)


def fit_of(errors: Array, scale: Blocks, allowed: Limits) -> Fit:
    """The block in which these errors exceed what rounding is allowed the most."""
    found = mean_squares(errors)
    fits = []
    for kind in KINDS:
        quotients, limit = ratios(found, scale, kind), allowed.of(kind)
        place = int(np.argmax(quotients / limit))
        margin = float(quotients[place] / limit[place])
        fits.append(Fit(margin, float(quotients[place]), float(limit[place]), kind, place))
    return max(fits, key=lambda fit: fit.margin)


def power_of(local: Local, allowed: Limits) -> float:
    """The smallest effect on the whole layer that is always seen, in parts of its RMS.

    Rounding may take away its own RMS: what is larger than limit + 1 times the allowed RMS shows.
    """
    return (allowed.layer + 1) * local.scale.layer**0.5 / local.rms if local.rms else inf


def _evidence(local: Local) -> dict[str, float]:
    evidence = dict(NO_EVIDENCE)
    if not local.rms:
        return evidence
    simulated = [row.errors.layer**0.5 / local.rms for row in local.simulated]
    errors = local.errors
    return evidence | {
        "local_rms": mean_squares(errors).layer ** 0.5 / local.rms,
        "local_max": float(np.max(np.abs(errors))) / local.rms,
        "simulated_low": min(simulated),
        "simulated_high": max(simulated),
    }


def _names(local: Local) -> str:
    return " and ".join(node.name for node in local.chain.nodes[:-1])
