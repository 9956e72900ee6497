"""What a report shows, as data that the terminal and the Markdown page share."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..drift import Drift, VariantDrift
from ..drift.storage import number


@dataclass(frozen=True)
class Column:
    """A column of the summary: its heading and the text of a variant that ran."""

    title: str
    text: Callable[[VariantDrift], str]


def short(value: float) -> str:
    """A number in a few characters: two significant digits, "-" where a measure has no meaning."""
    if math.isnan(value):
        return "-"
    if value == 0 or 10 <= abs(value) < 1e5:
        return f"{value:.0f}"
    text = f"{value:.1f}" if 1 <= abs(value) < 10 else f"{value:.1e}"
    return text.replace("e-0", "e-").replace("e+0", "e")


def _logit(name: str) -> Callable[[VariantDrift], str]:
    return lambda row: short(row.logits[name])


def _seen(row: VariantDrift) -> str:
    if not row.logits["layered_values"] and not row.logits["layered_zero_signs"]:
        return "same"
    return short(row.logits["layered_max_abs"])


SUMMARY = (
    Column("top-1", lambda row: f"{row.logits['top1_agreement']:.0%}"),
    Column("max abs", _logit("max_abs")),
    Column("rel L2", _logit("rel_l2")),
    Column("p99 ULP", _logit("p99_ulp")),
    Column("max ULP", _logit("max_ulp")),
    Column("when seen", _seen),
    Column("worst layer", lambda row: row.worst_layer),
)

STATUS_STYLES = {"ok": "green", "missing": "dim", "failed": "red", "timeout": "red", "killed": "red"}

CAPTION = (
    "Logits of the plain model against the truth; ULP in the format of the logits. when seen: largest change of a "
    "logit when the model returns every layer and not the last alone. worst layer: that of the largest rel L2."
)


def headline(drift: Drift) -> str:
    """One line: what was run, against which truth."""
    about = drift.provenance
    weights, pictures = about.get("weights", {}), about.get("pictures", {})
    shape = pictures.get("shape", [])
    size = f"{shape[0]} of {shape[1]} x {shape[2]}" if len(shape) == 4 else "unknown"
    threads = about.get("threads") or "default"
    return (
        f"truth: {truth_text(drift)} · weights: {weights.get('source', 'unknown')} "
        f"({str(weights.get('sha256', ''))[:12]}) · pictures: {size} · threads: {threads}"
    )


def truth_text(drift: Drift) -> str:
    """The truth, and how far it is proven."""
    truth = drift.truth
    if "digits" not in truth:
        return f"{truth['kind']} oracle"
    text = f"{truth['kind']} {digits_text(number(truth['digits']))} digits"
    if truth["decided"]:
        return text
    return f"{text}, {truth['open_logits']} logits and {len(truth['open_layers'])} layers open"


def proven_digits_of(drift: Drift, layers: Iterable[str]) -> list[str]:
    """A row of a table: the decimal digits that are proven of each of these layers; empty where nothing is."""
    proven = drift.truth.get("layer_digits", {})
    return ["digits proven", *(digits_text(number(proven.get(layer, 0.0))) for layer in layers)] if proven else []


def digits_text(digits: float) -> str:
    """Proven digits as people read them: whole ones, `exact` where the radius is 0."""
    return "exact" if digits == math.inf else str(math.floor(max(0.0, digits)))


def stage_ends(layers: Iterable[str]) -> dict[str, str]:
    """Short heading -> layer: where each stage of the network ends, as far as it is among these layers."""
    ends: dict[str, str] = {}
    for layer in layers:
        if layer in ("conv1_relu", "pool1_pool", "avg_pool", "predictions"):
            ends[layer.split("_")[0] if layer != "predictions" else "logits"] = layer
        elif block := re.fullmatch(r"(conv\d)_block\d+_out", layer):
            ends[block[1]] = layer  # the last block of a stage stays
    return ends


def stages(drift: Drift) -> dict[str, tuple[int, int]]:
    """Stage (conv1 .. conv5, avg, logits) -> places of its first and last layer in drift.layers."""
    first, found = 0, {}
    for heading, layer in stage_ends(drift.layers).items():
        last = drift.layers.index(layer)
        found[heading] = (first, last)
        first = last + 1
    return found


def with_reasons(drift: Drift) -> list[VariantDrift]:
    """The variants that did not run, or gave NaN or infinities."""
    return [row for row in drift.variants if row.reason or not row.ran]
