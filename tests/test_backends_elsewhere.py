"""Traces from elsewhere: the folder for another machine, what comes back, and what is refused with both sides named."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from backends_support import FAKE, fake, random_images, random_weights

from refnet import activations, measure_drift
from refnet.backends import VARIANTS, load_run, load_runs, run, write_job
from refnet.backends.elsewhere import SCRIPT
from refnet.backends.result import condensed
from refnet.cli import main
from refnet.drift import OWN
from refnet.errors import InputError
from refnet.provenance import sha256_of_array
from refnet.trace import Trace
from refnet.weights import Weights, save_weights


@pytest.fixture(scope="module")
def weights() -> Weights:
    return random_weights()


@pytest.fixture(scope="module")
def result(weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a variant that ran: logits.npy and trace/."""
    folder = tmp_path_factory.mktemp("runs")
    script = folder / "fake_child.py"
    script.write_text(FAKE)
    (found,) = run([fake("good")], weights, random_images(2), folder, cache=folder / "cache", child=script)
    assert found.status == "ok", found.reason
    return folder / "good"


def own_trace(weights: Weights) -> Trace:
    return activations(random_images(2), weights, threads=1)


def replace_logits(result: Path, logits: np.ndarray, sha256: str | None) -> None:
    """Other logits of the plain model, and what the trace is to tell of them."""
    np.save(result / "logits.npy", logits)
    index = json.loads((result / "trace" / "index.json").read_text())
    index["provenance"]["backend"]["logits"]["sha256"] = sha256
    (result / "trace" / "index.json").write_text(json.dumps(index))


def test_a_trace_that_was_saved_is_a_row(weights: Weights, tmp_path: Path) -> None:
    trace = own_trace(weights)
    trace.save(tmp_path / "mine")
    found = load_run(tmp_path / "mine", weights, random_images(2))
    assert (found.variant, found.status, found.reason) == ("trace:mine", "ok", "")
    assert found.trace is not None
    assert all(np.array_equal(found.trace[name], trace[name]) for name in trace)
    assert np.array_equal(found.logits, trace["predictions"])  # type: ignore[arg-type]


