"""Certificates before an independent judge: FLINT's ball arithmetic, which shares the graph and the weights only."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from flint import ctx
from flint_judge import EXACTLY, faults
from flint_layers import ends, sampled_places, single
from flint_network import evaluate

from refnet.certificate import Certificate, certify
from refnet.weights import Weights


@pytest.fixture(scope="module")
def picture() -> Any:
    return np.random.default_rng(3).uniform(-120, 150, (1, 32, 32, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def certificate(picture: Any, synthetic: Weights) -> Certificate:
    return certify(picture, synthetic, full=True)


def test_the_first_blocks_lie_around_flint_s(certificate: Certificate, picture: Any, synthetic: Weights) -> None:
    assert faults(certificate, synthetic, picture[0], bits=500, last="conv2_block1_out") == []


@pytest.mark.exhaustive
@pytest.mark.parametrize("bits", [53, 200])
def test_the_whole_network_lies_around_flint_s(bits: int, picture: Any, synthetic: Weights) -> None:
    """Every ball of every layer; the logits that are decided round as FLINT's do."""
    certificate = certify(picture, synthetic, bits=bits, full=True)
    assert faults(certificate, synthetic, picture[0], bits=certificate.working_precision + 300) == []
    *_, (_, logits) = evaluate(synthetic.graph((32, 32)), synthetic, picture[0], 700)
    assert [float(logit.mid()) for logit in logits] == certificate.rounded()[0].tolist()


def test_the_judge_sees_one_number_and_one_radius_that_are_wrong(
    certificate: Certificate, picture: Any, synthetic: Weights
) -> None:
    layer = certificate.layers["conv1_bn"]
    lo, radius = layer.lo.copy(), layer.radius.copy()
    lo[0, 3, 3, 3] += 2.0**-60
    radius[0, 3, 3, 3] = 0
    for changed in ({"lo": lo}, {"radius": radius}):
        layers = {**certificate.layers, "conv1_bn": dataclasses.replace(layer, **changed)}
        wrong = dataclasses.replace(certificate, layers=layers)
        assert faults(wrong, synthetic, picture[0], bits=500, last="conv1_relu") == ["conv1_bn"]


# ---- each layer from its own certified inputs


def local_faults(certificate: Certificate, weights: Weights, shape: tuple[int, int], count: int) -> list[str]:
    """Layers with a sampled output whose range, the inputs being anywhere in their balls, leaves its certified ball."""
    source, wrong = np.random.default_rng(5), []
    layers = {name: layer.full for name, layer in certificate.layers.items()}
    for node in weights.graph(shape).nodes[1:]:
        own = [weights[f"{node.name}/{key}"] for key in node.weights]
        inputs = [layers[name] for name in node.inputs]
        for place in sampled_places(node.shape, count, source):
            with ctx.workprec(EXACTLY):
                middle, radius = single(layers[node.name], place)
                if not all(abs(end - middle) <= radius for end in ends(node, place, inputs, own)):
                    wrong.append(f"{node.name} {place}")
    return wrong


def test_each_layer_holds_the_range_of_its_own_inputs(certificate: Certificate, synthetic: Weights) -> None:
    assert local_faults(certificate, synthetic, (32, 32), 4) == []


@pytest.mark.exhaustive
def test_each_layer_holds_the_range_of_its_own_inputs_at_full_size(synthetic: Weights) -> None:
    picture = np.random.default_rng(4).uniform(-120, 150, (1, 224, 224, 3)).astype(np.float32)
    assert local_faults(certify(picture, synthetic, full=True), synthetic, (224, 224), 12) == []
