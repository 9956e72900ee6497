"""The command line as a user meets it: exit codes, one-line errors, files; the long work is replaced by fakes."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from dataclasses import dataclass

import mpmath
import numpy as np
import pytest
from drift_samples import sample_drift, variant

import refnet.drift
import refnet.forward
import refnet.images
import refnet.reveal
import refnet.weights
from refnet.arithmetic import DoubleDouble
from refnet.backends import STATUSES
from refnet.cli import main
from refnet.cli.drift import exit_code
from refnet.drift import OWN, Drift, VariantDrift
from refnet.errors import InputError
from refnet.graph import resnet
from refnet.provenance import sha256_of_array


@dataclass
class FakeWeights:
    hash: str = "ab"
    include_top: bool = True

    def graph(self, input_shape):
        return resnet(input_shape=input_shape)


DIGIT_BITS = {"double-double": 106, "mp40": mpmath.libmp.dps_to_prec(40)}


@pytest.fixture
def fakes(monkeypatch, tmp_path):
    """A measured drift without the measuring, weights without making them; the calls are recorded."""
    calls = []

    def measure_drift(x, w, names, **options):
        calls.append((x.shape, w, names, options))
        options["progress"]("tensorflow", "start", 0.0)
        options["progress"]("tensorflow", "ok", 1.0)
        return sample_drift()

    monkeypatch.setattr(refnet.verdict, "measure_drift", measure_drift)
    monkeypatch.setattr(refnet.weights, "load_weights", lambda source, **_: source)
    monkeypatch.setattr(refnet.reveal, "profiles_for", lambda *_, **__: [])
    monkeypatch.chdir(tmp_path)
    return calls


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bogus"], "No such command"),
        (["drift", "--bogus"], "No such option"),
        (["drift", "--image"], "requires an argument"),
        (["drift", "--threads", "0"], "--threads"),
        (["drift", "--threads", "two"], "--threads"),
        (["drift", "--variants", "nonsense"], "expected some of tensorflow"),
        (["drift", "--variants", ","], "no variants"),
        (["drift", "--variants", "none"], "no variants"),
        (["drift", "--variants-file", "nothing.toml"], "nothing.toml"),
        (["drift", "--resume"], "--resume without --folder"),
        (["drift", "--variants", "none", "--write-job", "job"], "no variants"),
        (["drift", "--json", "drift.txt"], "expected .json"),
        (["drift", "--json", "nowhere/drift.json"], "cannot be written"),
        (["drift", "--folder", "/proc/nowhere"], "/proc/nowhere"),
        (["drift", "--csv", "drift.parquet"], "expected .csv"),
        (["drift", "--parquet", "drift.csv"], "expected .parquet"),
        (["drift", "--image", "nothing.png"], "nothing.png"),
        (["predict", "--image", "nothing.png"], "nothing.png"),
        (["predict", "--json", "nowhere/p.json"], "cannot be written"),
        (["predict", "--top", "0"], "--top"),
        (["weights"], "Missing command"),
        (["weights", "make"], "Missing argument"),
        (["weights", "make", "w.doc"], "w.doc"),
        (["weights", "inspect", "nothing.h5"], "nothing.h5"),
    ],
)
def test_bad_input_is_one_line_on_stderr_and_exit_code_2(arguments, said, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("refnet: ") and said in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [[], ["--help"], ["drift", "-h"], ["predict", "--help"], ["weights", "--help"]])
def test_help_is_plain_and_exits_with_0(arguments, capsys):
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Usage: refnet") and err == "" and "completion" not in out


def test_drift_prints_the_table_and_writes_the_report(fakes, tmp_path, capsys):
    assert main(["drift", "--csv", "t.csv", "--parquet", "t.parquet", "--threads", "2"]) == 3  # one was killed
    out, err = capsys.readouterr()
    assert "tensorflow" in out and "written: drift.json, drift.md, drift.png, drift.html, t.csv, t.parquet" in out
    assert "tensorflow" in err
    assert len(list(tmp_path.iterdir())) == 6
    shape, weights, names, options = fakes[0]
    assert shape == (1, 224, 224, 3) and weights == "synthetic" and names == ["default"] and options["threads"] == 2


def test_quiet_prints_nothing(fakes, tmp_path, capsys):
    assert main(["drift", "--quiet", "--variants", "torch jax,numpy"]) == 3
    assert capsys.readouterr() == ("", "")
    assert (tmp_path / "drift.json").exists() and fakes[0][2] == ["torch", "jax", "numpy"]


@pytest.mark.parametrize("status", STATUSES)
def test_exit_code_when_one_of_two_ran(status):
    second = variant("jax", 1e-7) if status == "ok" else VariantDrift("jax", status, "why")
    drift = Drift({}, {"kind": "float64"}, (variant(OWN, 1e-7), variant("torch", 1e-7), second))
    assert exit_code(drift, ["all"]) == exit_code(drift, ["default"]) == (0 if status in ("ok", "missing") else 3)
    assert exit_code(drift, ["torch", "jax"]) == (0 if status == "ok" else 3)


def test_exit_code_when_no_backend_ran():
    drift = Drift({}, {"kind": "float64"}, (variant(OWN, 1e-7), VariantDrift("jax", "missing", "why")))
    assert exit_code(drift, ["all"]) == 3


@pytest.mark.parametrize(
    ("error", "code"),
    [(KeyboardInterrupt(), 130), (PermissionError(13, "Permission denied", "x.h5"), 2), (OSError(28, "No space"), 2)],
)
def test_interruption_is_silent_and_a_system_error_one_line(fakes, monkeypatch, capsys, error, code):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(refnet.verdict, "measure_drift", fail)
    assert main(["drift", "--quiet"]) == code
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == err.count("refnet: ") == (code == 2)


def test_predict_prints_the_best_classes_and_writes_json(fakes, monkeypatch, tmp_path, capsys):
    probabilities = np.zeros((1, 10), np.float32)
    probabilities[0, [7, 3]] = 0.75, 0.25
    used = {}
    monkeypatch.setattr(refnet.forward, "predict", lambda x, w, **how: used.update(how) or probabilities)
    monkeypatch.setattr(refnet.weights, "load_weights", lambda source: FakeWeights())
    said = ["--accumulate", "float64", "--bias", "first", "--batch-norm", "shifted", "--shift", "fused", "--size", "40"]
    said += ["--mean", "multiply", "--relu", "signed-zero", "--addition", "shifts-last"]
    assert main(["predict", "--top", "2", "--no-fma", "--order", "pairwise", "--json", "p.json", *said]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["class", "7", "0.750000"] and lines[2].split() == ["class", "3", "0.250000"]
    del used["progress"]
    assert used == {
        "precision": "float32",
        "accumulate": "float64",
        "order": "pairwise",
        "fma": False,
        "bias": "first",
        "batch_norm": "shifted",
        "shift": "fused",
        "mean": "multiply",
        "relu": "signed-zero",
        "addition": "shifts-last",
        "threads": None,
    }
    document = json.loads((tmp_path / "p.json").read_text())
    assert document["predictions"][0]["probabilities"] == probabilities[0].tolist()
    assert document["provenance"]["weights"] == "ab"
    picture = refnet.images.load_images([refnet.images.bundled_image()], 40)
    assert document["provenance"]["pictures"] == {"shape": [1, 40, 40, 3], "sha256": [sha256_of_array(picture)]}


@pytest.mark.parametrize("precision", ["double-double", "mp40"])
def test_predict_writes_all_digits_of_wide_numbers(fakes, monkeypatch, tmp_path, capsys, precision):
    with mpmath.workprec(DIGIT_BITS[precision]):
        third, rest = mpmath.mpf(1) / 3, mpmath.mpf(2) / 3
    row = np.array([[third, rest]], object)
    high = row.astype(np.float64)
    wide = DoubleDouble(high, (row - high).astype(np.float64)) if precision == "double-double" else row
    monkeypatch.setattr(refnet.forward, "predict", lambda x, w, **how: wide)
    monkeypatch.setattr(refnet.weights, "load_weights", lambda source: FakeWeights())
    assert main(["predict", "--precision", precision, "--json", "p.json", "--size", "32"]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["class", "1", "0.666667"],
        ["class", "0", "0.333333"],
    ]
    text = json.loads((tmp_path / "p.json").read_text())["predictions"][0]["probabilities"]
    exact = wide.to_mpf()[0] if isinstance(wide, DoubleDouble) else row[0]
    with mpmath.workprec(DIGIT_BITS[precision]):
        assert [mpmath.mpf(digits) for digits in text] == list(exact)


def test_predict_needs_a_top(fakes, monkeypatch, capsys):
    monkeypatch.setattr(refnet.weights, "load_weights", lambda source: FakeWeights(include_top=False))
    assert main(["predict", "--weights", "bare.h5"]) == 2
    assert capsys.readouterr().err.startswith("refnet: bare.h5 has no top")


def test_class_names_come_from_kerass_cache_or_not_at_all(tmp_path, monkeypatch):
    from refnet.cli.predict import class_names

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert class_names() == {}
    (tmp_path / "models").mkdir()
    index = tmp_path / "models" / "imagenet_class_index.json"
    index.write_text('{"0": ["n01440764", "tench"]}')
    assert class_names() == {0: "tench"}
    index.write_text("[1, 2")
    assert class_names() == {}


def test_a_warning_is_one_line(monkeypatch, capsys):
    def warn(*_, **__):
        warnings.warn("the picture\nis turned", stacklevel=1)
        raise InputError("enough")

    monkeypatch.setattr(refnet.images, "load_images", warn)
    assert main(["predict"]) == 2
    assert capsys.readouterr().err == "refnet: warning: the picture is turned\nrefnet: enough\n"


def test_python_m_refnet_is_the_same_program():
    done = subprocess.run([sys.executable, "-m", "refnet", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"refnet {refnet.__version__}\n"
