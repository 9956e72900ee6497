"""How busy the machine is with other things: on a busy one times say little."""

from __future__ import annotations

import os
import warnings

from ..provenance import usable_cores

BUSY = 0.25  # of the cores; with all of them computing, one more process halves what a fast one gets


class BusyMachineWarning(UserWarning):
    """Other processes compute at the same time."""


def load_average() -> float | None:
    """Processes that ran or wanted to run, averaged over the last minute; None where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def warn_if_busy() -> None:
    load, cores = load_average(), usable_cores()
    if load is not None and load > BUSY * cores:
        text = f"the machine is busy (load {load:.1f} on {cores} cores): times will be long, and ratios uncertain"
        warnings.warn(text, BusyMachineWarning, stacklevel=2)