def test_a_result_folder_has_the_plain_models_logits(weights: Weights, result: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(result, tmp_path / "elsewhere")
    plain = np.load(copy / "logits.npy") + np.float32(1)
    replace_logits(copy, plain, sha256_of_array(plain))
    found = load_run(copy, weights, random_images(2))
    assert np.array_equal(found.logits, plain)  # type: ignore[arg-type]
    assert found.provenance["backend"]["backend"] == "torch"


@pytest.mark.parametrize("dtype", ["float16", "float64", "int64", "U3", "O"])
def test_logits_of_another_type_than_the_trace_are_refused(
    dtype: str, weights: Weights, result: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(result, tmp_path / "elsewhere")
    replace_logits(copy, np.load(copy / "logits.npy").astype(dtype), None)
    with pytest.raises(InputError, match=rf"trace in {copy} cannot be compared: .*logits of the plain model") as caught:
        load_run(copy, weights, random_images(2))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("told", [None, "0" * 64], ids=["as it was", "another"])
def test_logits_with_another_sha256_than_the_trace_tells_are_refused(
    told: str | None, weights: Weights, result: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(result, tmp_path / "elsewhere")
    logits = np.load(copy / "logits.npy")
    if told is None:
        logits[0, 0] = 999
        np.save(copy / "logits.npy", logits)
    else:
        replace_logits(copy, logits, told)
    with pytest.raises(InputError, match=r"logits of the plain model .* has other values than its sha256 says"):
        load_run(copy, weights, random_images(2))


def test_layers_that_the_graph_does_not_have_are_left_out(weights: Weights, tmp_path: Path) -> None:
    trace = own_trace(weights)
    Trace({"more": trace["conv1_conv"], **trace}).save(tmp_path / "mine")
    found = load_run(tmp_path / "mine", weights, random_images(2))
    assert list(found.trace or ()) == list(trace)


def test_other_weights_and_pictures_are_refused_with_both_hashes(
    weights: Weights, result: Path, tmp_path: Path
) -> None:
    own_trace(weights).save(tmp_path / "mine")
    other = random_weights(seed=1)
    for folder in (result, tmp_path / "mine"):
        with pytest.raises(InputError, match=f"computed from other weights, .*{weights.hash}; expected {other.hash}"):
            load_run(folder, other, random_images(2))
        with pytest.raises(InputError, match=r"computed from other pictures, .*; expected [0-9a-f]{64}"):
            load_run(folder, weights, random_images(2) + np.float32(1))


def test_weights_that_the_model_did_not_hold_are_refused(weights: Weights, result: Path, tmp_path: Path) -> None:
    """The job may tell the right hash and the model still hold something else."""
    copy = shutil.copytree(result, tmp_path / "elsewhere")
    index = json.loads((copy / "trace" / "index.json").read_text())
    index["provenance"]["backend"]["weights"]["conv1_conv/kernel"]["sha256"] = "0" * 64
    (copy / "trace" / "index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"the plain model held other weights .*: conv1_conv/kernel"):
        load_run(copy, weights, random_images(2))


def test_what_is_no_whole_trace_of_this_graph_is_refused(weights: Weights, tmp_path: Path) -> None:
    trace = own_trace(weights)
    Trace({name: trace[name] for name in trace if name != "conv1_relu"}).save(tmp_path / "lacks")
    Trace({name: x[:1] for name, x in trace.items()}).save(tmp_path / "fewer")
    Trace({**trace, "conv1_relu": trace["conv1_relu"][:, 1:]}).save(tmp_path / "shape")
    for name, said in (
        ("lacks", "lacks conv1_relu"),
        ("fewer", "another shape"),
        ("shape", "another shape: conv1_relu"),
    ):
        with pytest.raises(InputError, match=said):
            load_run(tmp_path / name, weights, random_images(2))
    with pytest.raises(InputError, match=r"index\.json"):
        load_run(tmp_path / "nothing", weights, random_images(2))


def test_two_traces_of_one_name_are_refused(weights: Weights, result: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(result, tmp_path / result.name)
    with pytest.raises(InputError, match="named twice: trace:good"):
        load_runs([result, copy], weights, random_images(2))


def test_a_job_is_a_whole_folder_that_needs_nothing_beside_it(weights: Weights, tmp_path: Path) -> None:
    variants = (VARIANTS["torch"], VARIANTS["torch-threads-1"])
    write_job(variants, weights, random_images(1), tmp_path / "job", threads=2)
    names = {"images.npy", "torch-threads-1.json", "torch.json", "weights.h5", SCRIPT}
    assert {path.name for path in (tmp_path / "job").iterdir()} == names
    assert [path.name for path in tmp_path.iterdir()] == ["job"]
    for variant, threads in zip(variants, (2, 1), strict=True):
        text = (tmp_path / "job" / f"{variant.name}.json").read_text()
        assert str(tmp_path) not in text
        assert json.loads(text)["threads"] == threads
    with pytest.raises(InputError, match="exists"):
        write_job(variants, weights, random_images(1), tmp_path / "job")


@pytest.mark.exhaustive
def test_a_job_runs_where_there_is_no_refnet(weights: Weights, tmp_path: Path) -> None:
    """Copied to another place, started from a third, with an import of refnet made to fail."""
    if VARIANTS["torch"].missing:
        pytest.skip(VARIANTS["torch"].missing)
    write_job([VARIANTS["torch"]], weights, random_images(2), tmp_path / "job")
    there = shutil.copytree(tmp_path / "job", tmp_path / "there")
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "refnet.py").write_text("raise ImportError('there is no refnet here')")
    command = [sys.executable, str(there / SCRIPT), str(Path("..") / "there" / "torch.json")]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "none")}
    done = subprocess.run(command, cwd=tmp_path / "none", env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = load_run(there / "torch", weights, random_images(2))
    (here,) = run(["torch"], weights, random_images(2), tmp_path / "runs", cache=tmp_path / "cache")
    assert np.array_equal(found.logits, here.logits)  # type: ignore[arg-type]
    assert found.trace is not None and here.trace is not None
    assert all(np.array_equal(found.trace[name], here.trace[name]) for name in here.trace)


@pytest.mark.slow
def test_a_trace_from_elsewhere_is_one_more_row_of_the_drift(weights: Weights, result: Path, tmp_path: Path) -> None:
    own_trace(weights).save(tmp_path / "mine")
    x = random_images(2)
    found = measure_drift(x, weights, ["none"], truth="float64", threads=1, traces=[tmp_path / "mine", result])
    assert [row.variant for row in found.variants] == [OWN, "trace:mine", "trace:good"]
    errors = {row.variant: [numbers["rel_l2"] for numbers in row.layers.values()] for row in found.variants}
    assert errors["trace:mine"] == errors[OWN]
    assert errors["trace:good"] != errors[OWN]
    assert found["trace:good"].logits["top1_agreement"] <= 1
    with pytest.raises(InputError, match="other weights"):
        measure_drift(x, random_weights(seed=1), ["none"], truth="float64", traces=[result])


@pytest.mark.slow
def test_the_command_line_writes_the_job_and_runs_nothing(
    weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save_weights(weights, tmp_path / "w.h5")
    file = tmp_path / "mine.toml"
    file.write_text('[mine]\nlike = "torch"\nthreads = 3\n')
    command = ["drift", "--weights", "w.h5", "--variants", "mine,jax", "--variants-file", "mine.toml"]
    assert main([*command, "--write-job", "job"]) == 0
    out, err = capsys.readouterr()
    assert f"python {SCRIPT} mine.json" in out and err == ""
    assert sorted(path.name for path in (tmp_path / "job").glob("*.json")) == ["jax.json", "mine.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job", "mine.toml", "w.h5"]
    assert main([*command, "--write-job", "job"]) == 2
    assert "job exists" in capsys.readouterr().err


def test_a_condensed_provenance_counts_the_tensors_of_both_models() -> None:
    model = {"dtype_policy": "float32", "weights": {"conv1_conv/kernel": {"sha256": "0"}, "conv1_conv/bias": {}}}
    found = condensed({"seed": 0, "backend": {**model, "layered": model}})
    assert found["seed"] == 0 and found["backend"]["dtype_policy"] == "float32"
    assert found["backend"]["weights"] == found["backend"]["layered"]["weights"] == "2 tensors, those that were given"
    assert condensed({"backend": None, "seed": 1}) == {"backend": None, "seed": 1}
