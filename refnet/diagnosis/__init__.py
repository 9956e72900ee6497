"""What a foreign program does otherwise, found by changing refnet's own until the outputs agree."""

from .causes import find_causes
from .changes import changes_of
from .diagnosing import BUDGET, diagnose, diagnose_with
from .outputs import FORMS
from .reference import Reference
from .result import VERDICTS, Cause, Diagnosis

__all__ = [
    "BUDGET",
    "FORMS",
    "VERDICTS",
    "Cause",
    "Diagnosis",
    "Reference",
    "changes_of",
    "diagnose",
    "diagnose_with",
    "find_causes",
]
