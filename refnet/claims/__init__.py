"""Claims: what the usual answer to the question of this project only asserts, measured."""

from .claim import OUTCOMES, Arm, Claim, Experiment
from .limit import Limit
from .measured import Measured
from .measuring import Claims, measure_claims
from .sentence import sentence, verdict
from .table import CLAIMS

__all__ = [
    "CLAIMS",
    "OUTCOMES",
    "Arm",
    "Claim",
    "Claims",
    "Experiment",
    "Limit",
    "Measured",
    "measure_claims",
    "sentence",
    "verdict",
]
