"""torch's own bits: its convolutions on this CPU, computed again in the order in which it adds, with none differing.

Keras's torch backend runs the whole network in a child process, every layer recorded; then each convolution is computed
again by refnet from the input that torch itself gave it. The orders belong to one version of torch and one way through
it, said by PATH; the child reports what it ran on, and where that is another path the test is skipped and says so. What
it finds on such a path is for `refnet reveal` to tell.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from refnet import kernels, load_image, load_weights
from refnet.backends import VARIANTS, Run, run
from refnet.images import bundled_image
from refnet.weights import Weights

pytestmark = pytest.mark.exhaustive  # the child imports torch and runs the network twice: up to a minute

# Measured on Intel Sapphire Rapids (AVX-512 alone) and on AMD Zen 4. With one thread torch adds in other orders.
PATH = {"torch": "2.13.0", "devices": ["cpu"], "onednn": True, "threads": 2}
IN_BLOCKS = dict.fromkeys(("conv5_block2_1_conv", "conv5_block3_1_conv"), "blocks:1280,768")  # 2048 terms each
NOT_SEQUENTIAL: dict[str, dict[str, str]] = {"AVX512": IN_BLOCKS, "AVX2": {}}  # by instruction set
ENVIRONMENTS = {"as it comes": {}, "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}}
CONVOLUTIONS = 53


@pytest.fixture(scope="module")
def weights() -> Weights:
    return load_weights("synthetic")


@pytest.fixture(scope="module", params=ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def torch_run(request: pytest.FixtureRequest, weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run of the variant `torch`, or a skip that says why its bits are not expected here."""
    variant = replace(VARIANTS["torch"], environment={**VARIANTS["torch"].environment, **request.param})
    picture, folder = load_image(bundled_image()), tmp_path_factory.mktemp("torch")
    (result,) = run([variant], weights, picture, folder, threads=2)
    if result.status == "missing":
        pytest.skip(result.reason)
    assert result.status == "ok", result.reason
    found, instructions = path_of(result), instruction_set(result)
    if found != PATH or instructions not in NOT_SEQUENTIAL:
        known = f"{PATH} with one of {', '.join(NOT_SEQUENTIAL)}"
        pytest.skip(f"torch runs another way here: {found} with {instructions}, known is {known}")
    return result


def path_of(result: Run) -> dict[str, Any]:
    """What decides how torch adds, as the child process saw it."""
    backend = result.provenance["backend"]
    version = backend["packages"]["torch"].partition("+")[0]  # +cpu, +cu130: where it was built for
    return {"torch": version, **{name: backend[name] for name in PATH if name != "torch"}}


def instruction_set(result: Run) -> str:
    return str(result.provenance["backend"]["instruction_set"])


def differing(result: Run, weights: Weights, layer: str, order: str, *, fma: bool = True) -> int:
    """How many outputs of a convolution differ in a bit, the sign of zero included."""
    assert result.trace is not None
    node = weights.graph()[layer]
    x, expected = np.asarray(result.trace[node.inputs[0]]), np.asarray(result.trace[layer])
    kernel, bias = (weights[f"{layer}/{key}"] for key in ("kernel", "bias"))
    strides, padding = node.settings["strides"], node.settings["padding"]
    y = kernels.conv2d(x, kernel, bias, strides=strides, padding=padding, order=order, fma=fma, bias_at="last")
    assert y.dtype == expected.dtype == np.float32 and y.shape == expected.shape
    return int((y.view(np.uint32) != expected.view(np.uint32)).sum())


def convolutions(weights: Weights) -> list[str]:
    return [node.name for node in weights.graph().nodes if node.operation == "conv2d"]


def test_every_convolution_is_one_sequence_or_known_blocks(torch_run: Run, weights: Weights) -> None:
    """With AVX-512 51 of the 53 are one sequence and two are two blocks; with AVX2 all are one sequence."""
    layers, blocks = convolutions(weights), NOT_SEQUENTIAL[instruction_set(torch_run)]
    assert len(layers) == CONVOLUTIONS and set(blocks) < set(layers)
    sequential = {layer: differing(torch_run, weights, layer, "sequential") for layer in layers}
    assert {layer for layer, count in sequential.items() if count} == set(blocks), sequential
    in_blocks = {layer: differing(torch_run, weights, layer, order) for layer, order in blocks.items()}
    assert in_blocks == dict.fromkeys(blocks, 0)


@pytest.mark.parametrize(
    "other", [{"order": "reversed"}, {"order": "blocks:64"}, {"order": "sequential", "fma": False}]
)
def test_other_arithmetic_has_other_bits(torch_run: Run, weights: Weights, other: dict[str, Any]) -> None:
    """So the test above can fail."""
    for layer in ("conv1_conv", "conv3_block2_2_conv", "conv5_block3_3_conv"):
        assert differing(torch_run, weights, layer, **other) > 1000
