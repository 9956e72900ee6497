"""How long refnet takes in every arithmetic, beside the backends and OpenBLAS, and how exact each arithmetic is."""

from .arithmetics import BASE, DEFAULT_ORDERS, TRUTH, default_precisions, label, parse
from .goals import GOALS, Goal, Limit, Verdict
from .rows import KINDS, Bench, Row

__all__ = [
    "BASE",
    "DEFAULT_ORDERS",
    "GOALS",
    "KINDS",
    "TRUTH",
    "Bench",
    "Goal",
    "Limit",
    "Row",
    "Verdict",
    "default_precisions",
    "label",
    "parse",
]
