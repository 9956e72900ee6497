"""Weights and pictures that are hard: a certificate decides or says what is open, and FLINT agrees with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from flint_judge import faults

import refnet
from refnet.certificate import certify
from refnet.errors import InputError
from refnet.graph import resnet
from refnet.weights import Weights

Tensors = dict[str, np.ndarray]
BGR_MEANS = np.array([103.939, 116.779, 123.68])  # what preprocessing takes from every picture
LAST = "conv2_block2_out"  # as far as FLINT goes in the quick tests


def zero_variance(tensors: Tensors) -> None:
    """Every third channel of every batch normalisation is divided by sqrt(epsilon) alone."""
    for name in tensors:
        if name.endswith("moving_variance"):
            tensors[name][::3] = 0


def variance_near_minus_epsilon(tensors: Tensors) -> None:
    tensors["conv1_bn/moving_variance"][:8] = -1e-5
    tensors["conv3_block1_1_bn/moving_variance"][5] = np.float32(-1.0009e-5)


def huge_gamma(tensors: Tensors) -> None:
    tensors["conv1_bn/gamma"][:] *= 2.0**40
    tensors["conv2_block1_3_bn/gamma"][::5] *= 2.0**60
    tensors["conv4_block2_1_bn/gamma"][1::5] *= -(2.0**30)


def tiny_gamma(tensors: Tensors) -> None:
    tensors["conv2_block1_1_bn/gamma"][::2] = 2.0**-149
    tensors["conv3_block1_3_bn/gamma"][:] *= 2.0**-60


def dead_channels(tensors: Tensors) -> None:
    """gamma = beta = 0 for every other channel of some layers; some kernels are all zero; one layer is dead whole."""
    for layer in ("conv1_bn", "conv2_block1_1_bn", "conv3_block2_2_bn", "conv5_block3_3_bn"):
        for vector in ("gamma", "beta"):
            tensors[f"{layer}/{vector}"][::2] = 0
    for vector in ("conv2_block2_1_bn/gamma", "conv2_block2_1_bn/beta", "conv4_block3_2_conv/kernel"):
        tensors[vector][...] = 0
    for kind in ("kernel", "bias"):
        tensors[f"conv2_block3_2_conv/{kind}"][...] = 0


def zeros_after_relu(tensors: Tensors) -> None:
    """Everything that the first block's inner ReLUs see is negative."""
    for layer in ("conv1_bn", "conv2_block1_2_bn"):
        tensors[f"{layer}/gamma"][:] = 0
    tensors["conv1_bn/beta"][:32], tensors["conv1_bn/beta"][32:] = -1, 0.5
    tensors["conv2_block1_2_bn/beta"][:] = -1


HARD = {f.__name__: f for f in (zero_variance, variance_near_minus_epsilon, huge_gamma, tiny_gamma, dead_channels)}
HARD |= {"zeros_after_relu": zeros_after_relu}


def changed(weights: Weights, change: Any) -> Weights:
    tensors = {name: tensor.copy() for name, tensor in weights.items()}
    change(tensors)
    return Weights(tensors)


def constant(level: float) -> Any:
    return np.broadcast_to(level - BGR_MEANS, (1, 32, 32, 3)).astype(np.float32)


PICTURES = {
    "black": constant(0),
    "white": constant(255),
    "nothing": np.zeros((1, 32, 32, 3), np.float32),
    "one dot": np.where(np.arange(3072).reshape(1, 32, 32, 3) == 1500, 1e30, 0).astype(np.float64),
    "tiny": np.full((1, 32, 32, 3), 2.0**-1074),
}


@pytest.fixture(scope="module")
def picture() -> Any:
    return np.random.default_rng(6).uniform(-120, 150, (1, 32, 32, 3)).astype(np.float32)


HARDEST = ("zero_variance", "tiny")  # of each kind; the exhaustive tests try all


def thinned(cases: Iterable[str]) -> list[Any]:
    return [pytest.param(case, marks=pytest.mark.slow if case in HARDEST else pytest.mark.exhaustive) for case in cases]


@pytest.mark.parametrize("case", thinned(HARD))
def test_hard_weights_are_decided(case: str, picture: Any, synthetic: Weights) -> None:
    weights = changed(synthetic, HARD[case])
    certificate = certify(picture, weights, full=True)
    assert certificate.decided, (certificate.open[:5], certificate.open_layers[:5])
    assert faults(certificate, weights, picture[0], bits=certificate.working_precision + 300, last=LAST) == []


