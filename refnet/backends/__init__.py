"""Keras's backends, each run in its own child process."""

from .run import STATUSES, Run, run
from .variants import VARIANTS, Variant, select

__all__ = ["STATUSES", "VARIANTS", "Run", "Variant", "run", "select"]
