"""What the whole road must show: no installed backend changes the best class of the bundled picture.

The only test that runs `measure_drift` at full size with real backends.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import refnet
from refnet.backends import select
from refnet.drift import OWN
from refnet.weights import Weights

INSTALLED = [variant.name for variant in select(["default"]) if not variant.missing]


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED, reason="no backend is installed")
def test_every_installed_backend_agrees_on_the_best_class(synthetic: Weights, tmp_path: Path) -> None:
    picture = refnet.load_image(refnet.bundled_image())
    found = refnet.measure_drift(picture, synthetic, INSTALLED, folder=tmp_path / "traces", cache=tmp_path)
    assert [(row.variant, row.status, row.reason) for row in found.variants] == [
        (name, "ok", "") for name in (OWN, *INSTALLED)
    ]
    assert {row.variant: row.logits["top1_agreement"] for row in found.variants} == dict.fromkeys((OWN, *INSTALLED), 1)
    assert all(row.seconds and row.seconds > 0 for row in found.variants)
