"""The comparison of two variants as a value: layer by layer, with the verdicts on both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..drift import VariantDrift
from ..drift.comparison import norm, ratio
from ..drift.storage import check_output, write_json
from ..errors import InputError
from .reasons import Reason

Array = NDArray[np.floating]
SCHEMA = 1
KIND = "refnet comparison"


@dataclass(frozen=True)
class Pair:
    """One layer of both, or the logits of the plain model.

    bits: numbers that differ, of `numbers`; two NaN are alike.  zeros: zeros of other signs, which `bits` leaves out.
    distance: ||a - b|| / ||t||, t the truth; infinite where t is zero and they differ.  largest: max |a - b|.
    reason: why the same inputs give other bits here; None where both are known to compute alike.
    """

    layer: str
    numbers: int
    bits: int
    zeros: int
    distance: float
    largest: float
    reason: Reason | None = None

    @property
    def equal(self) -> bool:
        """To the bit, the sign of a zero apart."""
        return not self.bits

    @classmethod
    def of(cls, layer: str, first: Array, second: Array, truth: Array, reason: Reason | None = None) -> Pair:
        """Raises InputError where the shapes differ; two types are compared as the numbers that they hold."""
        if first.shape != second.shape:
            raise InputError(f"layer {layer} of shapes {first.shape} and {second.shape}", expected="one shape")
        a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
        different = (a != b) & ~(np.isnan(a) & np.isnan(b))
        zeros = ~different & (a == 0) & (np.signbit(a) != np.signbit(b))
        with np.errstate(invalid="ignore"):
            apart = np.where(different, np.abs(a - b), 0.0)
        distance = ratio(norm(apart), norm(np.asarray(truth, np.float64)))
        bits = int(np.count_nonzero(different))
        return cls(layer, a.size, bits, int(np.count_nonzero(zeros)), distance, float(apart.max(initial=0.0)), reason)


@dataclass(frozen=True)
class VariantComparison:
    """Two variants on the same pictures and weights; `truth["kind"]` names what both are measured from.

    variants: their rows, as in a Drift.  layers: in the order of the graph.  logits: of the plain models.
    Raises InputError where a variant did not run or is not judged, or the layers are others.
    """

    provenance: Mapping[str, Any]
    truth: Mapping[str, Any]
    variants: tuple[VariantDrift, VariantDrift]
    layers: tuple[Pair, ...]
    logits: Pair

    def __post_init__(self) -> None:
        for row in self.variants:
            if row.verdict is None:
                raise InputError(f"{row.variant} ({row.status}) in a comparison", expected="variants that were judged")
            if tuple(row.layers) != tuple(pair.layer for pair in self.layers):
                raise InputError(f"other layers of {row.variant} than are compared", expected="the same, in one order")

    @property
    def names(self) -> tuple[str, str]:
        return self.variants[0].variant, self.variants[1].variant

    @property
    def first(self) -> Pair | None:
        """The layer where their bits part: the first that differs, though what it reads is equal in every bit."""
        return next((pair for pair in self.layers if not pair.equal), None)

    @property
    def equal(self) -> bool:
        """Whether every bit of every layer and of the plain models' logits is the same."""
        return self.first is None and self.logits.equal

    @property
    def explained(self) -> bool:
        """Whether they are equal, or each differs from the truth by rounding alone."""
        return self.equal or all(row.verdict is not None and row.verdict.fine for row in self.variants)

    @property
    def otherwise(self) -> dict[Reason, tuple[str, ...]]:
        """Reason -> the layers that compute otherwise for it, whatever came before them; the most frequent first."""
        found: dict[Reason, list[str]] = {}
        for pair in self.layers:
            if pair.reason is not None:
                found.setdefault(pair.reason, []).append(pair.layer)
        return {reason: tuple(found[reason]) for reason in sorted(found, key=lambda reason: -len(found[reason]))}

    @property
    def nearer(self) -> str | None:
        """The variant whose plain logits are nearer to the truth, by relative L2 error; None where both are as near."""
        first, second = (row.logits["rel_l2"] for row in self.variants)
        if first == second or not np.isfinite([first, second]).any():
            return None
        return self.names[0] if first < second or np.isnan(second) else self.names[1]

    def document(self) -> dict[str, Any]:
        """What the JSON file holds, as docs/compare.md describes it."""
        first = self.first
        return {
            "schema": SCHEMA,
            "kind": KIND,
            "provenance": self.provenance,
            "truth": self.truth,
            "variants": [_variant(row) for row in self.variants],
            "equal": self.equal,
            "explained": self.explained,
            "nearer": self.nearer,
            "first_layer": first.layer if first else None,
            "reason": _reason(first.reason) if first else None,
            "otherwise": [{**_told(reason), "layers": layers} for reason, layers in self.otherwise.items()],
            "logits": _pair(self.logits),
            "layers": [
                {**_pair(pair), "errors": [row.layers[pair.layer]["rel_l2"] for row in self.variants]}
                for pair in self.layers
            ],
        }

    def save(self, path: str | Path) -> None:
        """Write .json, whole or not at all. Raises InputError for another suffix or a place that cannot be written."""
        path = Path(path)
        check_output(path, [".json"])
        write_json(self.document(), path)


def _told(reason: Reason) -> dict[str, Any]:
    return {"kind": reason.kind, "ways": list(reason.ways)}


def _reason(reason: Reason | None) -> dict[str, Any] | None:
    return None if reason is None else _told(reason)


def _variant(row: VariantDrift) -> dict[str, Any]:
    logits = {name: row.logits[name] for name in ("rel_l2", "max_abs", "top1_agreement")}
    judged = row.verdict.document() if row.verdict else {}
    return {"variant": row.variant, **judged, "logits": logits, "seconds": row.seconds, "provenance": row.provenance}


def _pair(pair: Pair) -> dict[str, Any]:
    measured = {name: getattr(pair, name) for name in ("layer", "numbers", "bits", "zeros", "distance", "largest")}
    return {**measured, "reason": _reason(pair.reason)}
