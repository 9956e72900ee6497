"""Every variant that can run here, really run on a small picture: the trace is whole, each layer what it should be.

Each layer is held against a plain float64 computation from the backend's own input of that layer, written here and
sharing no code with refnet, so a wrong stride, padding, epsilon or weight cannot pass.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from backends_support import SIZE, random_images, random_weights

from refnet.backends import VARIANTS, Run, Variant, run
from refnet.backends.job import THREAD_VARIABLES
from refnet.graph import Node
from refnet.weights import Weights

IMAGES = 2
TOLERANCE = {"float64": 1e-13, "float32": 2e-5, "float16": 4e-3, "bfloat16": 4e-2}
"""Of a layer's largest value, by what is computed in; K is at most 4608."""

DEMOTED = {"torch-float64": ("batch_norm", "mean_pool", "dense"), "jax-float64": ("batch_norm", "mean_pool")}
"""Where Keras computes in float32 under the policy float64: outside tensorflow its rules of promotion
(keras.backend.result_type) know no float64."""

FORMATS = {"mixed_float16": "float16", "mixed_bfloat16": "bfloat16"}  # of a policy's activations; else its own name
TELL_NO_THREADS = ("jax", "numpy")  # JAX has no way to ask; it is held to them by its variable

MARKS = dict.fromkeys(("torch-channels-first", "tensorflow", "jax-eager"), pytest.mark.slow)
EVERY = [pytest.param(name, marks=MARKS.get(name, pytest.mark.exhaustive)) for name in VARIANTS]

Runs = Callable[..., Run]


@functools.cache
def weights_of(graph_variant: str) -> Weights:
    return random_weights(graph_variant)


