"""Keras's backends, each run in its own child process."""

from .checks import check_folder, check_run
from .elsewhere import load_run, load_runs, write_job
from .run import STATUSES, Run, run
from .variant import Variant
from .variants import GROUPS, VARIANTS, read_variants, select

__all__ = [
    "GROUPS",
    "STATUSES",
    "VARIANTS",
    "Run",
    "Variant",
    "check_folder",
    "check_run",
    "load_run",
    "load_runs",
    "read_variants",
    "run",
    "select",
    "write_job",
]
