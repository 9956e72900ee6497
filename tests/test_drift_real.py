"""What the whole road must show: no installed backend changes the best class of the bundled picture.

The only tests that run `measure_drift` at full size with real backends.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import refnet
from refnet.backends import VARIANTS, select
from refnet.drift import OWN
from refnet.reveal import reveal
from refnet.weights import Weights

INSTALLED = [variant.name for variant in select(["default"]) if not variant.missing]


@pytest.mark.exhaustive
@pytest.mark.skipif(not INSTALLED, reason="no backend is installed")
def test_every_installed_backend_agrees_on_the_best_class(synthetic: Weights, tmp_path: Path) -> None:
    picture = refnet.load_image(refnet.bundled_image())
    found = refnet.measure_drift(picture, synthetic, INSTALLED, folder=tmp_path / "traces", cache=tmp_path)
    assert [(row.variant, row.status) for row in found.variants] == [(name, "ok") for name in (OWN, *INSTALLED)]
    assert {row.variant: row.logits["top1_agreement"] for row in found.variants} == dict.fromkeys((OWN, *INSTALLED), 1)
    assert all(row.seconds and row.seconds > 0 for row in found.variants)


@pytest.mark.exhaustive
@pytest.mark.skipif(bool(VARIANTS["torch"].missing_modules), reason="torch is not installed")
def test_the_drift_of_a_real_backend_is_explained_wholly(synthetic: Weights, tmp_path: Path) -> None:
    profile = reveal("torch", threads=2)
    x = refnet.load_image(refnet.bundled_image())
    how = {"truth": "float64", "threads": 2, "profiles": [profile], "cache": tmp_path}
    row = refnet.measure_drift(x, synthetic, ["torch"], **how)["torch"]
    assert row.verdict is not None and row.verdict.kind == "identical" and row.explanation is not None
    assert abs(sum(part.share for part in row.explanation.parts) - 1) < 1e-8
    assert {part.layer for part in row.explanation.parts} >= {*profile.layers}
    (best,) = (way.rel_l2 for way in row.explanation.otherwise if not way.operation)
    assert 0 < best < row.logits["rel_l2"] / 2
