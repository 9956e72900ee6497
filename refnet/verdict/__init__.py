"""The verdict: whether what each layer of a backend added is rounding, a lower precision or something else."""

from ..drift import KINDS, Verdict, worst
from .measuring import judge_runs, measure_drift

__all__ = ["KINDS", "Verdict", "judge_runs", "measure_drift", "worst"]
