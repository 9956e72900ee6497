"""Each layer's share of the drift: the ways back are transposes, the shares add up, and each is its layer's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from backends_support import random_images, random_weights
from hypothesis import given, settings
from hypothesis import strategies as st

from refnet.forward import activations
from refnet.forward.kernel_engine import KernelEngine
from refnet.forward.walk import evaluate
from refnet.graph import Node
from refnet.verdict.hypothesis import REFERENCES
from refnet.verdict.shares import Share, shares
from refnet.verdict.transposes import TRANSPOSES, Layer

WEIGHTS, PICTURE = random_weights(), random_images(2)
GRAPH = WEIGHTS.graph((32, 32))
ALL = [node for node in GRAPH.nodes if node.operation != "input"]


@pytest.fixture(scope="module")
def truth() -> dict[str, Any]:
    return dict(activations(PICTURE, WEIGHTS, precision="float64"))


def exact(node: Node, *inputs: Any) -> Any:
    return evaluate(node, KernelEngine(REFERENCES["float32"], node.name), WEIGHTS, *inputs)


def test_every_operation_has_a_way_back() -> None:
    assert {node.operation for node in ALL} == set(TRANSPOSES)


KINDS = {(node.operation, str(node.settings), node.weights.get("kernel", ())[:2]): node for node in ALL}


@pytest.mark.parametrize("node", KINDS.values(), ids=lambda node: node.name)
@given(seed=st.integers(0, 1 << 30), far=st.sampled_from([1e-6, 1.0]))
@settings(max_examples=8, deadline=None)
def test_the_way_back_is_the_transpose_between_any_two_runs(node: Node, seed: int, far: float) -> None:
    """sum g (f(y) - f(t)) = sum transposed(g) (y - t), whatever is between y and t: zeros, ties, changes of sign."""
    draw = np.random.default_rng(seed)
    shapes = [(2, *GRAPH[name].shape) for name in node.inputs]
    t = [np.round(draw.standard_normal(shape), 1) for shape in shapes]
    y = [x + far * np.round(draw.standard_normal(x.shape), 1) for x in t]
    rise = exact(node, *y) - exact(node, *t)
    g = draw.standard_normal(rise.shape)
    back = Layer(node, y[0], t[0], WEIGHTS).transposed(g)
    found = sum(float(np.sum(back * (a - b))) for a, b in zip(y, t, strict=True))
    scale = float(np.sqrt(np.sum(g * g) * np.sum(rise * rise)))
    assert found == pytest.approx(float(np.sum(g * rise)), abs=1e-9 * scale)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"batch_norm": "shifted", "addition": "shifts-last"},
        pytest.param({"batch_norm": "folded"}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_the_shares_of_all_layers_add_up(truth: dict[str, Any], how: dict[str, Any]) -> None:
    """Also where layers are computed together, and the drift is as large as in bfloat16."""
    joined = {"addition": "add", "batch_norm": "batch_norm"}
    of = joined["addition"] if "addition" in how else joined["batch_norm"] if how else ""
    names = frozenset(node.name for node in ALL if node.operation == of)
    for precision in ("float32", "bfloat16"):
        run = activations(PICTURE, WEIGHTS, precision=precision, order="pairwise:8", **how)
        found = shares(run, truth, GRAPH, WEIGHTS, joined=names)
        assert list(found) == [node.name for node in GRAPH.nodes]
        assert sum(share.share for share in found.values()) == pytest.approx(1, abs=1e-6)


def test_every_change_of_format_has_its_share(truth: dict[str, Any]) -> None:
    """A layer that reads wider numbers rounds them, also where it only chooses among them."""
    narrow = {"conv2_block1_out": "bfloat16", "pool1_pool": "tf32", "conv4_*": "float16"}
    found = shares(activations(PICTURE, WEIGHTS, precision=narrow), truth, GRAPH, WEIGHTS)
    assert sum(share.share for share in found.values()) == pytest.approx(1, abs=1e-6)
    assert found["conv2_block1_out"].added > 1e-4 and found["conv3_block1_1_relu"] == Share(0.0, 0.0)


def test_layers_that_are_computed_together_round_once(truth: dict[str, Any]) -> None:
    """Where additions read x s and add the shifts last, the batch normalisations that they read round nothing."""
    run = activations(PICTURE, WEIGHTS, batch_norm="shifted", addition="shifts-last")
    additions = frozenset(node.name for node in ALL if node.operation == "add")
    found = shares(run, truth, GRAPH, WEIGHTS, joined=additions)
    read = {name for addition in additions for name in GRAPH[addition].inputs if name.endswith("_bn")}
    assert read and all(found[name] == Share(0.0, 0.0) for name in read)
    assert all(found[name].added > 0 for name in additions)


@pytest.mark.parametrize("layer", ["conv1_conv", "conv2_block1_add", "conv3_block1_1_conv", "avg_pool"])
def test_a_layer_that_alone_adds_an_error_has_all_of_the_drift(truth: dict[str, Any], layer: str) -> None:
    found = shares(disturbed({layer: 1e-6}), truth, GRAPH, WEIGHTS)
    assert found[layer].share == pytest.approx(1, abs=1e-6)
    assert found[layer].added == pytest.approx(1e-6, rel=0.1)
    assert all(abs(share.share) < 1e-6 for name, share in found.items() if name != layer)


def test_a_share_is_what_the_error_does_to_the_logits(truth: dict[str, Any]) -> None:
    """Against runs forward in which each of three layers errs alone: no code in common, equal to first order."""
    errors = {"conv2_block2_2_conv": 3e-9, "conv3_block2_3_bn": 2e-9, "predictions": 1e-9}
    together = disturbed(errors)
    drift = together["predictions"] - truth["predictions"]
    found = shares(together, truth, GRAPH, WEIGHTS)
    for layer, size in errors.items():
        alone = disturbed({layer: size})["predictions"] - truth["predictions"]
        expected = float(np.sum(alone * drift) / np.sum(drift * drift))
        assert 0.001 < expected < 0.999
        assert found[layer].share == pytest.approx(expected, abs=1e-4)


def disturbed(errors: dict[str, float]) -> dict[str, Any]:
    """A run in float64 in which these layers add errors, in parts of their RMS."""
    run: dict[str, Any] = {}
    for node in GRAPH.nodes:
        inputs = [run[name] for name in node.inputs] or [np.asarray(PICTURE, np.float64)]
        run[node.name] = exact(node, *inputs)
        if node.name in errors:
            noise = np.random.default_rng(len(node.name)).standard_normal(run[node.name].shape)
            run[node.name] = run[node.name] + errors[node.name] * noise * np.sqrt(np.mean(run[node.name] ** 2))
    return run


def test_a_run_without_drift_has_no_shares(truth: dict[str, Any]) -> None:
    assert all(np.isnan(share.share) for share in shares(truth, truth, GRAPH, WEIGHTS).values())
