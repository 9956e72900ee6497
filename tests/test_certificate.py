"""Certificates: what is proven of the logits, files, and what `certify` and its check promise."""

from __future__ import annotations

import dataclasses
import io
import json
import sys
import threading
import zipfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
from big_numbers import nearest
from drawn_balls import balls_of, of_float, of_floats
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath.libmp import from_man_exp

import refnet
from refnet.arithmetic.big_floats import BigFloats
from refnet.certificate import Certificate, certify, check_certificate
from refnet.certificate.ball_engine import Balls
from refnet.certificate.layers import CertifiedLayer, certified, sha256_of
from refnet.certificate.logits import first_class, is_decided, softmax_enclosure
from refnet.certificate.proof import Proof, Run
from refnet.certificate.radii import Radii
from refnet.errors import InputError
from refnet.weights import Weights

some = settings(max_examples=60)


def made(mantissa: int, exponent: int) -> mpmath.mpf:
    return mpmath.mp.make_mpf(from_man_exp(mantissa, exponent))


def fraction(x: mpmath.mpf) -> Fraction:
    sign, mantissa, exponent, _ = x._mpf_
    return Fraction(-int(mantissa) if sign else int(mantissa)) * Fraction(2) ** int(exponent)


def vector(numbers: list[Any]) -> Any:
    found = np.empty(len(numbers), object)
    found[:] = numbers
    return found


# ---- what is proven of the logits


@settings(max_examples=300)
@given(
    st.integers(-(2**14), 2**14),  # of few bits, so that ties and powers of two are common
    st.integers(0, 40),
    st.integers(-12, 3),
    st.sampled_from([2, 5, 11, 53]),
)
def test_a_ball_is_decided_where_both_its_ends_have_one_nearest(
    value: int, radius: int, exponent: int, bits: int
) -> None:
    low, high = (Fraction(value) + side * radius * Fraction(2) ** exponent for side in (-1, 1))
    decided = is_decided(made(value, 0), made(radius, exponent), bits)
    assert decided == (nearest(low, bits) == nearest(high, bits))
    assert not decided or nearest((low + 2 * high) / 3, bits) == nearest(low, bits)


LOGITS = st.lists(
    st.tuples(st.integers(-(2**60), 2**60), st.integers(-58, -50), st.integers(0, 9), st.integers(-70, 4)),
    min_size=2,
    max_size=5,
)


@some
@given(LOGITS, st.data())
def test_a_certain_first_class_is_the_first_wherever_the_truth_lies(parts: Any, data: st.DataObject) -> None:
    values = vector([made(m, e) for m, e, _, _ in parts])
    radii = vector([made(m, e) for _, _, m, e in parts])
    first = first_class(values, radii)
    ends = [data.draw(st.sampled_from([-1, 0, 1])) for _ in parts]
    true = [fraction(v) + end * fraction(r) for v, r, end in zip(values, radii, ends, strict=True)]
    others = [x for number, x in enumerate(true) if number != first.number]
    assert fraction(first.margin) <= true[first.number] - max(others)
    assert first.certified == (first.margin > 0) and first.number != first.next
    lows = [fraction(v) - fraction(r) for v, r in zip(values, radii, strict=True)]
    highs = [fraction(v) + fraction(r) for v, r in zip(values, radii, strict=True)]
    tightest = lows[first.number] - max(high for number, high in enumerate(highs) if number != first.number)
    assert fraction(first.margin) == tightest


@pytest.mark.parametrize("bits", [5, 53, 200])
@some
@given(LOGITS, st.integers(0, 12))
def test_softmax_lies_within_its_bounds(bits: int, parts: Any, stretch: int) -> None:
    """The ends of the balls give the ends of each softmax; mpmath has five times as many bits."""
    values = vector([made(m, e + stretch) for m, e, _, _ in parts])
    radii = vector([made(m, e) for _, _, m, e in parts])
    lowers, uppers = softmax_enclosure(values, radii, bits)
    with mpmath.workprec(5 * bits + 400):
        for k, (lower, upper) in enumerate(zip(lowers, uppers, strict=True)):
            for side, bound in ((-1, lower), (1, upper)):
                own = values[k] + side * radii[k]
                others = [values[j] - side * radii[j] - own for j in range(len(values)) if j != k]
                true = 1 / (1 + mpmath.fsum(map(mpmath.exp, others)))
                assert side * (bound - true) >= 0 and 0 <= bound <= 1
                assert max(radii) > 1 or abs(bound - true) <= true * mpmath.mpf(2) ** (3 - bits)  # no wider than asked
                assert bound._mpf_[3] <= bits


# ---- files


NAMES = ("input_layer", "conv1_conv", "predictions")


@st.composite
def certificates(draw: st.DrawFn) -> Certificate:
    full = draw(st.booleans())
    layers = {name: certified(draw(balls_of((1, 2, 2), 64)), full=full, threads=1) for name in NAMES}
    value = vector([made(draw(st.integers(-9, 9)), draw(st.integers(-3300, 3300))) for _ in range(2)])
    radius = vector([made(draw(st.integers(0, 9)), draw(st.integers(-3300, 3300))) for _ in range(2)])
    about = {"weights": "0f", "picture": "1e"}
    return Certificate(53, 64, draw(st.integers(0, 99)), value[None], radius[None], layers, about)


