"""Replays as evidence: every bit is compared, no framework can be imported meanwhile, no difference is hidden."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends_support import random_weights

import refnet.evidence.replays as replays_module
from refnet import activations
from refnet.backends import Run
from refnet.cli import main
from refnet.errors import InputError, VariantError
from refnet.evidence import ReplayCell, Replays, frameworks_blocked, replays_page, replays_summary, saved_replays
from refnet.reveal import Profile
from refnet.trace import Trace

SILENT = lambda name, stage, seconds: None  # noqa: E731
WEIGHTS = random_weights()
PROFILE = Profile(
    "torch",
    ("ResNet50", "v1"),
    (32, 32),
    {},
    {"conv3_block1_2_conv": {"order": "blocks:64", "fma": True, "bias": "last"}},
)
VIEWS = ("bundled", "noise")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A backend that computes as PROFILE says, some of whose numbers are changed: (layer, picture) -> by how much."""
    changed: dict[str, Any] = {"layers": {}, "plain": 0, "asked": 0}

    def run(variants: Sequence[Any], w: Any, x: np.ndarray, folder: Path, **how: Any) -> list[Run]:
        changed["asked"] += 1
        trace = activations(x, w, **PROFILE.settings())
        layers = {name: values.copy() for name, values in trace.items()}
        logits = layers["predictions"].copy()
        for (layer, picture), ulps in changed["layers"].items():
            number = layers[layer][picture].reshape(-1)[:1].view(np.int32)
            number += ulps
        logits.reshape(-1)[: changed["plain"]] += 1
        return [Run(variants[0].name, "ok", trace=Trace(layers), logits=logits)]

    monkeypatch.setattr(replays_module, "run", run)
    monkeypatch.setattr(replays_module, "kept_profile", lambda *given, **how: PROFILE)
    monkeypatch.setattr(replays_module, "load_weights", lambda source, seed: WEIGHTS)
    return changed


def replays(folder: Path, **how: Any) -> Replays:
    """The definition, which is slow, computes no picture unless it is asked to."""
    return Replays(folder, **{"variants": ("torch",), "views": VIEWS, "seeds": (0,), "size": 32, "defined": 0, **how})


@pytest.mark.slow
def test_every_number_of_every_picture_is_compared(world: dict[str, Any], tmp_path: Path) -> None:
    (cell,) = replays(tmp_path, defined=1).cells(SILENT)
    assert cell.whole and (cell.pictures, cell.layers) == (2, 177)
    one = sum(values[:1].size for values in activations(np.zeros((1, 32, 32, 3), np.float32), WEIGHTS).values())
    assert (cell.numbers, cell.spec, cell.logits) == (2 * one, one, 20)


def test_one_bit_of_one_layer_of_one_picture_is_found(world: dict[str, Any], tmp_path: Path) -> None:
    world["layers"] = {("conv5_block1_out", 1): 1}
    world["plain"] = 3
    (cell,) = replays(tmp_path).cells(SILENT)
    assert not cell.whole and dict(cell.differing) == {"conv5_block1_out": 1} and cell.plain == 3
    text = replays_page([cell])
    assert "- **torch**, conv5_block1_out: 1 numbers" in text and "0 of the 1 variants are equal in every bit" in text


def test_cells_are_kept_and_made_again_when_something_changes(world: dict[str, Any], tmp_path: Path) -> None:
    (first,) = replays(tmp_path).cells(SILENT)
    (again,) = replays(tmp_path).cells(SILENT)
    assert first == again and list(saved_replays(tmp_path)) == [first] and world["asked"] == 1
    list(replays(tmp_path, views=("noise",)).cells(SILENT))
    assert world["asked"] == 2


def test_no_framework_can_be_imported_meanwhile() -> None:
    with frameworks_blocked():
        for name in ("keras", "torch", "jax"):
            with pytest.raises(ModuleNotFoundError):
                importlib.import_module(name)
    assert importlib.util.find_spec("keras") is not None


def test_what_does_not_run_is_a_row_with_the_reason(
    world: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*given: Any, **how: Any) -> Profile:
        raise VariantError("torch is not installed", status="missing")

    monkeypatch.setattr(replays_module, "kept_profile", missing)
    (cell,) = replays(tmp_path).cells(SILENT)
    assert (cell.status, cell.reason, cell.whole) == ("missing", "torch is not installed", False)
    assert "- **torch** (missing), seed 0: torch is not installed" in replays_page([cell])
    assert replays_summary([cell]).startswith("0 replays")


@pytest.mark.parametrize("broken", [{"status": "well"}, {"numbers": 0}, {"reason": "why"}, {"status": "failed"}])
def test_a_cell_checks_itself(broken: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        replace(ReplayCell("torch", "seed 0", "key", numbers=1), **broken)


@pytest.mark.slow
@pytest.mark.parametrize(("plain", "code"), [(0, 0), (1, 1)])
def test_the_command_writes_its_table_and_fails_on_a_bit(
    world: dict[str, Any], tmp_path: Path, plain: int, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    world["plain"] = plain
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n<!-- replays -->\n\nold\n<!-- end of replays -->\n\nAfter.\n")
    command = (
        f"evidence --replays --variants torch --pictures 1 --weights 0 --size 32 --folder {tmp_path} --page {page}"
    )
    assert main([*command.split(), "--quiet"]) == code
    text = page.read_text()
    assert text.count("<!-- replays -->") == 1 and "old" not in text and "| torch | 1 x 1 |" in text
    assert text.endswith("After.\n") and capsys.readouterr().out == ""
