"""The forward pass: one meaning, whichever engine, however many threads, pictures and layers computed at once."""

from __future__ import annotations

import inspect
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import refnet
from refnet.arithmetic import Arithmetic
from refnet.errors import InputError
from refnet.graph import Graph, resnet
from refnet.weights import Weights

LOGITS: dict[str, Any] = {"classifier_activation": None}
CASES: dict[str, dict[str, Any]] = {
    "float32": {},
    "everything at once": {
        "precision": {"conv2_*": "bfloat16", "conv3_*": "float16", "conv4_*": "tf32", "conv5_*": "float64"},
        "accumulate": {"conv2_block1_*": "bfloat16", "conv3_block1_*": "float16"},
        "order": {"conv4_block1_*": "pairwise:2", "conv4_*": "kahan", "conv5_*": "permuted:4", "*": "lanes:8"},
        "bias": {"conv4_*": "first"},
        "batch_norm": {"conv3_*": "shifted", "conv5_*": "shifted-fma"},
    },
    "folded": {"batch_norm": "folded"},
    "shift fused": {"batch_norm": "shifted-fma", "shift": "fused"},
}
QUICK_CASES = ("float32", "everything at once")
OTHER_CASES: dict[str, dict[str, Any]] = {
    "no fma": {"fma": False},
    "bfloat16": {"precision": "bfloat16"},
    "float16": {"precision": "float16"},
    "tf32": {"precision": "tf32"},
    "float64": {"precision": "float64"},
    "pairwise": {"order": "pairwise"},
    "kahan": {"order": "kahan"},
    "shifted": {"batch_norm": "shifted"},
    "shifted-fma": {"batch_norm": "shifted-fma"},
    "bias first": {"bias": "first", "order": "blocks:32"},
    "by layer": {"order": {"conv5_*": "blocks:512", "*": "sequential"}},
}
EVERY_CASE = pytest.mark.parametrize("how", (CASES | OTHER_CASES).values(), ids=[*CASES, *OTHER_CASES])


def same(x: np.ndarray, y: np.ndarray) -> bool:
    """Bit for bit; no NaN is expected."""
    return x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes() and not np.isnan(x).any()


def bundled(size: int) -> np.ndarray:
    return refnet.load_image(refnet.bundled_image(), size=size)


def random_pictures(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-110, 140, (*shape, 3)).astype(np.float32)


def tame_weights(graph: Graph) -> Weights:
    """Random, at a scale at which activations neither die nor explode; small integers of bits make it quick."""
    rng = np.random.default_rng(0)
    tensors = {}
    for name, shape in graph.weights.items():
        match name.rpartition("/")[-1]:
            case "kernel":
                tensor = rng.standard_normal(shape, np.float32) * np.sqrt(2 / np.prod(shape[:-1]))
            case "gamma" | "moving_variance":
                tensor = rng.uniform(0.4, 0.8, shape)
            case _:
                tensor = rng.standard_normal(shape) * 0.1
        tensors[name] = tensor.astype(np.float32)
    return Weights(tensors, variant=graph.variant, source="random")


# ---- the public names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [refnet.predict, refnet.activations])
def test_the_signature_is_the_promised_one(function: Any) -> None:
    parameters = list(inspect.signature(function).parameters.values())
    keywords = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    assert [p.kind for p in parameters[:2]] == [inspect.Parameter.POSITIONAL_OR_KEYWORD] * 2
    promised = {
        "precision": "float32", "accumulate": None, "order": "sequential", "fma": None, "bias": "last",
        "batch_norm": "centred", "threads": None,
        "classifier_activation": "softmax" if function is refnet.predict else None,
    }  # fmt: skip
    assert {name: keywords[name] for name in promised} == promised
    fields = inspect.signature(Arithmetic).parameters.values()
    assert all(keywords[field.name] == field.default for field in fields if field.name in keywords)
    assert {field.name for field in fields} <= set(keywords)


@pytest.mark.parametrize(
    ("how", "dtype"),
    [
        ({}, np.float32), ({"precision": "float16"}, np.float16), ({"precision": "bfloat16"}, np.float32),
        ({"precision": "tf32"}, np.float32), ({"precision": "float64"}, np.float64),
    ],
)  # fmt: skip
def test_predict_gives_probabilities_in_the_result_type(how: Any, dtype: Any, synthetic: Weights) -> None:
    x = bundled(32)
    y = refnet.predict(x, synthetic, **how)
    logits = refnet.predict(x, synthetic, **LOGITS, **how)
    assert y.shape == logits.shape == (1, 1000) and y.dtype == logits.dtype == dtype
    assert abs(y.astype(np.float64).sum() - 1) < 1e-2 and (y >= 0).all() and (logits < 0).any()
    assert y.astype(np.float64).argmax() == logits.astype(np.float64).argmax() or dtype == np.float16


