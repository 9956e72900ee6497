"""No false alarms: the distribution of rounding errors, and orders of additions that no simulation has."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from verdict_faults import backend_trace, picture

from refnet.arithmetic import Arithmetic
from refnet.forward.kernel_engine import KernelEngine
from refnet.forward.walk import evaluate
from refnet.graph import Node
from refnet.verdict.blocks import effective_outputs
from refnet.verdict.chains import alone
from refnet.verdict.expected import chain_squares
from refnet.verdict.layer import fit_of, judge_layer
from refnet.verdict.limits import largest_ratio, limits
from refnet.verdict.local import Local


@pytest.mark.parametrize("bias", [0.0, 3.0, -1.5])
def test_the_expected_squares_are_the_mean_over_all_permutations(bias):
    """By writing out all partial sums of all 5040."""
    rng = np.random.default_rng(3)
    x, kernel = rng.normal(size=(1, 8)), rng.normal(size=(8, 1))
    x[0, 4] = 0.0
    terms = [float(p) for p in (x[0] * kernel[:, 0]) if p]
    sums = np.array([np.cumsum(p) for p in permutations(terms)])
    node = Node("d", "dense", ("x",), (1,), {"kernel": (8, 1), "bias": (1,)})
    weights = {"d/kernel": kernel, "d/bias": np.array([bias])}
    e = np.array([[sum(terms) + bias]])
    last, first = (float(found[0, 0]) for found in chain_squares(node, weights, x, e))
    assert last - e[0, 0] ** 2 == pytest.approx((sums**2).sum(axis=1).mean(), rel=1e-9)
    assert first == pytest.approx(((sums + bias) ** 2).sum(axis=1).mean(), rel=1e-9)


@pytest.mark.parametrize("outputs", [1, 4, 64])
@pytest.mark.parametrize("probability", [1e-4, 3e-5])
def test_the_limit_is_above_the_quantile_of_drawn_chains_and_not_far(outputs, probability):
    """Bridges drawn step by step, which share no formula with the limit."""
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(200_000, 64)).astype(np.float32)
    walks = np.cumsum(steps - steps.mean(axis=1, keepdims=True), axis=1)
    v = np.mean(walks**2, axis=1)
    ratio = np.sqrt(v / v.mean() * rng.chisquare(outputs, len(v)) / outputs)
    quantile = float(np.quantile(ratio, 1 - probability))
    assert quantile < largest_ratio(np.array([outputs]), probability)[0] < 1.6 * quantile


@given(st.floats(1, 1e6), st.floats(1, 1e6), st.floats(1e-14, 0.1))
def test_more_outputs_and_more_probability_lower_the_limit(one, other, probability):
    few, many = largest_ratio(np.sort([one, other]), probability)
    assert few >= many > 1
    assert few <= largest_ratio(np.array([min(one, other)]), probability / 10)[0]


def test_copies_and_small_errors_do_not_count_as_outputs():
    rng = np.random.default_rng(0)
    e, ones = rng.normal(size=(30, 20)), np.ones((30, 20))
    assert effective_outputs(ones, e).layer == 600
    assert set(effective_outputs(ones, e).channel) == {30} and set(effective_outputs(ones, e).place) == {20}
    e[10:] = e[0]
    found = effective_outputs(ones, e)
    assert found.channel == pytest.approx(np.full(20, 30**2 / (9 + 21**2))) and set(found.place) == {20}
    ones[:, 3] = 1e9
    assert effective_outputs(ones, e).place == pytest.approx(np.ones(30), abs=1e-6)
    assert np.isfinite(effective_outputs(np.zeros((4, 3)), np.zeros((4, 3))).channel).all()


def scaled_filter(weights):
    """One filter a hundred times larger in each layer, its statistics too: the same network."""
    return _with_filters(weights, 3, {"kernel": 100, "bias": 100, "moving_mean": 100, "moving_variance": 1e4})


def dead_filters(weights):
    return _with_filters(weights, 2, {"kernel": 1e-9, "moving_variance": 1e-18, "gamma": 1e-6})


def large_means(weights):
    found = dict(weights)
    for name in weights:
        if name.endswith(("_conv/bias", "/moving_mean")):
            found[name] = weights[name] + np.where(np.arange(len(weights[name])) < 8, np.float32(30), np.float32(0))
    return found


def _with_filters(weights, place, factors):
    found = {name: weights[name] for name in weights}
    for norm in [name.removesuffix("_bn/gamma") for name in weights if name.endswith("_bn/gamma")]:
        for key, factor in factors.items():
            name = f"{norm}_{'conv' if key in ('kernel', 'bias') else 'bn'}/{key}"
            found[name] = found[name].copy()
            found[name][..., place] *= np.float32(factor)
    return found


WEIGHTS = {
    "as they are": dict,
    "scaled filter": scaled_filter,
    "dead filters": dead_filters,
    "large means": large_means,
}
PICTURES = {
    "bundled": lambda: picture(32),
    "64": lambda: picture(64),
    "black": lambda: np.zeros((1, 32, 32, 3), np.float32),
    "constant": lambda: np.full((1, 32, 32, 3), 50.061, np.float32),
    "noise": lambda: np.random.default_rng(1).normal(0, 60, (1, 32, 32, 3)).astype(np.float32),
    "huge": lambda: np.random.default_rng(1).normal(0, 1e15, (1, 32, 32, 3)).astype(np.float32),
    "batch": lambda: np.concatenate([picture(32), picture(32, place=20), np.zeros((1, 32, 32, 3), np.float32)]),
}
SWEEP = [(name, "as they are") for name in PICTURES] + [("bundled", name) for name in list(WEIGHTS)[1:]]
SWEPT = (
    "conv1_conv",
    "conv2_block1_1_conv",
    "conv2_block1_0_conv",
    "conv2_block2_3_conv",
    "conv5_block1_0_conv",
    "conv5_block1_2_conv",
    "conv5_block3_3_conv",
    "predictions",
)


def margins(synthetic, name, weights_name, layers, orders):
    """Of layers added in permutations that are not simulated, with and without fma, the bias first or last."""
    weights, x = WEIGHTS[weights_name](synthetic), PICTURES[name]()
    graph = synthetic.graph(x.shape[1:3])
    trace = backend_trace(x, graph, weights)
    found = {}
    for layer in layers:
        node = graph[layer]
        local = Local(alone(node), weights, trace)
        allowed = limits(local.effective, len(graph.nodes))
        for seed in orders:
            bias = "first" if seed % 3 == 0 else "last"
            arithmetic = Arithmetic("float32", order=f"permuted:{seed}", fma=seed % 2 == 0, bias=bias)
            y = evaluate(node, KernelEngine(arithmetic, layer), weights, *[trace[i] for i in node.inputs])
            found[layer, seed] = fit_of(local.error(y), local.scale, allowed).margin
    return found


@pytest.mark.parametrize(("name", "weights"), SWEEP)
def test_unseen_orders_are_never_a_mismatch(synthetic, name, weights):
    found = margins(synthetic, name, weights, SWEPT[-3:], range(1000, 1010))
    assert max(found.values()) <= 1, max(found.items(), key=lambda item: item[1])


@pytest.mark.exhaustive
@pytest.mark.parametrize(("name", "weights"), SWEEP)
def test_hundreds_of_unseen_orders_are_never_a_mismatch(synthetic, name, weights):
    found = margins(synthetic, name, weights, SWEPT, range(2000, 2060))
    assert max(found.values()) <= 1, max(found.items(), key=lambda item: item[1])


@pytest.mark.slow
@pytest.mark.parametrize("order", ["permuted:5", "lanes:8"])
@pytest.mark.parametrize(
    ("name", "weights"),
    [case for case in SWEEP if case not in (("64", "as they are"),)],
)
def test_every_layer_of_an_odd_network_or_picture_is_rounding(synthetic, name, weights, order):
    altered, x = WEIGHTS[weights](synthetic), PICTURES[name]()
    graph = synthetic.graph(x.shape[1:3])
    trace = backend_trace(x, graph, altered, Arithmetic("float32", order=order, batch_norm="shifted-fma", bias="first"))
    verdicts = {layer: judge_layer(graph[layer], graph, altered, trace).verdict for layer in graph.names[1:]}
    assert {layer: verdict for layer, verdict in verdicts.items() if not verdict.fine} == {}