def same(one: Certificate, other: Certificate) -> bool:
    """To the bit, and to the type of every array."""
    plain = ("bits", "working_precision", "needed", "provenance")
    if any(getattr(one, name) != getattr(other, name) for name in plain) or list(one.layers) != list(other.layers):
        return False
    logits = all(
        [x._mpf_ for x in left.ravel()] == [x._mpf_ for x in right.ravel()] and left.shape == right.shape
        for left, right in ((one.value, other.value), (one.radius, other.radius))
    )
    return logits and all(same_layer(one.layers[name], other.layers[name]) for name in one.layers)


def same_layer(one: Any, other: Any) -> bool:
    planes = [(getattr(one, name), getattr(other, name)) for name in ("hi", "lo", "radius")]
    plain = all(getattr(one, name) == getattr(other, name) for name in ("exponent", "largest", "sha256"))
    if (one.full is None) != (other.full is None):
        return False
    if one.full is not None:
        planes += [(one.full.radii.values, other.full.radii.values)]
        plain &= one.full.radii.exponent == other.full.radii.exponent
        plain &= sha256_of(one.full.midpoints) == sha256_of(other.full.midpoints) == one.sha256
    return plain and all(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in planes)


@settings(max_examples=30)
@given(certificates())
def test_files_give_back_every_bit(tmp_path_factory: pytest.TempPathFactory, certificate: Certificate) -> None:
    path = tmp_path_factory.mktemp("certificates") / "c.npz"
    certificate.save(path)
    assert same(Certificate.load(path), certificate) and [entry.name for entry in path.parent.iterdir()] == ["c.npz"]


@pytest.fixture(scope="module")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    balls = Balls(BigFloats.from_floats(np.arange(12.0).reshape(1, 2, 2, 3) / 7, 128), Radii.zeros((1, 2, 2, 3)))
    layers = {name: certified(balls, full=True, threads=1) for name in NAMES}
    one = np.full((1, 2), mpmath.mpf(1), object)
    path = tmp_path_factory.mktemp("certificates") / "small.npz"
    Certificate(53, 128, 64, one, one * 0, layers, {"weights": "0f"}).save(path)
    return path


def refused(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        Certificate.load(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)


def test_damaged_files_are_one_clear_error(small_file: Path, tmp_path: Path) -> None:
    content, path = small_file.read_bytes(), tmp_path / "bad.npz"
    for length in [*range(0, len(content) - 1, 97), len(content) - 1]:
        refused(content[:length], path)
    source = np.random.default_rng(0)
    for place in source.integers(0, len(content), 300).tolist():
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << source.integers(8)]) + content[place + 1 :])
        try:
            assert same(Certificate.load(path), Certificate.load(small_file))  # a byte that says nothing, as a date
        except InputError as error:
            assert "\n" not in str(error)


def test_other_files_are_one_clear_error(small_file: Path, tmp_path: Path) -> None:
    with np.load(small_file) as file:
        arrays = {name: file[name] for name in file}
    index = json.loads(bytes(arrays["index"]).decode())
    changed = [
        *({key: value for key, value in index.items() if key != left_out} for left_out in index),
        *(index | {key: value} for key in index for value in (None, "x", [1])),
        *([], 3, index | {"schema": 2}, index | {"layers": [{"layer": "conv1_conv"}]}),
    ]
    path = tmp_path / "bad.npz"
    for content in changed:
        refused(written({**arrays, "index": np.frombuffer(json.dumps(content).encode(), np.uint8)}), path)
    for name in arrays:
        refused(written({key: value for key, value in arrays.items() if key != name}), path)
    refused(written({"index": np.frombuffer(b"\xff\xfe{", np.uint8)}), path)
    array = io.BytesIO()
    np.save(array, np.zeros(3))
    for content in (b"", b"PK", array.getvalue(), b"certificate" * 99):
        refused(content, path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("index.npy", b"nothing")
    refused(path.read_bytes(), path)
    with pytest.raises(InputError, match="No such file"):
        Certificate.load(tmp_path / "none.npz")


def written(arrays: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def test_places_that_cannot_be_written_are_refused(small_file: Path, tmp_path: Path) -> None:
    certificate = Certificate.load(small_file)
    with pytest.raises(InputError, match="npz"):
        certificate.save(tmp_path / "c.json")
    with pytest.raises(InputError, match="cannot be written"):
        certificate.save(tmp_path / "no" / "folder" / "c.npz")
    with pytest.raises(InputError, match="same shape"):
        dataclasses.replace(certificate, radius=certificate.radius[:, :1])
    assert not list(tmp_path.iterdir())


# ---- certify


def picture(seed: int = 0, size: int = 32, dtype: Any = np.float32) -> Any:
    return np.random.default_rng(seed).uniform(-120, 150, (1, size, size, 3)).astype(dtype)


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


def test_input_is_never_changed(synthetic: Weights) -> None:
    x = picture(dtype=np.float64)
    before, hash_before = x.copy(), synthetic.hash
    x.flags.writeable = False
    certificate = certify(x, synthetic, bits=10)
    assert certificate.decided and (x == before).all() and Weights(dict(synthetic)).hash == hash_before


# ---- the check


def with_layer(certificate: Certificate, name: str, **planes: Any) -> Certificate:
    layer = dataclasses.replace(certificate.layers[name], **planes)
    return dataclasses.replace(certificate, layers={**certificate.layers, name: layer})


def nudged(values: Any, place: int = 5) -> Any:
    values = values.copy()
    values.ravel()[place] = np.nextafter(values.ravel()[place], values.dtype.type(np.inf))
    return values


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
