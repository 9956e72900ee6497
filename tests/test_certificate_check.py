"""The check of a certificate holds, and finds whatever was changed in it."""

from __future__ import annotations

import dataclasses
from typing import Any

import mpmath
import numpy as np
import pytest
from certificates import picture

from refnet.certificate import Certificate, certify, check_certificate
from refnet.certificate.proof import Proof, Run
from refnet.errors import InputError
from refnet.weights import Weights


@pytest.fixture(scope="module")
def certificate(synthetic: Weights) -> Certificate:
    return certify(picture(), synthetic, full=True)


def with_layer(certificate: Certificate, name: str, **planes: Any) -> Certificate:
    layer = dataclasses.replace(certificate.layers[name], **planes)
    return dataclasses.replace(certificate, layers={**certificate.layers, name: layer})


def nudged(values: Any, place: int = 5) -> Any:
    values = values.copy()
    values.ravel()[place] = np.nextafter(values.ravel()[place], values.dtype.type(np.inf))
    return values


@pytest.mark.slow
def test_the_check_holds_and_finds_what_was_changed(certificate: Certificate, synthetic: Weights) -> None:
    x, name = picture(), "conv3_block1_out"
    layer = certificate.layers[name]
    value, radius = certificate.value.copy(), certificate.radius.copy()
    value[0, 3] *= 1 + mpmath.mpf(2) ** -50
    radius[0, 4] /= 2
    without = {key: kept for key, kept in certificate.layers.items() if key != name}
    assert layer.full is not None
    midpoints = layer.full.midpoints
    moved = dataclasses.replace(midpoints, significands=midpoints.significands ^ np.uint64(1))
    wrong = {
        "number": with_layer(certificate, name, hi=nudged(layer.hi)),
        "low part": with_layer(certificate, name, lo=nudged(layer.lo)),
        "radius": with_layer(certificate, name, radius=nudged(layer.radius)),
        "exponent": with_layer(certificate, name, exponent=layer.exponent - 1),
        "growth": with_layer(certificate, name, largest=layer.largest - 1),
        "hash": with_layer(certificate, name, sha256="0" * 64),
        "full midpoint": with_layer(certificate, name, full=dataclasses.replace(layer.full, midpoints=moved)),
        "full radius": with_layer(
            certificate,
            name,
            full=dataclasses.replace(
                layer.full, radii=dataclasses.replace(layer.full.radii, values=layer.full.radii.values / 2)
            ),
        ),
        "missing layer": dataclasses.replace(certificate, layers=without),
    }
    with pytest.MonkeyPatch.context() as patch:  # one run of the network serves all of them
        check = check_certificate(certificate, x, synthetic)
        assert check.holds and check == type(check)((), (), 0)
        remember(patch)
        for what, damaged in wrong.items():
            found = check_certificate(damaged, x, synthetic)
            assert not found.holds and name in (*found.midpoints, *found.radii) and found.logits == 0, what
        for logits in ({"value": value}, {"radius": radius}):
            found = check_certificate(dataclasses.replace(certificate, **logits), x, synthetic)
            assert (found.midpoints, found.radii, found.logits) == ((), (), 1)
        short = dataclasses.replace(certificate, value=value[:, :9], radius=radius[:, :9])
        assert not check_certificate(short, x, synthetic).holds


def remember(patch: pytest.MonkeyPatch) -> None:
    """The next run of a network is the last one: what it gives is given again."""
    compute, proofs = Run.at, []

    def at(self: Run, working: int) -> Proof:
        if not proofs:
            proofs.append(compute(self, working))
        return proofs[0]

    patch.setattr(Run, "at", at)


def test_another_picture_or_other_weights_are_refused(certificate: Certificate, synthetic: Weights) -> None:
    with pytest.raises(InputError, match="picture"):
        check_certificate(certificate, picture(1), synthetic)
    changed = {**synthetic, "predictions/bias": nudged(synthetic["predictions/bias"])}
    with pytest.raises(InputError, match="weights"):
        check_certificate(certificate, picture(), changed)
