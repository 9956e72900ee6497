"""What `certify` promises: what is decided, what is open, the same bits, clear errors."""

from __future__ import annotations

import dataclasses
import sys
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
from certificates import fraction, picture, same
from drawn_balls import of_float, of_floats

import refnet
from refnet.certificate import Certificate, certify
from refnet.certificate.layers import CertifiedLayer, sha256_of
from refnet.certificate.proof import Run
from refnet.errors import InputError
from refnet.weights import Weights


@pytest.fixture(scope="module")
def certificate(synthetic: Weights) -> Certificate:
    return certify(picture(), synthetic, full=True)


def test_a_certificate_decides_every_logit_and_layer(certificate: Certificate, synthetic: Weights) -> None:
    assert certificate.decided and not certificate.open and not certificate.open_layers
    assert list(certificate.layers) == list(synthetic.graph((32, 32)).names)
    assert certificate.needed <= certificate.working_precision and certificate.bits == 53
    assert certificate.growth["input_layer"] == -np.inf and max(certificate.growth.values()) <= -53
    assert certificate.digits >= 53 * np.log10(2) and certificate.top1[0].certified
    assert certificate.trace()["predictions"].tolist() == certificate.layers["predictions"].hi.tolist()
    assert (certificate.rounded() == certificate.layers["predictions"].hi).all()


def test_the_certified_softmax_sums_to_one(certificate: Certificate) -> None:
    lower, upper = certificate.softmax
    with mpmath.workprec(200):
        assert mpmath.fsum(lower[0]) <= 1 <= mpmath.fsum(upper[0])
        assert all(0 <= high - low <= high * mpmath.mpf(2) ** -50 for low, high in zip(lower[0], upper[0], strict=True))


def test_the_kept_pairs_lie_around_the_full_midpoints(certificate: Certificate) -> None:
    for layer in certificate.layers.values():
        assert layer.full is not None and sha256_of(layer.full.midpoints) == layer.sha256
        place = tuple(np.random.default_rng(1).integers(0, layer.hi.shape))
        own = of_float(layer.full.radii.values[place], layer.full.radii.exponent)
        cut = abs(fraction(layer.full.midpoints[place]) - Fraction(layer.hi[place]) - Fraction(layer.lo[place]))
        assert own + cut <= of_float(float(layer.radius[place]), layer.exponent)


def test_float64_lies_near_and_exact_zeros_are_where_it_has_them(certificate: Certificate, synthetic: Weights) -> None:
    trace = refnet.activations(picture(), synthetic, precision="float64")
    for name, layer in certificate.layers.items():
        assert abs(trace[name] - layer.hi).max() <= 1e-9 * abs(layer.hi).max()
    zeros = sum(
        np.count_nonzero(layer.full.midpoints.signs == 0) for layer in certificate.layers.values() if layer.full
    )
    assert 0 < certificate.exact_zeros <= zeros


@pytest.mark.slow
def test_certificates_of_more_bits_agree(certificate: Certificate, synthetic: Weights) -> None:
    """Each number of the first lies within its own radius of the second's, and so does the second's whole ball."""
    finer = certify(picture(), synthetic, bits=200)
    assert finer.decided and finer.working_precision > certificate.working_precision
    distance = abs(np.frompyfunc(fraction, 1, 1)(certificate.value) - np.frompyfunc(fraction, 1, 1)(finer.value))
    own, other = (np.frompyfunc(fraction, 1, 1)(c.radius) for c in (certificate, finer))
    assert (distance + other <= own).all()
    for name, layer in certificate.layers.items():
        fine = finer.layers[name]
        places = np.random.default_rng(2).integers(0, layer.hi.size, 400)
        hi, lo, radius = (getattr(layer, plane).ravel()[places] for plane in ("hi", "lo", "radius"))
        apart = abs(
            of_floats(hi) + of_floats(lo) - of_floats(fine.hi.ravel()[places]) - of_floats(fine.lo.ravel()[places])
        )
        bound = of_floats(radius) * Fraction(2) ** layer.exponent
        cut = of_floats(fine.radius.ravel()[places]) * Fraction(2) ** fine.exponent
        assert (apart <= bound + cut).all(), name


