"""Keras's backends, each run in its own child process."""

from .run import STATUSES, Run, check_folder, check_run, run
from .variants import VARIANTS, Variant, select

__all__ = ["STATUSES", "VARIANTS", "Run", "Variant", "check_folder", "check_run", "run", "select"]