def test_nothing_that_comes_in_is_changed(synthetic: Weights) -> None:
    x = bundled(32)
    before, digest = x.copy(), synthetic.hash
    x.flags.writeable = False
    refnet.predict(x, synthetic, precision="bfloat16")
    assert same(x, before) and Weights(dict(synthetic)).hash == digest


# ---- the same bits ---------------------------------------------------------------------------------------------------


def check_engines(how: dict[str, Any], weights: Weights) -> None:
    """predict computes several layers in one step, activations each alone, the spec in NumPy."""
    x = bundled(32)
    y = refnet.predict(x, weights, **LOGITS, **how)
    assert same(y, refnet.activations(x, weights, **how)["predictions"])
    assert same(y, refnet.predict(x, weights, engine="spec", **LOGITS, **how))


@pytest.mark.parametrize(
    "how",
    [pytest.param(how, id=name, marks=() if name in QUICK_CASES else pytest.mark.slow) for name, how in CASES.items()],
)
def test_the_kernels_have_the_bits_of_the_definition(how: dict[str, Any], synthetic: Weights) -> None:
    check_engines(how, synthetic)


@pytest.mark.exhaustive
@pytest.mark.parametrize("how", OTHER_CASES.values(), ids=OTHER_CASES)
def test_the_kernels_have_the_bits_of_the_definition_in_every_case(how: dict[str, Any], synthetic: Weights) -> None:
    check_engines(how, synthetic)


@pytest.mark.slow
def test_every_layer_has_the_bits_of_the_definition(synthetic: Weights) -> None:
    x = bundled(32)
    ours, spec = refnet.activations(x, synthetic), refnet.activations(x, synthetic, engine="spec")
    assert [name for name in ours if not same(ours[name], spec[name])] == []


@EVERY_CASE
def test_steps_and_single_layers_threads_and_runs_have_the_same_bits(how: dict[str, Any], synthetic: Weights) -> None:
    x = bundled(32)
    y = refnet.predict(x, synthetic, **LOGITS, **how)
    assert same(y, refnet.activations(x, synthetic, threads=1, **how)["predictions"])
    for threads in (1, 2, 3):
        assert same(y, refnet.predict(x, synthetic, threads=threads, **LOGITS, **how))
    softmax = refnet.predict(x, synthetic, **how)
    assert same(softmax, refnet.activations(x, synthetic, classifier_activation="softmax", **how)["predictions"])


def test_a_picture_has_the_same_bits_alone_and_among_others(synthetic: Weights) -> None:
    x = random_pictures(8, 40, 33)
    together = refnet.predict(x, synthetic, **LOGITS)
    for picture, logits in zip(x, together, strict=True):
        assert same(refnet.predict(picture[None], synthetic, **LOGITS)[0], logits)
    assert same(refnet.predict(x[::-1], synthetic, **LOGITS), np.ascontiguousarray(together[::-1]))


def test_python_threads_at_once_do_not_disturb_each_other(synthetic: Weights) -> None:
    tasks = [(x[None], how) for x in random_pictures(2, 32, 32) for how in ({}, {"order": "kahan"}, {"fma": False})]
    alone = [refnet.predict(x, synthetic, **LOGITS, **how) for x, how in tasks]
    with ThreadPoolExecutor(2) as pool:
        at_once = list(pool.map(lambda task: refnet.predict(task[0], synthetic, **LOGITS, **task[1]), tasks * 2))
    assert all(same(x, y) for x, y in zip(alone * 2, at_once, strict=True))


# ---- the right numbers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [32, 64, 224])
def test_float32_is_close_to_float64(size: int, synthetic: Weights) -> None:
    x = bundled(size)
    true = refnet.predict(x, synthetic, precision="float64", **LOGITS)
    for how in ({}, {"order": "pairwise:8"}):
        error = abs(refnet.predict(x, synthetic, **LOGITS, **how) - true).max()
        assert 0 < error <= 1e-4 * abs(true).max()


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (97, 75)])
def test_every_layer_has_the_shape_of_the_graph(size: tuple[int, int], synthetic: Weights) -> None:
    trace = refnet.activations(random_pictures(2, *size), synthetic)
    graph = synthetic.graph(size)
    assert list(trace) == list(graph.names) and len(trace) == 177
    assert all(trace[node.name].shape == (2, *node.shape) for node in graph.nodes)
    assert all(np.isfinite(trace[name]).all() for name in trace)


