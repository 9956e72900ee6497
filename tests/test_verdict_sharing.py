"""What several variants have in common is judged once, and only what they have in common."""

from __future__ import annotations

import numpy as np
import pytest
from verdict_faults import backend_trace, picture

import refnet
from refnet.backends import Run
from refnet.graph import Graph
from refnet.trace import Trace
from refnet.verdict import judge_runs, judging
from refnet.verdict.layer import judge_layer
from refnet.verdict.sharing import looked_at
from refnet.weights import Weights

SIZE = 32


class Watched(dict[str, np.ndarray]):
    """A trace that remembers which layers were looked at."""

    def __init__(self, trace: dict[str, np.ndarray]) -> None:
        super().__init__(trace)
        self.seen: set[str] = set()

    def __getitem__(self, name: str) -> np.ndarray:
        self.seen.add(name)
        return super().__getitem__(name)


@pytest.fixture(scope="module")
def graph(synthetic: Weights) -> Graph:
    return synthetic.graph((SIZE, SIZE))


@pytest.fixture(scope="module")
def trace(synthetic: Weights, graph: Graph) -> dict[str, np.ndarray]:
    return backend_trace(picture(SIZE), graph, synthetic)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_verdict_looks_at_no_other_layers(
    synthetic: Weights, graph: Graph, trace: dict[str, np.ndarray], dtype: type
) -> None:
    """Of the first and the last block, in outputs that fit no hypothesis, so that all are tried."""
    for node in [*graph.nodes[1:20], *graph.nodes[-16:]]:
        watched = Watched({name: value.astype(dtype) for name, value in trace.items()})
        watched[node.name] = watched[node.name] * dtype(1.01)
        watched.seen.clear()
        assert not judge_layer(node, graph, synthetic, watched).verdict.fine
        assert watched.seen <= set(looked_at(node, graph))


def test_the_same_bits_are_judged_once(
    synthetic: Weights, graph: Graph, trace: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three backends: one, its twin, and one that differs in one layer alone."""
    other, changed = dict(trace), "conv4_block2_1_bn"
    other[changed] = trace[changed] * np.float32(1.01)
    judged: list[str] = []

    def counting(node, *rest):
        judged.append(node.name)
        return judge_layer(node, *rest)

    monkeypatch.setattr(judging, "judge_layer", counting)
    traces = {"torch": trace, "jax": dict(trace), "numpy": other}
    runs = [Run(name, "ok", trace=Trace(of), logits=of["predictions"]) for name, of in traces.items()]
    truth = refnet.activations(picture(SIZE), synthetic, precision="float64")
    own, torch, jax, numpy = judge_runs(runs, picture(SIZE), synthetic, truth)
    again = {node.name for node in graph.nodes if changed in looked_at(node, graph)}
    assert {name for name in judged if judged.count(name) == 3} == again
    assert judged.count(changed) == 3
    assert torch.verdicts == jax.verdicts and torch.layers == jax.layers
    assert numpy.verdicts[changed].kind == "mismatch" != torch.verdicts[changed].kind
    assert own.verdict is not None
