"""One variant's drift as a value: what its layers and its logits measured, and how that was judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import nan
from types import MappingProxyType
from typing import Any

from ..backends import STATUSES
from ..errors import InputError
from .evidence import EVIDENCE, TOLERANCES
from .explanation import Explanation
from .histogram import Histogram
from .logits import LOGIT_MEASURES, Ranked
from .measures import MEASURES
from .verdict import NO_CAUSE, Verdict

LAYERED = ("layered_values", "layered_zero_signs", "layered_max_abs")
"""What looking changes: logits of the plain model against those of the model that returns every layer. Numbers whose
bits differ, zeros whose sign differs, largest |difference| of finite ones (NaN if there are none)."""

OWN = "refnet-float32"
"""The row of refnet's own default float32 pass: what plain rounding costs on this picture and these weights."""

LAYER_COLUMNS = (*EVIDENCE, *MEASURES)
MEASURED_LOGITS = (*LOGIT_MEASURES, *MEASURES, *LAYERED)
LOGIT_COLUMNS = (*MEASURED_LOGITS, *TOLERANCES)
"""What is measured must be there; what only a judged drift has is NaN in others."""


@dataclass(frozen=True)
class VariantDrift:
    """One variant: `logits` (LOGIT_COLUMNS -> number) and `layers` (layer -> LAYER_COLUMNS -> number).

    status: one of STATUSES; all but "ok" leave both empty and say why in `reason`.  seconds: of the child process, or
    of refnet's own pass.  A number is NaN where its measure has no meaning; what a judge adds may be left out.

    verdict: of the whole variant, whose reason is then also `reason`; None if it did not run or nobody judged it.
    first_layer: the first layer that is neither identical nor rounding; None if there is none.
    logits_verdict: of the plain model's logits.  verdicts: of each layer, all of them or none.

    ulp_histograms: of layers; best_logits: of the plain model, for each picture. Empty where nobody counted them.
    explanation: of the drift of the plain model's logits, where the whole network was replayed; else None.
    """

    variant: str
    status: str
    reason: str
    seconds: float | None = None
    logits: Mapping[str, float] = field(default_factory=dict)
    layers: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    verdict: Verdict | None = None
    first_layer: str | None = None
    logits_verdict: Verdict | None = None
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    ulp_histograms: Mapping[str, Histogram] = field(default_factory=dict)
    best_logits: tuple[Ranked, ...] = ()
    explanation: Explanation | None = None

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise InputError(f"{self.variant} has the status {self.status!r}", expected=f"one of {', '.join(STATUSES)}")
        if bool(self.layers) != self.ran:
            raise InputError(f"{self.variant} with the status {self.status} has {len(self.layers)} layers")
        logits = _completed(
            f"the logits of {self.variant}", self.logits, MEASURED_LOGITS if self.ran else (), TOLERANCES
        )
        layers = {
            layer: _completed(f"layer {layer} of {self.variant}", numbers, tuple(MEASURES), EVIDENCE)
            for layer, numbers in self.layers.items()
        }
        self._check_verdicts()
        self._check_explanation()
        object.__setattr__(self, "logits", MappingProxyType(logits if self.ran else {}))
        object.__setattr__(self, "layers", MappingProxyType(layers))
        object.__setattr__(self, "provenance", MappingProxyType(dict(self.provenance)))
        object.__setattr__(self, "verdicts", MappingProxyType(dict(self.verdicts)))
        object.__setattr__(self, "ulp_histograms", MappingProxyType(dict(self.ulp_histograms)))

    def _check_verdicts(self) -> None:
        judged = set(self.layers) if self.verdict else set()
        if (self.verdict and not self.ran) or set(self.verdicts) != judged:
            found = f"{self.variant} ({self.status}) with verdicts on {len(self.verdicts)} of {len(self.layers)} layers"
            raise InputError(found, expected="one on the variant and one on each layer, or none at all")
        if self.verdict and self.verdict.reason != self.reason:
            raise InputError(f"{self.variant} has two reasons", expected="that of its verdict")
        if self.first_layer is not None and self.first_layer not in self.verdicts:
            raise InputError(f"{self.variant} has no verdict on its first layer {self.first_layer!r}")

    def _check_explanation(self) -> None:
        parts = self.explanation.parts if self.explanation else ()
        unknown = next((part.layer for part in parts if part.layer not in self.layers), None)
        if unknown is not None:
            raise InputError(f"an explanation of {self.variant} with the layer {unknown}", expected="its own layers")

    def judged(
        self,
        verdict: Verdict,
        logits_verdict: Verdict,
        verdicts: Mapping[str, Verdict],
        layers: Mapping[str, Mapping[str, float]],
        logits: Mapping[str, float],
    ) -> VariantDrift:
        """The same measurements with verdicts. layers: layer -> EVIDENCE -> number.  logits: TOLERANCES -> number."""
        return replace(
            self,
            reason=verdict.reason,
            verdict=verdict,
            first_layer=next((layer for layer in self.layers if not verdicts[layer].fine), None),
            logits_verdict=logits_verdict,
            verdicts=verdicts,
            layers={layer: {**numbers, **layers[layer]} for layer, numbers in self.layers.items()},
            logits={**self.logits, **logits},
        )

    def caused(self, causes: Mapping[str, str]) -> VariantDrift:
        """The same with causes of the layers that are a mismatch, and of the whole that of the first of them.

        causes: layer -> name; a mismatch that is not among them was searched for in vain (NO_CAUSE).
        """
        verdicts = {
            layer: replace(verdict, cause=causes.get(layer, NO_CAUSE)) if verdict.kind == "mismatch" else verdict
            for layer, verdict in self.verdicts.items()
        }
        first = next((verdict for verdict in verdicts.values() if verdict.kind == "mismatch"), None)
        whole = replace(self.verdict, cause=first.cause) if first and self.verdict else self.verdict
        return replace(self, verdicts=verdicts, verdict=whole)

    @property
    def ran(self) -> bool:
        return self.status == "ok"

    @property
    def worst_layer(self) -> str:
        """The layer with the largest relative L2 error; "" if the variant did not run."""
        known = {name: row["rel_l2"] for name, row in self.layers.items() if row["rel_l2"] == row["rel_l2"]}
        return max(known, key=known.__getitem__, default="")


def _completed(
    what: str, found: Mapping[str, float], measured: tuple[str, ...], more: Mapping[str, Any]
) -> dict[str, float]:
    """`found`, with NaN for what a judge adds. Raises InputError if a measure is missing or a number has no name."""
    wrong = sorted(set(measured) - set(found)) + sorted(set(found) - set(measured) - set(more))
    if wrong:
        raise InputError(f"{what} lack or should not have {', '.join(wrong)}", expected="the measures of refnet.drift")
    return dict.fromkeys((*more, *measured), nan) | dict(found)