@pytest.mark.parametrize(
    "graph",
    [
        resnet(50, input_shape=(32, 32), variant="v1.5", classes=5),
        resnet(101, input_shape=(32, 32), classes=7),
        resnet(50, input_shape=(32, 32), include_top=False),
    ],
    ids=["v1.5", "ResNet101", "no top"],
)
def test_other_networks(graph: Graph) -> None:
    weights, x = tame_weights(graph), random_pictures(1, 32, 32)
    y, true = refnet.predict(x, weights, **LOGITS), refnet.predict(x, weights, precision="float64", **LOGITS)
    assert y.shape == (1, *graph.output.shape) and same(y, refnet.activations(x, weights)[graph.output.name])
    assert abs(y - true).max() <= 1e-4 * abs(true).max() and abs(true).max() > 0
    probabilities = refnet.predict(x, weights)
    assert same(probabilities, y) if y.ndim == 4 else abs(probabilities.sum() - 1) < 1e-5


def test_predict_runs_in_multiprecision_too(synthetic: Weights) -> None:
    """tests/test_multiprecision.py holds float64 against it at full depth; here only that the settings are checked."""
    with pytest.raises(InputError, match=r"precision='mp50' with order='kahan'.*mpN sums exactly"):
        refnet.predict(bundled(32), synthetic, precision="mp50", order="kahan")


# ---- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((32, 32, 3), np.float32), r"shape \(32, 32, 3\).*expected \(n, height, width, 3\).*load_image"),
        (np.zeros((1, 32, 32, 4), np.float32), r"\(1, 32, 32, 4\)"),
        (np.zeros((0, 32, 32, 3), np.float32), r"\(0, 32, 32, 3\)"),
        (np.zeros((1, 31, 32, 3), np.float32), "at least 32 x 32"),
        (np.zeros((1, 32, 32, 3), np.uint8), "dtype uint8; expected float32"),
        (np.zeros((1, 32, 32, 3), np.complex64), "dtype complex64"),
        (np.zeros((1, 32, 32, 3), object), "dtype object"),
        ("cat.jpg", "load_image"),
        (None, "load_image"),
    ],
)
def test_bad_pictures(x: Any, message: str, synthetic: Weights) -> None:
    with pytest.raises(InputError, match=message) as caught:
        refnet.predict(x, synthetic)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"precision": "float8"}, "precision='float8'; expected one of float16"),
        ({"order": "sorted"}, "^order 'sorted'; expected one of sequential"),
        ({"order": {"conv9_*": "kahan"}}, r"pattern 'conv9_\*' matches no layer"),
        ({"order": "blocks:64,83"}, "^layer conv2_block1_1_conv: order blocks:64,83 has 147 terms, the sum has 64"),
        ({"order": {"conv5_block1_2_conv": "blocks:1,2"}}, "^layer conv5_block1_2_conv: .* the sum has 4608"),
        ({"order": {"predictions": "blocks:2000,48"}}, r"^layer predictions \(its softmax\): .* the sum has 1000"),
        ({"order": {"avg_pool": "blocks:1,1"}}, "^layer avg_pool: .* the sum has 1"),
        ({"order": {"predictions": "kahan"}, "fma": True}, "^layer predictions: fma=True"),
        ({"precision": "mp5"}, "mp15 to mp10000"),
        ({"precision": "mp50", "fma": True}, "fma=True"),
        ({"precision": {"conv5_*": "mp50"}}, "for the whole network"),
        ({"engine": "gpu"}, "engine='gpu'; expected one of kernels, spec"),
        ({"classifier_activation": "sigmoid"}, "classifier_activation='sigmoid'; expected 'softmax' or None"),
        ({"threads": 0}, "threads=0; expected .*at least 1"),
        ({"bias": "middle"}, "bias='middle'"),
    ],
)
def test_bad_settings_are_one_error_before_anything_runs(how: dict[str, Any], message: str, synthetic: Weights) -> None:
    started: list[Any] = []
    with pytest.raises(InputError, match=message):
        refnet.predict(bundled(32), synthetic, progress=started.append, **how)
    assert not started


def test_weights_that_are_a_plain_mapping_are_checked(synthetic: Weights) -> None:
    tensors = dict(synthetic)
    assert same(refnet.predict(bundled(32), tensors), refnet.predict(bundled(32), synthetic))
    del tensors["conv1_conv/kernel"]
    with pytest.raises(InputError, match="conv1_conv/kernel"):
        refnet.predict(bundled(32), tensors)


def test_an_order_by_block_sizes_fits_where_it_should(synthetic: Weights) -> None:
    order = {"conv1_conv": "blocks:100,47", "conv5_block1_2_conv": "blocks:4000,608"}
    y = refnet.predict(bundled(32), synthetic, order=order, **LOGITS)
    assert not same(y, refnet.predict(bundled(32), synthetic, **LOGITS))
