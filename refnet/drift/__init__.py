"""Drift: a backend's trace held against the truth, layer by layer, each measure defined once."""

from .drift import Drift, VariantDrift
from .logits import LOGIT_MEASURES, measure_logits
from .measures import MEASURES, measure
from .measuring import OWN, measure_drift
from .truth import DEFAULT_TRUTH, TRUTHS

__all__ = [
    "DEFAULT_TRUTH",
    "LOGIT_MEASURES",
    "MEASURES",
    "OWN",
    "TRUTHS",
    "Drift",
    "VariantDrift",
    "measure",
    "measure_drift",
    "measure_logits",
]
