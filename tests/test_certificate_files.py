"""A certificate's file gives back every bit, and any other file is one clear error."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
from certificates import made, same, vector
from drawn_balls import balls_of
from hypothesis import given, settings
from hypothesis import strategies as st

from refnet.arithmetic.big_floats import BigFloats
from refnet.certificate import Certificate
from refnet.certificate.ball_engine import Balls
from refnet.certificate.layers import certified
from refnet.certificate.radii import Radii
from refnet.errors import InputError

NAMES = ("input_layer", "conv1_conv", "predictions")


@st.composite
def certificates(draw: st.DrawFn) -> Certificate:
    full = draw(st.booleans())
    layers = {name: certified(draw(balls_of((1, 2, 2), 64)), full=full, threads=1) for name in NAMES}
    value = vector([made(draw(st.integers(-9, 9)), draw(st.integers(-3300, 3300))) for _ in range(2)])
    radius = vector([made(draw(st.integers(0, 9)), draw(st.integers(-3300, 3300))) for _ in range(2)])
    about = {"weights": "0f", "picture": "1e"}
    return Certificate(53, 64, draw(st.integers(0, 99)), value[None], radius[None], layers, about)


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
    with pytest.raises(InputError, match="no file"):
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
