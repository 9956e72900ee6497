"""A verdict names its cause: a mismatch what a diagnosis finds in that layer, a lower precision what is in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends_support import SIZE, random_weights
from report_samples import FIRST, judged, large_drift

from refnet.arithmetic import Arithmetic
from refnet.arithmetic.formats import FORMATS, round_to
from refnet.backends import Run
from refnet.diagnosis import find_causes
from refnet.drift import Drift, VariantDrift
from refnet.drift.verdict import NO_CAUSE
from refnet.forward import activations
from refnet.forward.kernel_engine import KernelEngine
from refnet.forward.walk import evaluate
from refnet.report.words import sentence
from refnet.verdict import judge_runs
from refnet.verdict.judging import judge_picture
from refnet.weights import Weights

pytestmark = pytest.mark.slow  # eight networks are made, judged and searched

WEIGHTS = random_weights()
GRAPH = WEIGHTS.graph((SIZE, SIZE))
NORMS = [node.name for node in GRAPH.nodes if node.operation == "batch_norm"]
PRODUCTS = [node.name for node in GRAPH.nodes if "kernel" in node.weights]
KERNEL, SQUARED, WITH_NAN = "conv3_block2_2_conv", "conv1_conv", "conv2_block1_2_bn"
MEANS = np.array([103.939, 116.779, 123.68], np.float32)  # of blue, green, red, as Keras subtracts them
PICTURE = np.random.default_rng(1).integers(0, 256, (1, SIZE, SIZE, 3)).astype(np.float32) - MEANS


def run_of(name: str, weights: Weights = WEIGHTS, x: Any = PICTURE, **how: Any) -> Run:
    return run_with(name, activations(x, weights, **how))


def run_with(name: str, trace: Mapping[str, Any]) -> Run:
    found: Any = trace
    return Run(name, "ok", trace=found, logits=trace["predictions"])


def weights_with(changed: Mapping[str, Any]) -> Weights:
    return Weights({**{name: WEIGHTS[name] for name in WEIGHTS}, **changed}, source="changed")


def squared() -> dict[str, Any]:
    """One convolution gives the squares of what it should, which no weights would; the network goes on with them."""
    seen: dict[str, Any] = {"input_layer": PICTURE}
    for node in GRAPH.nodes[1:]:
        inputs = [seen[name] for name in node.inputs]
        seen[node.name] = evaluate(node, KernelEngine(Arithmetic(), node.name), WEIGHTS, *inputs)
        if node.name == SQUARED:
            seen[node.name] = seen[node.name] ** 2
    return seen


def with_nan() -> dict[str, Any]:
    trace = dict(activations(PICTURE, WEIGHTS))
    trace[WITH_NAN] = np.where(trace[WITH_NAN] > 0, np.float32(np.nan), trace[WITH_NAN])
    return trace


EPSILON = {
    f"{name}/moving_variance": WEIGHTS[f"{name}/moving_variance"] + np.float32(1e-3 - 1.001e-5) for name in NORMS
}
FLIPPED = {f"{KERNEL}/kernel": np.ascontiguousarray(WEIGHTS[f"{KERNEL}/kernel"][::-1, ::-1])}
STORED = {
    f"{name}/kernel": np.asarray(round_to(WEIGHTS[f"{name}/kernel"], FORMATS["bfloat16"]), np.float32)
    for name in PRODUCTS
}


@pytest.fixture(scope="module")
def found() -> dict[str, VariantDrift]:
    runs = (
        run_of("fine"),
        run_of("epsilon", weights_with(EPSILON)),
        run_of("flipped", weights_with(FLIPPED)),
        run_of("rgb", x=(PICTURE + MEANS)[..., ::-1] - MEANS),
        run_with("squared", squared()),
        run_with("nan", with_nan()),
        run_of("tf32", precision="tf32"),
        run_of("stored", weights_with(STORED)),
    )
    truth = activations(PICTURE, WEIGHTS, precision="float64")
    rows = judge_runs(runs, PICTURE, WEIGHTS, truth, find_causes=find_causes)
    return {row.variant: row for row in rows}


def causes(row: VariantDrift, kind: str) -> dict[str, str | None]:
    return {layer: verdict.cause for layer, verdict in row.verdicts.items() if verdict.kind == kind}


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("epsilon", dict.fromkeys(NORMS, "epsilon:1e-3")),
        ("flipped", {KERNEL: f"kernel:flipped:{KERNEL}"}),
        ("rgb", {"input_layer": "channels:rgb"}),
        ("squared", {SQUARED: NO_CAUSE}),
    ],
)
def test_a_mismatch_has_the_name_of_what_it_does_otherwise(
    found: dict[str, VariantDrift], variant: str, expected: dict[str, str]
) -> None:
    row = found[variant]
    assert causes(row, "mismatch") == expected
    assert row.verdict is not None and row.verdict.kind == "mismatch"
    assert row.verdict.cause == expected[row.first_layer or ""]
    assert row.verdict.reason == row.reason
    said = "none of the changes that refnet diagnose knows" if variant == "squared" else row.verdict.cause
    assert sentence(row).endswith(f" Cause: {said}.")


@pytest.mark.parametrize(("variant", "cause"), [("tf32", "precision:tf32"), ("stored", "weights:bfloat16")])
def test_a_lower_precision_has_its_name(found: dict[str, VariantDrift], variant: str, cause: str) -> None:
    reduced = causes(found[variant], "reduced")
    assert len(reduced) > 40 and set(reduced.values()) == {cause}
    whole = found[variant].verdict
    assert whole is not None and (whole.kind, whole.cause) == ("reduced", cause)


def test_a_rounded_picture_has_its_name() -> None:
    for name in ("bfloat16", "float16"):
        picture = np.asarray(round_to(PICTURE, FORMATS[name]), np.float32)
        assert judge_picture(picture, PICTURE).cause == f"input:{name}"


def test_what_is_fine_has_no_cause_and_a_trace_with_nan_is_not_searched(found: dict[str, VariantDrift]) -> None:
    assert {verdict.cause for verdict in found["fine"].verdicts.values()} == {None}
    row = found["nan"]
    assert row.verdict is not None and row.verdict.kind == "mismatch" and row.verdict.cause is None
    assert set(causes(row, "mismatch").values()) == {None}
    assert sentence(row).endswith(" Cause: not searched; refnet diagnose searches for it.")


def test_nothing_is_searched_unless_it_is_asked() -> None:
    truth = activations(PICTURE, WEIGHTS, precision="float64")
    told: list[str] = []
    rows = judge_runs(
        [run_of("flipped", weights_with(FLIPPED))],
        PICTURE,
        WEIGHTS,
        truth,
        progress=lambda name, stage, _: told.append(name),
    )
    assert set(causes(rows[1], "mismatch")) == {KERNEL} and causes(rows[1], "mismatch")[KERNEL] is None
    assert "causes" not in told and "explanation" not in told


def test_causes_are_kept_in_the_file_and_reach_the_whole(tmp_path: Path) -> None:
    row = judged("jax", "mismatch").caused({FIRST: "padding:same"})
    assert (
        row.verdict is not None and row.verdict.cause == "padding:same" and row.verdicts[FIRST].cause == "padding:same"
    )
    assert row.verdicts["predictions"].cause == NO_CAUSE and row.verdicts["conv1_conv"].cause is None
    Drift({}, {"kind": "float64"}, (row,)).save(tmp_path / "drift.json")
    assert Drift.load(tmp_path / "drift.json")["jax"].verdicts == row.verdicts
    fine = large_drift()["jax"]
    assert fine.caused({FIRST: "padding:same"}) == fine