def at_places(layer: CertifiedLayer, places: Any) -> tuple[Any, Any]:
    """Midpoints and radii of some numbers of a layer."""
    hi, lo, radius = (of_floats(getattr(layer, plane).ravel()[places]) for plane in ("hi", "lo", "radius"))
    return hi + lo, radius * Fraction(2) ** layer.exponent


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 3])
def test_threads_change_no_bit(threads: int, certificate: Certificate, synthetic: Weights) -> None:
    again = certify(picture(), synthetic, full=True, threads=threads)
    assert same(dataclasses.replace(again, provenance=certificate.provenance), certificate)


def test_a_certificate_survives_its_file(certificate: Certificate, tmp_path: Path) -> None:
    certificate.save(tmp_path / "c.npz")
    assert same(Certificate.load(tmp_path / "c.npz"), certificate)


def test_too_few_digits_leave_logits_and_layers_open(certificate: Certificate, synthetic: Weights) -> None:
    """What is proven then still holds: the truth lies in the wide balls."""
    told: list[int] = []
    few = certify(picture(), synthetic, max_digits=40, progress=lambda *step: told.append(step[3]))
    assert few.working_precision == 128 < few.needed and not few.decided and set(told) == {128}
    assert len(few.open) == 1000 and "predictions" in few.open_layers and "conv1_conv" not in few.open_layers
    distance = abs(np.frompyfunc(fraction, 1, 1)(few.value) - np.frompyfunc(fraction, 1, 1)(certificate.value))
    own, other = (np.frompyfunc(fraction, 1, 1)(c.radius) for c in (few, certificate))
    assert (distance + other <= own).all() and not few.top1[0].certified


@pytest.mark.slow
def test_the_precision_is_raised_until_it_is_done(certificate: Certificate, synthetic: Weights) -> None:
    """bits=2 starts at 256 bits, which serve; from too few, certify would go on to what is missing."""
    low = certify(picture(), synthetic, bits=2)
    assert low.decided and low.working_precision == 256
    steps: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[Run.__module__], "GROWTH_BITS", 0)
        raised = certify(picture(), synthetic, progress=lambda *step: steps.append(step[3]))
    assert raised.decided and sorted(set(steps)) == list(dict.fromkeys(steps)) and steps[0] == 64
    assert raised.working_precision <= certificate.working_precision


@pytest.mark.slow
def test_progress_names_every_layer_in_turn(synthetic: Weights) -> None:
    steps: list[Any] = []
    certify(picture(), synthetic, progress=lambda *step: steps.append(step))
    names = synthetic.graph((32, 32)).names
    assert steps == [(name, place, len(names), 320) for place, name in enumerate(names)]


def test_ctrl_c_ends_it_and_leaves_nothing(certificate: Certificate, synthetic: Weights, tmp_path: Path) -> None:
    def interrupted(name: str, place: int, count: int, working: int) -> None:
        if place == 60:
            raise KeyboardInterrupt

    before = set(threading.enumerate())
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.chdir(tmp_path)
        certify(picture(), synthetic, progress=interrupted)
    assert set(threading.enumerate()) <= before and not list(tmp_path.iterdir())
    assert same(
        dataclasses.replace(certify(picture(), synthetic, full=True), provenance=certificate.provenance), certificate
    )


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"bits": 1}, "bits=1"),
        ({"bits": 53.0}, "bits=53.0"),
        ({"max_digits": 30}, "max_digits=30"),
        ({"x": picture()[0]}, "shape"),
        ({"x": picture()[..., :2]}, "shape"),
        ({"x": picture()[:0]}, "shape"),
        ({"x": picture(dtype=np.float16)}, "float16"),
        ({"x": picture().astype(int)}, "int64"),
        ({"x": np.where(picture() > 149, np.nan, picture())}, "NaN"),
        ({"x": np.where(picture() > 149, np.inf, picture()).astype(np.float32)}, "infinity"),
        ({"x": picture(size=31)}, "31"),
        ({"weights": {}}, "tensors"),
        ({"threads": 0}, "threads"),
    ],
)
def test_bad_input_is_one_clear_error(changed: dict[str, Any], says: str, synthetic: Weights) -> None:
    given_ = {"x": picture(), "weights": synthetic} | changed
    with pytest.raises(InputError, match=says) as error:
        certify(**given_)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_input_is_never_changed(synthetic: Weights) -> None:
    x = picture(dtype=np.float64)
    before, hash_before = x.copy(), synthetic.hash
    x.flags.writeable = False
    certificate = certify(x, synthetic, bits=10)
    assert certificate.decided and (x == before).all() and Weights(dict(synthetic)).hash == hash_before
