"""measure_drift on a small network with fake backends, and the drift as a value and as files."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from drift_samples import LAYERS, judged_variant, sample_drift

from refnet.backends import Run
from refnet.drift import (
    EVIDENCE,
    KINDS,
    MEASURES,
    OWN,
    Drift,
    VariantDrift,
    Verdict,
    measure_logits,
    storage,
    truth,
    worst,
)
from refnet.drift.magnitude import sum_of_magnitudes
from refnet.drift.variant import LAYER_COLUMNS, LOGIT_COLUMNS
from refnet.drift.verdict import VERDICT_COLUMNS
from refnet.errors import InputError
from refnet.graph import Graph, Node
from refnet.report import write_report
from refnet.trace import Trace
from refnet.verdict import bands, judge, measure_drift, measuring

CONV = Node(
    "conv",
    "conv2d",
    ("input_layer",),
    (3, 4, 4),
    {"kernel": (3, 2, 3, 4)},
    {"strides": (2, 1), "padding": ((1, 1), (0, 1))},
)
GRAPH = Graph(
    "Tiny",
    "v1",
    (
        Node("input_layer", "input", (), (5, 4, 3)),
        CONV,
        Node("avg_pool", "mean_pool", ("conv",), (4,)),
        Node("predictions", "dense", ("avg_pool",), (6,), {"kernel": (4, 6), "bias": (6,)}),
    ),
)
RNG = np.random.default_rng(5)
TENSORS = {"conv/kernel": RNG.normal(size=(3, 2, 3, 4)), "predictions/kernel": RNG.normal(size=(4, 6))}
TENSORS["predictions/bias"] = np.zeros(6)
PICTURE = RNG.normal(size=(2, 5, 4, 3)).astype(np.float32)


@dataclass(frozen=True)
class FakeWeights:
    include_top: bool = True
    source: str = "made up"
    hash: str = "0" * 64
    depth: int = 50
    variant: str = "v1"

    def graph(self, input_shape=(5, 4)):
        return GRAPH

    def __getitem__(self, name):
        return TENSORS[name]


def trace(precision: str, change: float = 0.0) -> Trace:
    rng = np.random.default_rng(1)
    layers = {node.name: rng.normal(size=(2, *node.shape)) for node in GRAPH.nodes}
    return Trace({name: (values * (1 + change)).astype(precision) for name, values in layers.items()}, {"made": "up"})


def first_picture(whole: Trace) -> Trace:
    return Trace({name: values[:1] for name, values in whole.items()})


@pytest.fixture
def fakes(monkeypatch):
    """Stand-ins for the forward pass and for the child processes; they record how they were called."""
    calls = SimpleNamespace(forward=[], backends=[])

    def activations(x, w, *, precision="float32", threads=None):
        calls.forward.append((precision, threads))
        return trace(precision)

    def run(variants, w, x, folder, *, threads, timeout, resume, progress, at_once, stop, ended):
        calls.backends.append(([row.name for row in variants], str(folder), threads, timeout))
        layered = trace("float32", change=1e-3)
        plain = layered["predictions"].copy()
        plain[0, 0] += 0.5
        runs = {"torch": Run("torch", "ok", trace=layered, logits=plain, provenance={"torch": "1"}, seconds=3.0)}
        for row in reversed(variants):  # whatever ends first, rows are in the order in which they were asked for
            ended(runs.get(row.name, Run(row.name, "failed", f"{row.name} is broken")))

    for module in (judge, truth):
        monkeypatch.setattr(module, "activations", activations)
    monkeypatch.setattr(measuring, "run", run)
    monkeypatch.setattr(bands, "activations", lambda x, w, **_: first_picture(trace("float32", 1e-6)))
    return calls


def measured(*arguments, **options):
    """Against float64: the network is no ResNet, so that there is nothing to certify."""
    return measure_drift(*arguments, truth="float64", **options)


def test_every_variant_is_a_row_and_refnet_float32_the_first(fakes, tmp_path):
    heard = []
    found = measured(
        PICTURE,
        FakeWeights(),
        ["torch", "jax"],
        threads=2,
        timeout=9,
        folder=tmp_path,
        progress=lambda name, stage, seconds: heard.append((name, stage)),
    )
    assert [(row.variant, row.status) for row in found.variants] == [(OWN, "ok"), ("torch", "ok"), ("jax", "failed")]
    assert found["jax"].reason == "jax is broken" and not found["jax"].layers
    assert fakes.forward == [("float64", 2), ("float32", 2)]
    assert fakes.backends == [(["torch", "jax"], str(tmp_path), 2, 9)]
    assert heard[:2] == [("refnet-float64", "start"), ("refnet-float64", "ok")]


def test_layers_are_measured_on_the_trace_and_logits_on_the_plain_model(fakes):
    found = measured(PICTURE, FakeWeights(), ["torch"])["torch"]
    assert list(found.layers) == list(GRAPH.names)
    assert found.layers["conv"]["rel_l2"] == pytest.approx(1e-3, rel=1e-3)
    plain = trace("float32", 1e-3)["predictions"].copy()
    plain[0, 0] += 0.5
    assert found.logits["max_abs"] == measure_logits(plain, trace("float64")["predictions"])["max_abs"] > 0.4
    assert found.logits["layered_values"] == 1 and found.logits["layered_max_abs"] == pytest.approx(0.5)
    assert found.layers["conv"]["max_over_sum"] > 0 and math.isnan(found.layers["avg_pool"]["max_over_sum"])


def test_the_provenance_names_weights_pictures_and_truth(fakes):
    found = measured(PICTURE, FakeWeights(), ["torch"])
    assert found.provenance["weights"]["sha256"] == "0" * 64
    assert len(found.provenance["pictures"]["sha256"]) == 2 and found.truth["kind"] == "float64"
    assert found["torch"].provenance == {"torch": "1"}
    assert "packages" in found.provenance and "cpu" in found.provenance


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((FakeWeights(), ["torch"]), {"truth": "float128"}),
        ((FakeWeights(), ["nonsense"]), {}),
        ((FakeWeights(), ["torch"]), {"threads": 0}),
        ((FakeWeights(include_top=False), ["torch"]), {}),
    ],
)
def test_bad_arguments_are_refused_before_anything_runs(fakes, arguments, options):
    with pytest.raises(InputError):
        measure_drift(PICTURE, *arguments, **options)
    assert not fakes.forward and not fakes.backends


@pytest.mark.parametrize("fault", ["float64", "NaN", "no time", "a user's folder", "a file as folder"])
def test_what_the_backends_would_refuse_is_refused_before_the_oracle_runs(fakes, tmp_path, fault):
    (tmp_path / "mine" / "torch").mkdir(parents=True)
    (tmp_path / "file").touch()
    x = {"float64": PICTURE.astype(np.float64), "NaN": PICTURE * np.float32(np.nan)}.get(fault, PICTURE)
    folder = {"a user's folder": tmp_path / "mine", "a file as folder": tmp_path / "file"}.get(fault)
    with pytest.raises(InputError):
        measure_drift(x, FakeWeights(), ["torch"], timeout=0 if fault == "no time" else 9, folder=folder)
    assert not fakes.forward and not fakes.backends


def test_refnets_own_seconds_are_those_of_its_pass(fakes, monkeypatch):
    original = judge.activations

    def slow(*arguments, **options):
        time.sleep(0.05)
        return original(*arguments, **options)

    monkeypatch.setattr(judge, "activations", slow)
    assert 0.05 <= measured(PICTURE, FakeWeights(), ["jax"])[OWN].seconds < 5


def test_numbers_that_are_not_finite_are_counted_and_never_averaged(fakes, monkeypatch, tmp_path):
    layers = {name: values.copy() for name, values in trace("float32", 1e-3).items()}
    layers["conv"][0, 0, 0, 0], layers["conv"][0, 1, 0, 0] = np.nan, np.inf
    layers["avg_pool"][:] = np.nan
    layers["predictions"][0] = np.nan
    plain = layers["predictions"].copy()
    plain[1, 0] = np.inf
    ran = Run("torch", "ok", "9 numbers", trace=Trace(layers), logits=plain)
    monkeypatch.setattr(measuring, "run", lambda *_, ended, **__: ended(ran))
    found = measured(PICTURE, FakeWeights(), ["torch"])
    row = found["torch"]
    assert row.status == "ok" and row.reason.endswith("9 numbers.") and row.verdict.kind == "mismatch"
    assert "NaN" in row.verdicts["conv"].reason and row.logits_verdict.kind == "mismatch"
    assert row.layers["conv"]["nonfinite"] == 2 and row.layers["conv"]["rel_l2"] == pytest.approx(1e-3, rel=1e-2)
    assert math.isfinite(row.layers["conv"]["max_over_sum"]) and math.isfinite(row.layers["conv"]["max_ulp"])
    assert row.layers["avg_pool"]["nonfinite"] == layers["avg_pool"].size
    assert math.isnan(row.layers["avg_pool"]["rel_l2"])
    assert row.logits["nonfinite"] == 7 and row.logits["top1_agreement"] in (0, 0.5)
    assert row.logits["layered_values"] == 1 and row.logits["layered_max_abs"] == 0
    written = write_report(found, tmp_path / "drift.json")
    again = Drift.load(written[0])
    pd.testing.assert_frame_equal(again.table, found.table)
    assert again["torch"].reason == row.reason and again["torch"].verdicts == row.verdicts


def test_sum_of_magnitudes_is_that_of_a_loop():
    padded = np.pad(np.abs(PICTURE.astype(np.float64)), ((0, 0), (1, 1), (0, 1), (0, 0)))
    found = sum_of_magnitudes(CONV, PICTURE, TENSORS)
    kernel = np.abs(TENSORS["conv/kernel"])
    assert found.shape == (2, *CONV.shape)
    for n, i, j, channel in np.ndindex(*found.shape):
        window = padded[n, 2 * i : 2 * i + 3, j : j + 2]
        assert found[n, i, j, channel] == pytest.approx(math.fsum((window * kernel[..., channel]).ravel()))


def test_sum_of_magnitudes_of_dense_and_of_other_layers():
    x = -np.ones((2, 4))
    dense = sum_of_magnitudes(GRAPH["predictions"], x, TENSORS)
    assert dense == pytest.approx(np.abs(TENSORS["predictions/kernel"]).sum(axis=0)[None].repeat(2, axis=0))
    assert sum_of_magnitudes(GRAPH["avg_pool"], x, TENSORS) is None


def test_tables_have_a_row_for_each_variant_and_layer():
    drift = sample_drift()
    assert len(drift.table) == 2 * len(LAYERS) + 2
    assert list(drift.table.columns) == ["variant", "status", *VERDICT_COLUMNS, "layer", *EVIDENCE, *MEASURES]
    assert len(drift.logits) == 4 and set(LOGIT_COLUMNS) <= set(drift.logits.columns)
    absent = drift.table[drift.table.variant == "torch"].iloc[0]
    assert absent.status == "missing" and absent.isna()["rel_l2"] and absent.isna()["layer"]


def test_json_comes_back_as_it_was(tmp_path):
    drift = sample_drift()
    drift.save(tmp_path / "drift.json")
    again = Drift.load(tmp_path / "drift.json")
    pd.testing.assert_frame_equal(again.table, drift.table)
    pd.testing.assert_frame_equal(again.logits, drift.logits)
    assert again.provenance == drift.provenance and again.truth == drift.truth
    assert list(tmp_path.iterdir()) == [tmp_path / "drift.json"]


def test_json_is_the_documented_schema_and_has_no_nan(tmp_path):
    sample_drift().save(tmp_path / "drift.json")
    document = json.loads((tmp_path / "drift.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert list(document) == ["schema", "provenance", "truth", "variants"] and document["schema"] == 1
    row, missing = document["variants"][1], document["variants"][2]
    keys = ["variant", "status", *VERDICT_COLUMNS, "first_layer", "seconds", "provenance", "logits", "layers"]
    keys += ["explanation"]
    assert list(row) == keys and row["verdict"] is None and row["first_layer"] is None
    assert set(row["logits"]) == {*VERDICT_COLUMNS, *LOGIT_COLUMNS, "top5"}
    assert list(row["layers"][0]) == ["layer", *VERDICT_COLUMNS, *LAYER_COLUMNS, "ulp_histogram"]
    assert row["layers"][0]["sqnr_db"] == "Infinity" and row["layers"][0]["max_over_sum"] is None
    assert missing["status"] == "missing" and "pip install" in missing["reason"] and missing["layers"] == []


def test_verdicts_come_back_as_they_were(tmp_path):
    drift = sample_drift(judged_variant("jax"))
    drift.save(tmp_path / "drift.json")
    row = Drift.load(tmp_path / "drift.json")["jax"]
    assert row.verdicts == drift["jax"].verdicts and row.logits_verdict == drift["jax"].logits_verdict
    assert row.verdict == Verdict("reduced", "bfloat16", "outputs are bfloat16 numbers", margin=0.5, power=1e-3)
    assert (row.first_layer, row.reason) == ("conv1_conv", row.verdict.reason)
    document = json.loads((tmp_path / "drift.json").read_text())["variants"][-1]
    assert document["verdict"] == "reduced:bfloat16" and document["first_layer"] == "conv1_conv"
    assert document["layers"][0]["replayed"] == "sequential" and document["layers"][0]["power"] is None
    assert document["layers"][2]["local_rms"] == 1e-3 and document["logits"]["rtol"] == 1e-5
    told = drift.table[drift.table.variant == "jax"]
    assert list(told.verdict[:3]) == ["identical", "rounding", "reduced:bfloat16"] and told.reason.iloc[0] == ""


def test_a_file_that_was_not_judged_has_no_verdicts(tmp_path):
    sample_drift().save(tmp_path / "drift.json")
    row = Drift.load(tmp_path / "drift.json")["tensorflow"]
    assert row.verdict is None and not row.verdicts and math.isnan(row.layers["conv1_conv"]["local_rms"])


def test_the_worst_verdict_is_the_last_in_the_table_and_the_farthest():
    rows = [Verdict("rounding", margin=0.2), Verdict("mismatch", margin=3), Verdict("mismatch", margin=9)]
    assert worst(rows) is rows[2] and worst(rows[:2]) is rows[1]
    assert worst([Verdict("rounding"), rows[0]]) is rows[0]
    assert [Verdict(kind, "bfloat16", replayed="exact").rank for kind in KINDS] == list(range(len(KINDS)))


@pytest.mark.parametrize(
    "arguments",
    [
        {"kind": "fine"},
        {"kind": "reduced"},
        {"kind": "rounding", "format": "float8"},
        {"kind": "identical"},
        {"kind": "rounding", "proved": True},
    ],
)
def test_a_verdict_that_contradicts_itself_cannot_be_made(arguments):
    with pytest.raises(InputError):
        Verdict(**arguments)


def test_csv_and_parquet_carry_table_and_provenance(tmp_path):
    drift = sample_drift()
    for suffix in (".csv", ".parquet"):
        drift.save(tmp_path / f"drift{suffix}")
    read = pd.read_csv(tmp_path / "drift.csv", skiprows=1)
    np.testing.assert_array_equal(read["rel_l2"], drift.table["rel_l2"])
    assert json.loads((tmp_path / "drift.csv").read_text().splitlines()[0][2:])["provenance"] == drift.provenance
    parquet = pd.read_parquet(tmp_path / "drift.parquet")
    pd.testing.assert_series_equal(parquet["max_ulp"], drift.table["max_ulp"])
    assert parquet.attrs["provenance"]["weights"]["source"] == "synthetic"


@pytest.mark.parametrize("name", ["drift.txt", "drift", "nowhere/drift.json", "folder.json"])
def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path, name):
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(InputError) as caught:
        sample_drift().save(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_file_is_never_half_written(tmp_path, monkeypatch):
    path = tmp_path / "drift.csv"
    path.write_text("older")

    def broken(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", broken)
    with pytest.raises(InputError, match="No space left"):
        sample_drift().save(path)
    assert path.read_text() == "older" and len(list(tmp_path.iterdir())) == 1


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'pip install "refnet\[parquet\]"'):
        sample_drift().save(tmp_path / "drift.parquet")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        '{"schema": 2}',
        '{"schema": 1}',
        '{"schema": 1, "provenance": {}, "truth": {"kind": "float64"}, "variants": [1]}',
        '{"schema": 1, "provenance": {}, "truth": {}, "variants": []}',
        '{"schema": 1, "provenance": NaN, "truth": {"kind": "float64"}, "variants": []}',
        '{"schema": 1, "provenance": {}, "truth": 5, "variants": []}',
    ],
)
def test_a_foreign_file_is_one_clear_error(tmp_path, text):
    (tmp_path / "drift.json").write_text(text)
    with pytest.raises(InputError):
        Drift.load(tmp_path / "drift.json")


def test_a_missing_file_is_one_clear_error(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        Drift.load(tmp_path / "drift.json")


def test_a_drift_that_contradicts_itself_cannot_be_made():
    drift = sample_drift()
    ran = drift["tensorflow"]
    with pytest.raises(InputError, match="one name"):
        sample_drift(ran)
    with pytest.raises(InputError, match="status"):
        VariantDrift("x", "odd", "")
    with pytest.raises(InputError, match="layers"):
        VariantDrift("x", "missing", "why", layers=ran.layers)
    with pytest.raises(InputError, match="different layers"):
        sample_drift(replace(ran, variant="x", layers={"conv1_conv": ran.layers["conv1_conv"]}))
    with pytest.raises(InputError, match="max_ulp"):
        replace(ran, logits={key: value for key, value in ran.logits.items() if key != "max_ulp"})
    some = {"conv1_conv": Verdict("rounding")}
    with pytest.raises(InputError, match="verdicts on 1 of"):
        replace(ran, verdicts=some, verdict=Verdict("rounding"))
    with pytest.raises(InputError, match="two reasons"):
        replace(judged_variant("x"), reason="another")
    with pytest.raises(InputError, match="first layer"):
        replace(ran, first_layer="conv1_conv")
    with pytest.raises(InputError, match="no variant"):
        drift["nothing"]


def test_the_worst_layer_has_the_largest_relative_error():
    row = sample_drift()["tensorflow"]
    assert row.layers[row.worst_layer]["rel_l2"] == max(numbers["rel_l2"] for numbers in row.layers.values())


def test_every_row_that_ran_is_judged(fakes, monkeypatch):
    """The made-up layers do not follow from each other, and the picture is none: a mismatch from the first layer on."""
    found = measured(PICTURE, FakeWeights(), ["torch", "jax"])
    assert found["torch"].verdict.kind == "mismatch" and found["torch"].first_layer == "input_layer"
    assert set(found["torch"].verdicts) == set(GRAPH.names)
    assert found["torch"].layers["conv"]["local_rms"] > 0.1 and found["torch"].layers["conv"]["rtol"] > 0
    assert found["jax"].verdict is None and found["jax"].reason == "jax is broken"