@pytest.fixture(scope="session")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Runs a variant once a session, when the first test asks; a variant that is not installed is skipped."""
    folder = tmp_path_factory.mktemp("backends")

    @functools.cache
    def once(name: str, graph_variant: str = "v1") -> Run:
        (result,) = run(
            [name],
            weights_of(graph_variant),
            random_images(IMAGES),
            folder / graph_variant,
            threads=1,
            cache=folder / "cache",
        )
        return result

    def installed(name: str, graph_variant: str = "v1") -> Run:
        result = once(name, graph_variant)
        if result.status == "missing":
            pytest.skip(result.reason)
        assert result.status == "ok", result.reason
        return result

    return installed


def policy_format(variant: Variant) -> str:
    return FORMATS.get(variant.dtype_policy, variant.dtype_policy)


def tolerance(result: Run, operation: str) -> float:
    """openvino chooses its own precision, and says which."""
    if operation in DEMOTED.get(result.variant, ()):
        return TOLERANCE["float32"]
    chosen = {"bf16": "bfloat16", "f16": "float16"}.get(result.provenance["backend"].get("inference_precision"))
    return TOLERANCE[chosen or policy_format(VARIANTS[result.variant])]


def plain(node: Node, inputs: list[np.ndarray], weights: dict[str, np.ndarray]) -> Any:
    """The layer in float64, as a textbook has it."""
    x = inputs[0]
    settings: Mapping[str, Any] = node.settings
    match node.operation:
        case "pad":
            return padded(x, settings["padding"])
        case "conv2d":
            kernel = weights["kernel"]
            patches = windows(padded(x, settings["padding"]), kernel.shape[:2], settings["strides"])
            return np.einsum("nhwcij,ijco->nhwo", patches, kernel, optimize=True) + weights.get("bias", 0)
        case "batch_norm":
            deviation = np.sqrt(weights["moving_variance"] + settings["epsilon"])
            return (x - weights["moving_mean"]) / deviation * weights["gamma"] + weights["beta"]
        case "relu":
            return np.maximum(x, 0)
        case "max_pool":
            return windows(x, settings["size"], settings["strides"]).max(axis=(-1, -2))
        case "add":
            return inputs[0] + inputs[1]
        case "mean_pool":
            return x.mean(axis=(1, 2))
        case "dense":
            return x @ weights["kernel"] + weights["bias"]
    raise AssertionError(node.operation)


def padded(x: np.ndarray, padding: tuple[tuple[int, int], tuple[int, int]]) -> np.ndarray:
    return np.pad(x, ((0, 0), *padding, (0, 0)))


def windows(x: np.ndarray, size: tuple[int, int], strides: tuple[int, int]) -> np.ndarray:
    """(n, height, width, channels, *size)"""
    every = np.lib.stride_tricks.sliding_window_view(x, size, axis=(1, 2))
    return every[:, :: strides[0], :: strides[1]]


def check_layers(result: Run, graph_variant: str) -> None:
    weights, graph = weights_of(graph_variant), weights_of(graph_variant).graph((SIZE, SIZE))
    assert result.trace is not None
    assert list(result.trace) == list(graph.names)
    for node in graph.nodes:
        found = result.trace[node.name]
        assert found.shape == (IMAGES, *node.shape), node.name
        format = "float32" if node.operation == "input" else policy_format(VARIANTS[result.variant])
        assert result.trace.formats[node.name] == format, node.name
        assert found.dtype == ("float32" if format == "bfloat16" else format), node.name
        if node.operation == "input":
            expected = random_images(IMAGES).astype(np.float64)
        else:
            inputs = [result.trace[name].astype(np.float64) for name in node.inputs]
            own = {key: weights[f"{node.name}/{key}"].astype(np.float64) for key in node.weights}
            expected = plain(node, inputs, own)
        error = np.abs(found - expected).max() / np.abs(expected).max()
        assert error <= tolerance(result, node.operation), f"{node.name}: {error}"


@pytest.mark.parametrize("name", EVERY)
def test_each_layer_computes_what_a_plain_float64_computation_gives(name: str, run_of: Runs) -> None:
    check_layers(run_of(name), "v1")


@pytest.mark.parametrize("name", EVERY)
def test_the_plain_models_logits_are_those_of_the_trace_up_to_rounding(name: str, run_of: Runs) -> None:
    result = run_of(name)
    assert result.trace is not None
    assert result.logits is not None
    logits = result.trace["predictions"]
    assert result.logits.shape == logits.shape
    assert result.logits.dtype == logits.dtype
    assert np.abs(result.logits - logits).max() <= tolerance(result, "batch_norm") * np.abs(logits).max()


@pytest.mark.parametrize("name", EVERY)
def test_a_row_says_what_really_ran(name: str, run_of: Runs, tmp_path_factory: pytest.TempPathFactory) -> None:
    variant, result = VARIANTS[name], run_of(name)
    assert result.trace is not None
    backend = result.provenance["backend"]
    assert backend["framework"] == variant.framework
    assert backend["backend"] == variant.environment.get("KERAS_BACKEND", "tensorflow")
    for model in (backend, backend["layered"]):
        assert model["dtype_policy"] == variant.dtype_policy
        assert model["data_format"] == variant.data_format
        assert model.get("threads") == (None if backend["backend"] in TELL_NO_THREADS else 1)
        told = {name: model[name] for name in (*variant.settings, *variant.compile, *variant.expect)}
        assert told == {**variant.settings, **variant.compile, **variant.expect}
        assert len(model["weights"]) == len(weights_of("v1"))
    assert backend["environment"] == {**variant.environment, **dict.fromkeys(THREAD_VARIABLES, "1")}
    assert result.provenance["weights"]["sha256"] == weights_of("v1").hash
    text = json.dumps([dict(result.provenance), dict(result.trace.provenance)])
    assert str(tmp_path_factory.getbasetemp()) not in text, "a path of this machine leaked"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torch", "torch-channels-first"])
def test_a_graph_that_keras_applications_lacks_is_built_from_its_nodes(name: str, run_of: Runs) -> None:
    """v1.5: stride in the 3x3, no biases, another epsilon; the weights go in by the same file."""
    check_layers(run_of(name, "v1.5"), "v1.5")
