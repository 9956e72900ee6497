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
    if 0.01 <= abs(value) < 1:
        return f"{value:#.2g}"
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
    Column("when seen", _seen),
    Column("first layer", lambda row: row.first_layer or ""),
)

STATUS_STYLES = {"ok": "green", "missing": "dim", "failed": "red", "timeout": "red", "killed": "red"}

CAPTION = (
    "Logits of the plain model against the truth. when seen: largest change of a "
    "logit when the model returns every layer. first layer: the first that is not rounding."
)


def headline(drift: Drift) -> str:
    """One line: what was run, against which truth."""
    return " · ".join(f"{name}: {text}" for name, text in facts(drift))


def facts(drift: Drift) -> list[tuple[str, str]]:
    """What was run, against which truth: name and text."""
    about = drift.provenance
    weights, pictures = about.get("weights", {}), about.get("pictures", {})
    shape = pictures.get("shape", [])
    return [
        ("truth", truth_text(drift)),
        ("weights", f"{weights.get('source', 'unknown')} ({str(weights.get('sha256', ''))[:12]})"),
        ("pictures", f"{shape[0]} of {shape[1]} x {shape[2]}" if len(shape) == 4 else "unknown"),
        ("threads", str(about.get("threads") or "default")),
    ]


def description(drift: Drift) -> str:
    """What the truth is, in words."""
    return str(drift.truth.get("description", drift.truth["kind"]))


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


def rounding_band(drift: Drift) -> list[tuple[int, float, float]]:
    """Place of a layer, least and largest error of refnet's own float32 orders there.

    Every judged variant has the same numbers. Layers without error are left out; empty where nobody judged.
    """
    judged = next((row for row in drift.variants if any(n["band_high"] > 0 for n in row.layers.values())), None)
    numbers = enumerate(judged.layers.values()) if judged else ()
    return [(place, n["band_low"], n["band_high"]) for place, n in numbers if n["band_low"] > 0 and n["band_high"] > 0]
