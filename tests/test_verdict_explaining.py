"""A drift that is replayed wholly is explained, and nothing else is; what other orders would give is what they give."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends_support import random_images, random_weights

from refnet.backends import Run
from refnet.drift import OWN, Drift, Explanation, Otherwise, Part, VariantDrift, measure
from refnet.errors import InputError
from refnet.forward import activations, predict
from refnet.reveal import Profile
from refnet.verdict import judge_runs
from refnet.verdict.explaining import explain
from refnet.verdict.otherwise import ROUNDED_ONCE, WAYS, Replay, Way

WEIGHTS, PICTURE = random_weights(), random_images(1)
GRAPH = WEIGHTS.graph((32, 32))
BY_OPERATION = {
    operation: [node.name for node in GRAPH.nodes if node.operation == operation]
    for operation in ("conv2d", "batch_norm", "add", "mean_pool", "dense")
}
FACTOR = "conv2_block1_1_bn"


def profile_of(**plain: Any) -> Profile:
    """Named orders that layers alone have too; what the plain model computes otherwise is given by layer."""
    layers: dict[str, dict[str, Any]] = {
        **{name: {"order": "pairwise:8", "fma": True, "bias": "last"} for name in BY_OPERATION["conv2d"]},
        **{name: {"batch_norm": "shifted", "shift": "rounded"} for name in BY_OPERATION["batch_norm"]},
        "avg_pool": {"order": "reversed", "fma": False, "mean": "divide"},
        "predictions": {"order": "blocks:512", "fma": True, "bias": "last"},
    }
    layers[FACTOR]["scale"] = "given"
    scale = WEIGHTS[f"{FACTOR}/gamma"] / np.sqrt(WEIGHTS[f"{FACTOR}/moving_variance"] + np.float32(1e-3))
    for layer, fields in plain.items():
        layers.setdefault(layer, {})["plain"] = fields
    return Profile("torch", ("ResNet50", "v1"), (32, 32), {}, layers, {WEIGHTS.hash: {f"{FACTOR}/scale": scale}})


SHIFTS_LAST = {name: {"addition": "shifts-last"} for name in BY_OPERATION["add"]}
LAST = {"predictions": {"order": "sequential", "fma": True, "bias": "first"}}


def run_of(profile: Profile) -> Run:
    """A backend that computes by the profile."""
    how: dict[str, Any] = {"constants": profile.constants[WEIGHTS.hash]}
    trace = activations(PICTURE, WEIGHTS, **profile.settings(), **how)
    logits = predict(PICTURE, WEIGHTS, **profile.settings(plain=True), **how, classifier_activation=None)
    return Run(profile.variant, "ok", trace=trace, logits=logits)


@pytest.fixture(scope="module")
def truth() -> Any:
    return activations(PICTURE, WEIGHTS, precision="float64")


TRUE = profile_of(**LAST, **SHIFTS_LAST)
WRONG = {
    "jax": {"layers": {**TRUE.layers, "conv1_conv": {"order": "reversed", "fma": True, "bias": "last"}}},
    "numpy": {"layers": {**TRUE.layers, "predictions": profile_of().layers["predictions"]}},
    "openvino": {"constants": {}},
}
"""Variants with the same bits, whose profiles are not theirs: in one layer, in the plain model, without constants."""


@pytest.fixture(scope="module")
def judged(truth: Any) -> tuple[dict[str, VariantDrift], list[tuple[str, str]]]:
    """Variant -> row, and what progress was told; `tf-keras` has no profile."""
    told: list[tuple[str, str]] = []
    run, names = run_of(TRUE), ("torch", *WRONG, "tf-keras")
    profiles = [TRUE, *(replace(TRUE, variant=name, **fields) for name, fields in WRONG.items())]
    rows = judge_runs(
        [replace(run, variant=name) for name in names],
        PICTURE,
        WEIGHTS,
        truth,
        profiles=profiles,
        progress=lambda name, stage, _: told.append((name, stage)),
    )
    return {row.variant: row for row in rows}, told


@pytest.fixture(scope="module")
def row(judged: Any) -> VariantDrift:
    found: VariantDrift = judged[0]["torch"]
    return found


@pytest.mark.slow
def test_every_layer_that_rounds_has_its_form_and_the_shares_add_up(row: VariantDrift) -> None:
    assert row.explanation is not None
    parts = {part.layer: part for part in row.explanation.parts}
    assert list(parts) == [node.name for node in GRAPH.nodes if node.operation in BY_OPERATION]
    assert sum(part.share for part in parts.values()) == pytest.approx(1, abs=1e-6)
    forms = {"conv1_conv": "pairwise:8, fma, bias last", "conv1_bn": "shifted", FACTOR: "shifted, its own factor"}
    forms |= {"conv3_block1_add": "the shifts last", "avg_pool": "reversed, then divide"}
    forms |= {"predictions": "sequential, fma, bias first"}  # as the plain model has it, which the logits are of
    assert {layer: parts[layer].form for layer in forms} == forms


def test_a_factor_that_is_far_off_has_most_of_the_drift(row: VariantDrift) -> None:
    assert row.explanation is not None
    largest = max(row.explanation.parts, key=lambda part: part.share)
    assert largest.layer == FACTOR and largest.share > 0.99
    assert row.explanation.share_of("batch_norm") == pytest.approx(
        sum(part.share for part in row.explanation.parts if part.layer.endswith("_bn"))
    )


@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way.operation} {way.how}")
def test_what_another_order_would_give_is_what_a_pass_in_that_order_gives(
    row: VariantDrift, truth: Any, way: Way
) -> None:
    """The keywords of predict written out here, by patterns of names."""
    plain: dict[str, Any] = {
        "order": {"*_conv": "pairwise:8", "avg_pool": "reversed"},
        "fma": {"avg_pool": False},
        "bias": {"predictions": "first"},
        "batch_norm": {"*_bn": "shifted"},
        "addition": {"*_add": "shifts-last"},
    }
    names = {"conv2d": "*_conv", "batch_norm": "*_bn", "mean_pool": "avg_pool", "dense": "predictions"}
    constants = dict(profile_of().constants[WEIGHTS.hash])
    for operation, fields in way.changes.items():
        own = names[operation]
        changed = {name: {key: value for key, value in values.items() if key != own} for name, values in plain.items()}
        for name, value in fields.items():
            changed[name] = {**changed.get(name, {}), own: value}
        plain = {name: values for name, values in changed.items() if values}
    if "batch_norm" in way.changes:
        del plain["addition"]
        constants = {} if "precision" in plain else constants
    logits = predict(PICTURE, WEIGHTS, **plain, constants=constants, classifier_activation=None)
    expected = measure(logits, truth["predictions"])["rel_l2"]
    assert row.explanation is not None
    found = [
        other.rel_l2 for other in row.explanation.otherwise if (other.operation, other.how) == (way.operation, way.how)
    ]
    same_anyway = (way.operation, way.how) in {("conv2d", "pairwise:8")}
    assert found == ([] if same_anyway else [expected])


def test_the_layers_that_no_way_names_stay_as_they_were() -> None:
    replay = Replay(GRAPH, profile_of(**SHIFTS_LAST).settings(plain=True))
    only = replay.changed(Way("reversed", {"dense": {"order": "reversed"}}))
    assert only.settings["order"]["conv1_conv"] == "pairwise:8" and only.settings["order"]["predictions"] == "reversed"
    assert only.settings["addition"] == replay.settings["addition"] and "predictions" not in only.settings["fma"]
    assert replay.same(replay) and not only.same(replay)


@pytest.mark.parametrize(("bias", "stays"), [("narrowed", True), ("stored", True), ("first", False)])
def test_the_format_of_a_sum_before_its_bias_stays_too(bias: str, stays: bool) -> None:
    """It is no part of the order; where all is rounded once there is no such format."""
    replay = Replay(GRAPH, {"precision": {"conv1_conv": "bfloat16-operands"}, "bias": {"conv1_conv": bias}})
    other = replay.changed(Way("reversed", {"conv2d": {"order": "reversed"}}))
    once = replay.changed(Way(ROUNDED_ONCE, {"conv2d": {"order": "exact"}}))
    assert other.settings.get("bias", {}).get("conv1_conv") == (bias if stays else None)
    assert "bias" not in once.settings
    assert other.settings["precision"] == once.settings["precision"] == replay.settings["precision"]


@pytest.mark.parametrize("variant", [OWN, "tf-keras", *WRONG])
def test_what_is_not_replayed_wholly_is_not_explained(judged: Any, variant: str) -> None:
    assert judged[0][variant].explanation is None


def test_an_explanation_is_kept_in_the_file(row: VariantDrift, tmp_path: Path) -> None:
    drift = Drift({}, {"kind": "float64"}, (row,))
    drift.save(tmp_path / "drift.json")
    assert Drift.load(tmp_path / "drift.json")["torch"].explanation == row.explanation


def test_shares_that_do_not_add_up_are_no_explanation(row: VariantDrift) -> None:
    part = Part("conv1_conv", "conv2d", "sequential", 1e-7, 0.999)
    with pytest.raises(InputError, match="add up to"):
        Explanation((part,))
    other = replace(part, layer="conv9_conv", share=1.0)
    with pytest.raises(InputError, match="conv9_conv"):
        replace(row, explanation=Explanation((other,), (Otherwise("", "rounded once", 1e-7),)))


def test_progress_tells_whose_drift_is_explained(judged: Any) -> None:
    assert judged[1][-3:] == [("explanation", "start"), ("explanation", "torch, 1 of 1"), ("explanation", "ok")]


@pytest.mark.slow
def test_a_replay_in_narrow_formats_is_explained_in_them(truth: Any) -> None:
    """The picture is rounded on its way in; what another order would give is in the same formats."""
    profile = profile_of()
    everywhere = {"precision": "bfloat16", "accumulate": "float32"}
    names = [node.name for node in GRAPH.nodes if node.inputs]
    layers = {name: {**profile.layers.get(name, {}), "scale": "computed"} for name in names}
    narrow = Narrow(replace(profile, layers=layers, constants={}), dict.fromkeys(names, everywhere))
    found = explain(narrow, PICTURE, WEIGHTS, truth, threads=1)
    assert found is not None
    forms = {part.layer: part.form for part in found.parts}
    assert forms["conv1_conv"] == "pairwise:8, fma, bias last, bfloat16" and forms["conv1_bn"] == "shifted, bfloat16"
    assert "conv1_relu" not in forms and forms["conv1_pad"] == "stored, bfloat16"
    ways = {(way.operation, way.how): way.rel_l2 for way in found.otherwise}
    settings = {"precision": {"input_layer": "float32", "*": "bfloat16"}, "batch_norm": "shifted"}
    orders = {"*_conv": "sequential", "avg_pool": "reversed", "predictions": "blocks:512"}
    fused = {"avg_pool": False}
    logits = predict(PICTURE, WEIGHTS, **settings, order=orders, fma=fused, classifier_activation=None)
    assert ways["conv2d", "sequential"] == measure(logits, truth["predictions"])["rel_l2"] > 1e-4


@dataclass(frozen=True)
class Narrow:
    """A profile whose layers have formats of their own."""

    profile: Profile
    formats: dict[str, dict[str, str]]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.profile, name)

    def settings(self, *, plain: bool = False) -> dict[str, dict[str, Any]]:
        more = {
            name: {layer: fields[name] for layer, fields in self.formats.items()}
            for name in ("precision", "accumulate")
        }
        return {**self.profile.settings(plain=plain), **more}
