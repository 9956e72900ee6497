"""Drift is measured from certified numbers; certificates are kept, and a kept one is believed only if it is whole."""

from __future__ import annotations

import inspect
import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drift_samples import sample_drift
from rich.console import Console

import refnet
from refnet import Certificate
from refnet.backends import Run
from refnet.certificate import kept, kept_certificate
from refnet.drift import DEFAULT_TRUTH, OWN, TRUTHS, Drift, truth
from refnet.graph import resnet
from refnet.provenance import sha256_of_array
from refnet.report import markdown, tables
from refnet.verdict import measure_drift, measuring
from refnet.weights import Weights

PICTURE = refnet.load_image(refnet.bundled_image(), size=32)
BLACK = np.zeros_like(PICTURE)


@pytest.fixture(scope="module")
def proof(synthetic: Weights) -> Certificate:
    """A real certificate, made once."""
    return refnet.certify(PICTURE, synthetic)


@pytest.fixture
def counted(proof: Certificate, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Calls of what stands in for certify: it gives the certificate above as if it were of what is asked for."""
    calls = []

    def certify(picture: np.ndarray, weights: Weights, bits: int, **how: Any) -> Certificate:
        graph = weights.graph(picture.shape[1:3])
        about = {"name": graph.name, "variant": graph.variant, "output": graph.output.name}
        of = {"weights": weights.hash, "picture": sha256_of_array(picture), "graph": about}
        calls.append(of["picture"])
        return replace(proof, bits=bits, provenance={**proof.provenance, **of})

    monkeypatch.setattr(kept, "certify", certify)
    return calls


def files(cache: Path) -> list[Path]:
    return sorted((cache / "certificates").iterdir())


def test_a_certificate_is_made_once(counted: list[str], synthetic: Weights, proof: Certificate, tmp_path: Path) -> None:
    for _ in range(2):
        found = kept_certificate(PICTURE, synthetic, cache=tmp_path)
        assert (found.value == proof.value).all() and (found.radius == proof.radius).all()
        assert all(np.array_equal(found.trace()[name], proof.trace()[name]) for name in proof.layers)
    assert len(counted) == 1 and len(files(tmp_path)) == 1


def flipped(data: bytearray) -> None:
    data[len(data) // 2] ^= 1


def cut(data: bytearray) -> None:
    del data[-1000:]


def emptied(data: bytearray) -> None:
    data.clear()


@pytest.mark.parametrize("spoil", [flipped, cut, emptied])
def test_a_spoiled_file_is_made_again(
    counted: list[str], synthetic: Weights, proof: Certificate, tmp_path: Path, spoil: Callable[[bytearray], None]
) -> None:
    kept_certificate(PICTURE, synthetic, cache=tmp_path)
    (path,) = files(tmp_path)
    spoil(data := bytearray(whole := path.read_bytes()))
    path.write_bytes(data)
    found = kept_certificate(PICTURE, synthetic, cache=tmp_path)
    assert len(counted) == 2 and (found.value == proof.value).all() and len(path.read_bytes()) == len(whole)


def test_a_file_of_something_else_is_not_believed(counted: list[str], synthetic: Weights, tmp_path: Path) -> None:
    kept_certificate(PICTURE, synthetic, cache=tmp_path)
    (right,) = files(tmp_path)
    whole = right.read_bytes()
    kept_certificate(BLACK, synthetic, cache=tmp_path)
    (other,) = (path for path in files(tmp_path) if path != right)
    other.write_bytes(whole)
    assert kept_certificate(BLACK, synthetic, cache=tmp_path).provenance["picture"] == sha256_of_array(BLACK)
    assert counted == [sha256_of_array(PICTURE), sha256_of_array(BLACK), sha256_of_array(BLACK)]


def test_other_pictures_weights_bits_versions_and_graphs_are_other_files(
    counted: list[str], synthetic: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = Weights(dict(synthetic) | {"conv1_conv/bias": np.ones(64, np.float32)})

    def names(picture: np.ndarray = PICTURE, w: Weights = synthetic, bits: int = 53) -> str:
        graph = w.graph((32, 32))
        return kept._name(kept._key(picture, w, graph, bits), graph)

    found = [names(), names(BLACK), names(w=changed), names(bits=60)]
    graph = resnet(input_shape=(32, 32))
    nodes = tuple(replace(node, settings={**node.settings, "epsilon": 1e-3}) for node in graph.nodes)
    found.append(kept._name(kept._key(PICTURE, synthetic, graph, 53), replace(graph, nodes=nodes)))
    monkeypatch.setattr(kept, "__version__", "another")
    assert len({*found, names()}) == 6


def test_the_two_used_last_are_kept(counted: list[str], synthetic: Weights, tmp_path: Path) -> None:
    for place in range(4):
        kept_certificate(PICTURE + np.float32(place), synthetic, cache=tmp_path)
        for path in files(tmp_path):
            os.utime(path, (path.stat().st_mtime - 10,) * 2)
    assert len(files(tmp_path)) == kept.KEPT_FILES == 2
    for place in (3, 2):
        kept_certificate(PICTURE + np.float32(place), synthetic, cache=tmp_path)
    assert len(counted) == 4


def test_without_a_place_to_keep_it_a_certificate_is_made_all_the_same(
    counted: list[str], synthetic: Weights, proof: Certificate, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    found = kept_certificate(PICTURE, synthetic, cache=tmp_path / "file")
    assert (found.value == proof.value).all() and len(counted) == 1


def test_ctrl_c_leaves_no_file(synthetic: Weights, tmp_path: Path) -> None:
    def interrupt(layer: str, *_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept_certificate(PICTURE, synthetic, cache=tmp_path, progress=interrupt)
    assert files(tmp_path) == []


@pytest.fixture
def without_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(variants: Any, *_: Any, ended: Any, **__: Any) -> None:
        for row in variants:
            ended(Run(row.name, "failed", "none in this test"))

    monkeypatch.setattr(measuring, "run", run)


def test_the_truth_is_certified_unless_another_is_asked_for() -> None:
    assert inspect.signature(measure_drift).parameters["truth"].default == DEFAULT_TRUTH == "certified"
    assert list(TRUTHS) == ["certified", "float64"]


def test_drift_is_measured_from_the_certified_numbers(
    counted: list[str], without_backends: None, synthetic: Weights, proof: Certificate, tmp_path: Path
) -> None:
    heard: list[tuple[str, str]] = []
    found = measure_drift(
        PICTURE, synthetic, ["torch"], cache=tmp_path, progress=lambda name, stage, _: heard.append((name, stage))
    )
    assert heard[:2] == [("certificate", "start"), ("certificate", "ok")]
    own = refnet.activations(PICTURE, synthetic)
    for layer in ("conv1_conv", "conv5_block3_out", "predictions"):
        t, y = proof.layers[layer].hi, own[layer].astype(np.float64)
        wanted = np.linalg.norm(y - t) / np.linalg.norm(t)
        assert found[OWN].layers[layer]["rel_l2"] == pytest.approx(wanted, rel=1e-9, abs=0)
    about = found.truth
    assert (about["kind"], about["bits"], about["working_precision"]) == ("certified", 53, proof.working_precision)
    assert about["digits"] == proof.digits and about["decided"] and about["open_logits"] == 0
    assert about["layer_digits"]["conv1_conv"] == proof.layers["conv1_conv"].digits
    assert about["provenance"]["picture"] == [sha256_of_array(PICTURE)]
    found.save(tmp_path / "drift.json")
    document = json.loads((tmp_path / "drift.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert document["truth"]["layer_digits"]["input_layer"] == "Infinity"
    again = Drift.load(tmp_path / "drift.json")
    assert dict(again.truth) == dict(about)
    for page in (printed(again), markdown(again)):
        assert f"truth: certified {math.floor(proof.digits)} digits ·" in page
        (row,) = (line for line in page.splitlines() if "digits proven" in line)
        assert str(math.floor(proof.layers["conv1_relu"].digits)) in row


def test_each_picture_of_a_batch_has_a_certificate(
    counted: list[str], proof: Certificate, synthetic: Weights, tmp_path: Path
) -> None:
    batch = np.concatenate([PICTURE, BLACK])
    silent = truth.truth_of("certified", batch, synthetic, threads=1, cache=tmp_path, tell=lambda *_: None)
    assert counted == [sha256_of_array(PICTURE), sha256_of_array(BLACK)]
    assert silent.trace["predictions"].shape == (2, 1000)
    np.testing.assert_array_equal(silent.trace["avg_pool"], np.concatenate([proof.trace()["avg_pool"]] * 2))


def test_of_several_pictures_the_least_counts(proof: Certificate) -> None:
    worse = replace(proof.layers["conv1_bn"], largest=-3.0)
    other = replace(proof, layers={**proof.layers, "conv1_bn": worse}, working_precision=384)
    both = truth.together([truth.proven(proof), truth.proven(other)])
    assert both["working_precision"] == 384 and both["digits"] == worse.digits == both["layer_digits"]["conv1_bn"]
    assert not both["decided"] and both["open_layers"] == ["conv1_bn"] and both["open_logits"] == 0


def test_the_report_says_what_is_open() -> None:
    about = {"digits": 2.7, "layer_digits": {}, "decided": False, "open_logits": 3, "open_layers": ["conv1_bn"]}
    drift = replace(sample_drift(), truth={"kind": "certified", **about})
    assert "truth: certified 2 digits, 3 logits and 1 layers open" in " ".join(printed(drift).split())


def test_the_quick_truth_is_the_float64_pass(counted: list[str], without_backends: None, synthetic: Weights) -> None:
    found = measure_drift(PICTURE, synthetic, ["torch"], truth="float64")
    assert found.truth["kind"] == "float64" and "digits" not in found.truth and not counted
    assert "truth: float64 oracle" in printed(found)


def printed(drift: Drift) -> str:
    console = Console(width=110, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(tables(drift))
    return console.export_text()
