"""What all tests share: how hypothesis runs, and where the project lies."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import refnet
from refnet.weights import Weights

# A first call may compile a kernel, so a single example has no deadline; a failure prints what repeats it.
settings.register_profile("refnet", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
# The same examples each time: what a change is held against must not fail by the luck of another draw.
settings.register_profile("same", parent=settings.get_profile("refnet"), derandomize=True)
settings.load_profile("refnet")


@pytest.fixture(scope="session")
def project() -> Path:
    """The folder that holds pyproject.toml, refnet/ and kernels/."""
    return Path(__file__).parent.parent


@pytest.fixture(scope="session")
def synthetic() -> Weights:
    """The synthetic ResNet50; made once on a machine and then read from refnet's cache."""
    return refnet.load_weights("synthetic")
