"""The tolerances that rounding justifies, as lines to paste into a test."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context

from ..drift import Drift

Pair = tuple[float, float]
UPWARDS = Context(prec=2, rounding=ROUND_CEILING)


@dataclass(frozen=True)
class Tolerances:
    """rtol and atol of the logits and of every layer, and the variants for which they hold."""

    variants: tuple[str, ...]
    logits: Pair
    layers: Mapping[str, Pair]


def tolerances(drift: Drift) -> list[Tolerances]:
    """Each different set of tolerances once; none where nobody judged, or nothing is known."""
    found: dict[tuple[Pair, tuple[Pair, ...]], list[str]] = {}
    for row in drift.variants:
        pairs = tuple(_pair(numbers) for numbers in row.layers.values())
        if row.ran and not any(map(math.isnan, _pair(row.logits))):
            found.setdefault((_pair(row.logits), pairs), []).append(row.variant)
    return [
        Tolerances(tuple(names), logits, dict(zip(drift.layers, layers, strict=True)))
        for (logits, layers), names in found.items()
    ]


def logits_line(of: Tolerances) -> str:
    """A call of numpy.testing.assert_allclose for the logits."""
    rtol, atol = map(upwards, of.logits)
    return f"numpy.testing.assert_allclose(logits, truth, rtol={rtol}, atol={atol})"


def layers_table(of: Tolerances) -> str:
    """layer -> (rtol, atol) as a Python dictionary; layers whose tolerances are not known are left out."""
    lines = [
        f'    "{layer}": ({upwards(rtol)}, {upwards(atol)}),'
        for layer, (rtol, atol) in of.layers.items()
        if not (math.isnan(rtol) or math.isnan(atol))
    ]
    return "\n".join(["TOLERANCES = {  # layer: (rtol, atol)", *lines, "}"])


def upwards(value: float) -> str:
    """Two significant digits, never less than the value."""
    if value == 0 or not math.isfinite(value):
        return "0.0" if value == 0 else f'float("{value}")'
    return f"{UPWARDS.create_decimal_from_float(value):.1e}"


def _pair(numbers: Mapping[str, float]) -> Pair:
    return numbers["rtol"], numbers["atol"]
