"""The child stands alone: it can be copied to a machine that has a framework and no refnet."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as arrays
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


def test_the_child_can_describe_every_backend() -> None:
    named = {variant.environment.get("KERAS_BACKEND", "tensorflow") for variant in VARIANTS.values()}
    assert set(child.BACKENDS) == named


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
