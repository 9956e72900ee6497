"""The child stands alone: it can be copied to a machine that has a framework and no refnet."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as arrays
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given

from refnet.backends import VARIANTS, child
from refnet.backends.job import THREAD_VARIABLES, make_job
from refnet.backends.run import CHILD
from refnet.graph import OPERATIONS, Graph, resnet
from refnet.provenance import sha256_of_array

GRAPHS = [resnet(50, variant="v1"), resnet(101, variant="v1.5"), resnet(152, include_top=False)]


def job_of(graph: Graph, threads: int | None = None) -> dict[str, Any]:
    return make_job(
        VARIANTS["torch"], graph, weights=Path("w.h5"), images=Path("x.npy"), output=Path("o"), threads=threads
    )


def test_the_child_imports_nothing_but_the_standard_library_and_numpy() -> None:
    tree = ast.parse(CHILD.read_text(encoding="utf-8"))
    plain = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    from_ = {f"{'.' * node.level}{node.module}" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    tops = {name.split(".")[0] for name in plain | from_}
    assert tops - set(sys.stdlib_module_names) == {"numpy"}


@given(arrays.arrays(np.float32, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3)))
def test_the_child_hashes_arrays_as_refnet_does(array: np.ndarray) -> None:
    assert child.sha256_of_array(array) == sha256_of_array(array)


def test_the_child_can_build_every_operation() -> None:
    assert set(child.LAYERS) == set(OPERATIONS) - {"input"}


def test_the_child_can_configure_and_describe_every_backend() -> None:
    named = {variant.environment.get("KERAS_BACKEND", "tensorflow") for variant in VARIANTS.values()}
    assert set(child.BACKENDS) == set(child.CONFIGURE) == named


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: f"{graph.name} {graph.variant}")
def test_a_job_survives_json_and_holds_the_graph(graph: Graph) -> None:
    job = job_of(graph)
    back = json.loads(json.dumps(job))
    assert [node["name"] for node in back["nodes"]] == list(graph.names)
    assert back["application"] == (graph.name if graph.variant == "v1" else None)
    assert back["environment"] == {"KERAS_BACKEND": "torch", "TF_CPP_MIN_LOG_LEVEL": "2"}


def test_threads_reach_every_library_by_its_variable() -> None:
    environment = job_of(GRAPHS[0], threads=3)["environment"]
    assert {environment[name] for name in THREAD_VARIABLES} == {"3"}


def test_importing_the_table_imports_no_framework() -> None:
    code = (
        "import sys, refnet.backends as b; [v.missing_modules for v in b.VARIANTS.values()];"
        "print({'keras', 'tf_keras', 'tensorflow', 'jax', 'torch', 'openvino'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("framework", "backend", "used"),
    [
        ("keras", "tensorflow", "tensorflow"),
        ("keras", None, "tensorflow"),
        ("tf_keras", "jax", "tensorflow"),
        ("keras", "jax", "jax"),
        ("keras", "numpy", "jax"),
        ("keras", "torch", None),
    ],
)
def test_packages_that_a_forward_pass_has_no_use_for_are_hidden_from_imports(
    framework: str, backend: str | None, used: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the environment that the process has, whoever set it."""
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    if backend is not None:
        monkeypatch.setenv("KERAS_BACKEND", backend)
    modules: dict[str, Any] = {"sys": sys}
    with monkeypatch.context() as patched:
        patched.setattr(sys, "modules", modules)
        child.hide_unused({"framework": framework})
    assert [name for name in modules if modules[name] is None] == [p for p in child.UNUSED if p != used]


class Model:
    """Answers with the picture as it got it and with its mean, in bfloat16; it notes what it was given."""

    def __init__(self, noise: float = 0.0) -> None:
        self.noise, self.seen = noise, []

    def predict(self, batch: np.ndarray, batch_size: int, verbose: int) -> list[np.ndarray]:
        self.seen.append(batch)
        last = np.zeros(len(batch), np.float32)
        last[-1] = self.noise
        return [batch, (batch.mean(axis=(1, 2, 3)) + last)[:, None].astype(ml_dtypes.bfloat16)]


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("noise", [0.0, 8.0])
def test_each_picture_goes_in_a_batch_of_copies_and_comes_back_with_its_channels_last(
    data_format: str, noise: float, tmp_path: Path
) -> None:
    images = np.random.default_rng(0).standard_normal((2, 4, 5, 3), np.float32)
    model, files = Model(noise), [tmp_path / "picture.npy", tmp_path / "mean.npy"]
    told = child.write_outputs(model, images, {"batch_size": 3, "data_format": data_format}, files)
    shape = (3, 3, 4, 5) if data_format == "channels_first" else (3, 4, 5, 3)
    assert [batch.shape for batch in model.seen] == [shape] * 2
    assert all(batch.flags.c_contiguous for batch in model.seen), "torch chooses its kernels by the strides"
    assert np.array_equal(np.load(files[0]), images)
    means = np.load(files[1])
    assert (means.dtype, means.shape) == (np.float32, (2, 1))
    assert np.array_equal(means, means.astype(ml_dtypes.bfloat16).astype(np.float32))
    assert [entry["computed"] for entry in told] == ["float32", "bfloat16"]
    assert [entry["places_differ"] for entry in told] == [False, noise != 0]
    assert [entry["sha256"] for entry in told] == [sha256_of_array(np.load(file)) for file in files]


def test_a_gpu_is_asked_for_only_in_backends_that_can_have_one() -> None:
    assert set(child.GPUS) == {v.environment["KERAS_BACKEND"] for v in VARIANTS.values() if "gpu" in v.needs}
    assert not child.has_gpu("openvino")