@pytest.mark.parametrize("case", thinned(PICTURES))
def test_hard_pictures_are_decided(case: str, synthetic: Weights) -> None:
    certificate = certify(PICTURES[case], synthetic, full=True)
    assert certificate.decided, (certificate.open[:5], certificate.open_layers[:5])
    assert faults(certificate, synthetic, PICTURES[case][0], bits=certificate.working_precision + 300, last=LAST) == []


@pytest.mark.exhaustive
@pytest.mark.parametrize("case", [*HARD, *PICTURES])
def test_flint_agrees_in_every_layer(case: str, picture: Any, synthetic: Weights) -> None:
    weights = changed(synthetic, HARD.get(case, lambda tensors: None))
    x = PICTURES.get(case, picture)
    certificate = certify(x, weights, full=True)
    assert faults(certificate, weights, x[0], bits=certificate.working_precision + 300) == []


def cancelling(tensors: Tensors) -> None:
    """Channels 2k and 2k + 1 of the first layers are the same, and what comes after takes their difference."""
    for vector in ("conv1_conv/kernel", "conv1_conv/bias", *(f"conv1_bn/{kind}" for kind in BATCH_NORM)):
        tensors[vector][..., 1::2] = tensors[vector][..., ::2]
    tensors["conv2_block1_1_conv/kernel"][..., 1::2, :] = -tensors["conv2_block1_1_conv/kernel"][..., ::2, :]
    tensors["conv2_block1_1_conv/bias"][:] = 0


BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")


@pytest.mark.slow
def test_a_layer_that_cancels_to_nothing_stays_open(picture: Any, synthetic: Weights) -> None:
    """Its numbers are zero, which no precision can prove; the logits are decided all the same."""
    weights = changed(synthetic, cancelling)
    certificate = certify(picture, weights, full=True, max_digits=120)
    assert certificate.open_layers == ("conv2_block1_1_conv",) and not certificate.open and not certificate.decided
    assert certificate.growth["conv2_block1_1_conv"] == np.inf and certificate.needed > certificate.working_precision
    layer = certificate.layers["conv2_block1_1_conv"]
    assert not layer.hi.any() and (layer.radius > 0).all()
    assert faults(certificate, weights, picture[0], bits=800, last=LAST) == []


@pytest.mark.slow
def test_logits_that_are_zero_stay_open_only_where_a_radius_is_left(picture: Any, synthetic: Weights) -> None:
    def without_classifier(tensors: Tensors) -> None:
        tensors["predictions/kernel"][:, :500] = 0
        tensors["predictions/bias"][:250] = 0

    certificate = certify(picture, changed(synthetic, without_classifier))
    assert certificate.decided and not certificate.radius[0, :250].any() and not certificate.value[0, :250].any()


def test_activations_beyond_float64_are_one_clear_error(picture: Any, synthetic: Weights) -> None:
    def enormous(tensors: Tensors) -> None:
        for block in range(1, 4):
            for layer in (1, 2, 3):
                tensors[f"conv2_block{block}_{layer}_bn/gamma"][:] = 3e38

    with pytest.raises(InputError, match=r"2\^1024"):
        certify(picture, changed(synthetic, enormous))


@pytest.mark.parametrize("dtype", [np.float16, pytest.param(np.float64, marks=pytest.mark.exhaustive)])
def test_networks_without_top_of_another_variant_and_format(dtype: Any, picture: Any) -> None:
    graph = resnet(50, input_shape=(32, 32), include_top=False, variant="v1.5")
    source = np.random.default_rng(7)
    tensors = {name: (source.normal(size=shape) / 8).astype(dtype) for name, shape in graph.weights.items()}
    weights = Weights({n: abs(t) + dtype(0.5) if "variance" in n else t for n, t in tensors.items()}, variant="v1.5")
    certificate = certify(picture, weights, bits=20)
    assert certificate.value.shape == (1, 1, 1, 2048)
    assert faults(certificate, weights, picture[0], bits=certificate.working_precision + 300, last=LAST) == []
    for wrong in ("top1", "softmax"):
        with pytest.raises(InputError, match="logits"):
            getattr(certificate, wrong)


@pytest.mark.slow
def test_pictures_of_a_batch_are_certified_as_alone(picture: Any, synthetic: Weights) -> None:
    """Midpoints to the bit; radii have a power of two for each tensor, which the others share in."""
    both = np.concatenate([picture, PICTURES["black"]])
    together = certify(both, synthetic)
    assert together.decided and len(together.top1) == 2
    alone = [certify(both[i : i + 1], synthetic) for i in range(2)]
    assert (together.value == np.concatenate([c.value for c in alone])).all()
    assert refnet.predict(both, synthetic, classifier_activation=None).argmax(1).tolist() == [
        first.number for first in together.top1
    ]
