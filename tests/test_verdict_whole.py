"""Bands, limits, logits and the verdict on a whole variant."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from verdict_faults import ARITHMETIC, backend_trace, picture

import refnet
from refnet.arithmetic.formats import FORMATS, round_to
from refnet.backends import Run
from refnet.drift import Verdict
from refnet.verdict import measuring
from refnet.verdict.bands import PASSES, Band, bands
from refnet.verdict.blocks import KINDS, Blocks, mean_squares, ratios, scales
from refnet.verdict.judging import judge_picture
from refnet.verdict.limits import LARGEST, SMALLEST, prediction_limit
from refnet.verdict.logits import judge_logits

SIZE = 64
ROUNDING, LOW = Verdict("rounding", margin=0.5), Verdict("reduced", "bfloat16")


@pytest.fixture(scope="module")
def explained(synthetic):
    x = picture(SIZE)
    truth = refnet.activations(x, synthetic, precision="float64")
    return x, truth, bands(x, synthetic, truth)


def test_tolerances_hold_for_an_order_that_is_no_pass(synthetic, explained):
    x, truth, found = explained
    other = backend_trace(x, synthetic.graph((SIZE, SIZE)), synthetic, ARITHMETIC)
    for layer, y in other.items():
        np.testing.assert_allclose(y, truth[layer], rtol=found[layer].rtol, atol=found[layer].atol)
        assert found[layer].excess(y, truth[layer]) <= 1


def test_tolerances_are_the_least_that_hold(synthetic, explained):
    """The factor times the error of some pass reaches them, but for the binning of sizes by powers of two."""
    x, truth, found = explained
    layer = "predictions"
    reached = [
        Band(0, 0, found[layer].rtol / found.factor, found[layer].atol / found.factor).excess(y, truth[layer])
        for y in (refnet.activations(x, synthetic, **settings)[layer] for settings in PASSES)
    ]
    assert 0.5 < max(reached) <= 1 + 1e-9


def test_bfloat16_is_far_outside_the_bands(synthetic, explained):
    x, truth, found = explained
    low = refnet.activations(x, synthetic, precision="bfloat16")
    assert all(found[name].excess(low[name], truth[name]) > 50 for name in ("conv1_conv", "avg_pool", "predictions"))


@given(st.floats(0, 1), st.integers(1, 20), st.floats(1, 1e7))
def test_limits_stay_between_the_two_promises_and_grow_with_the_spread(deviation, simulations, tests):
    limit = prediction_limit(deviation, simulations, tests)
    assert SMALLEST <= limit <= LARGEST
    assert limit <= prediction_limit(deviation + 0.1, simulations, tests)
    assert limit <= prediction_limit(deviation, simulations, 10 * tests)


def test_the_limits_are_the_documented_ones():
    assert (SMALLEST, LARGEST) == (2, 7)


def test_the_limit_is_the_documented_formula():
    """Against the quantile of mpmath, not of the standard library."""
    import mpmath

    z = float(mpmath.sqrt(2) * mpmath.erfinv(1 - 2 * mpmath.mpf("1e-9")))
    assert prediction_limit(0.2, 4, 1000) == pytest.approx(math.exp(z * 0.2 * math.sqrt(1.25)), rel=1e-6)


@pytest.mark.parametrize(("kind", "place"), [("channel", 3), ("place", 17)])
def test_a_fault_in_one_block_does_not_drown(kind, place):
    rng = np.random.default_rng(0)
    simulated = [mean_squares(rng.normal(size=(100, 64))) for _ in range(5)]
    errors = rng.normal(size=(100, 64))
    errors[(slice(None), place) if kind == "channel" else place] *= 9
    none = Blocks(0.0, np.zeros(64), np.zeros(100))
    scale = scales(simulated, none, none)
    found = {name: ratios(mean_squares(errors), scale, name) for name in KINDS}
    assert found["layer"][0] < SMALLEST and int(np.argmax(found[kind])) == place and found[kind].max() > LARGEST


LOGITS = np.array([[5.0, 4.0, 1.0, 0.0]])
BAND = Band(1e-7, 2e-7, 4e-7, 1e-6)


@pytest.mark.parametrize(
    ("logits", "layered", "layers", "kind"),
    [
        (LOGITS * (1 + 1e-7), LOGITS, ROUNDING, "rounding"),
        (LOGITS * (1 + 1e-4), LOGITS, ROUNDING, "mismatch"),
        (LOGITS * (1 + 1e-3), LOGITS * (1 - 1e-3), LOW, "reduced"),
        (LOGITS * (1 + 1e-1), LOGITS * (1 - 1e-3), LOW, "mismatch"),
        (LOGITS * np.nan, LOGITS, ROUNDING, "mismatch"),
        (LOGITS, LOGITS, Verdict("identical", replayed="sequential"), "identical"),
    ],
)
def test_the_verdict_on_logits(logits, layered, layers, kind):
    found = judge_logits(logits.astype(np.float32), layered.astype(np.float32), LOGITS, BAND, 2.0, [layers])
    assert found.kind == kind, found


def test_an_undecided_layer_does_not_hide_that_others_are_reduced():
    far, seen = (np.float32(LOGITS * factor) for factor in (1 + 1e-3, 1 - 1e-3))
    assert str(judge_logits(far, seen, LOGITS, BAND, 2.0, [LOW, Verdict("undecided")])) == "reduced:bfloat16"
    assert judge_logits(far, seen, LOGITS, BAND, 2.0, [LOW, Verdict("mismatch")]).kind == "mismatch"


@pytest.mark.parametrize(
    ("error", "verdict"),
    [(1e-16, "rounding"), (1e-12, "reduced:float32"), (1e-7, "reduced:float32"), (1e-3, "mismatch")],
)
def test_float64_logits_are_held_against_float64(error, verdict):
    found = judge_logits(LOGITS * (1 + error), LOGITS, LOGITS, BAND, 2.0, [ROUNDING])
    assert str(found) == verdict


def test_a_best_class_that_hangs_on_rounding_is_undecided():
    truth = np.array([[5.0, 5.0 - 1e-7, 1.0]])
    swapped = np.array([[5.0 - 5e-7, 5.0, 1.0]], np.float32)
    found = judge_logits(swapped, swapped, truth, BAND, 2.0, [ROUNDING])
    assert found.kind == "undecided" and "rounding explains" in found.reason
    assert judge_logits(truth.astype(np.float32), swapped, truth, BAND, 2.0, [ROUNDING]).kind == "rounding"


def test_the_picture_that_entered_is_judged():
    x = np.linspace(-1, 1, 27).reshape(1, 3, 3, 3).astype(np.float32)
    low = round_to(x, FORMATS["bfloat16"])
    assert judge_picture(x, x.astype(np.float64)).kind == "identical"
    assert str(judge_picture(x.astype(np.float16), x)) == "reduced:float16"
    assert judge_picture(x[..., ::-1], x).kind == "mismatch"
    assert str(judge_picture(low, x)) == "reduced:bfloat16"


def test_a_backend_that_computes_some_layers_in_float32_does_not_round_as_float64_does(synthetic, monkeypatch):
    """As numpy does under the policy float64: convolutions are float32, what follows them float64."""
    x = picture(SIZE)
    whole = refnet.activations(x, synthetic, precision="float64", order="permuted:5")
    trace = refnet.Trace({**whole, "conv1_conv": whole["conv1_conv"].astype(np.float32)})
    ran = Run("numpy", "ok", trace=trace, logits=np.array(trace["predictions"]))
    monkeypatch.setattr(measuring, "run", lambda *_, ended, **__: ended(ran))
    found = refnet.measure_drift(x, synthetic, ["numpy"], truth="float64")["numpy"]
    assert (found.verdicts["conv1_conv"].format, found.verdicts["conv2_block1_1_conv"].format) == ("float32", "float64")
    assert found.verdict.fine and found.verdict.format == "float32"


def test_measure_drift_names_the_first_layer_of_each_backend(synthetic, monkeypatch, tmp_path):
    """Three made-up backends: another order; tf32 from one convolution on; one wrong layer."""
    x, graph = picture(SIZE), synthetic.graph((SIZE, SIZE))
    lower = {"conv4_block1_1_conv": "tf32"}
    bias = "conv3_block1_2_conv/bias"
    wrong = refnet.Weights({**synthetic, bias: np.zeros_like(synthetic[bias])})
    traces = {
        "torch": backend_trace(x, graph, synthetic),
        "jax": refnet.activations(x, synthetic, precision=lower | {"*": "float32"}, order="permuted:5"),
        "numpy": backend_trace(x, graph, wrong),
    }

    def run(chosen, *_, ended, **__):
        for row in chosen:
            trace = refnet.Trace(traces[row.name])
            ended(Run(row.name, "ok", trace=trace, logits=np.array(trace["predictions"])))

    monkeypatch.setattr(measuring, "run", run)
    found = refnet.measure_drift(x, synthetic, list(traces), truth="float64")
    assert str(found["refnet-float32"].verdict) == "identical"
    assert [(str(found[name].verdict), found[name].first_layer) for name in traces] == [
        ("rounding", None),
        ("reduced:tf32", "conv4_block1_1_conv"),
        ("mismatch", "conv3_block1_2_conv"),
    ]
    assert str(found["jax"].verdicts["conv4_block1_1_conv"]) == "reduced:tf32"
    row = found["torch"].layers["conv4_block1_1_conv"]
    assert 0 < row["simulated_low"] <= row["simulated_high"] < 1e-5 and 0.1 < row["amplification"] < 10
    found.save(tmp_path / "drift.json")
    again = refnet.Drift.load(tmp_path / "drift.json")
    assert [row.verdicts for row in again.variants] == [row.verdicts for row in found.variants]
