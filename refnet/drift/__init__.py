"""Drift: a backend's trace held against the truth, layer by layer, each measure defined once."""

from .drift import Drift
from .evidence import EVIDENCE, TOLERANCES
from .explanation import Explanation, Otherwise, Part
from .logits import LOGIT_MEASURES, measure_logits
from .measures import MEASURES, measure
from .truth import DEFAULT_TRUTH, TRUTHS
from .variant import OWN, VariantDrift
from .verdict import KINDS, Verdict, worst

__all__ = [
    "DEFAULT_TRUTH",
    "EVIDENCE",
    "KINDS",
    "LOGIT_MEASURES",
    "MEASURES",
    "OWN",
    "TOLERANCES",
    "TRUTHS",
    "Drift",
    "Explanation",
    "Otherwise",
    "Part",
    "VariantDrift",
    "Verdict",
    "measure",
    "measure_logits",
    "worst",
]
