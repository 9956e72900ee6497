"""What all tests share: how hypothesis runs, and where the project lies."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A first call may compile a kernel, so a single example has no deadline; a failure prints what repeats it.
settings.register_profile("refnet", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("refnet")


@pytest.fixture(scope="session")
def project() -> Path:
    """The folder that holds pyproject.toml, refnet/ and kernels/."""
    return Path(__file__).parent.parent
