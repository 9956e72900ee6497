"""Pictures: equal to the bit to Keras, which reads the same files in one child process; and every bad one refused."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from refnet.errors import InputError
from refnet.images import (
    INTERPOLATIONS,
    PREPROCESSINGS,
    DepthClippedWarning,
    OrientationIgnoredWarning,
    PictureWarning,
    Preprocessing,
    bundled_image,
    load_image,
    load_images,
)
from refnet.images.make import make_picture


def pixels(*shape: int, kind: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(7).integers(0, np.iinfo(kind).max, shape, kind, endpoint=True)


def palette() -> Image.Image:
    return Image.fromarray(pixels(30, 41, 3)).quantize(16)


def turned(path: Path) -> None:
    image = Image.fromarray(pixels(30, 41, 3))
    exif = image.getexif()
    exif[0x0112] = 6  # a quarter turn
    image.save(path, exif=exif)


def animation(path: Path) -> None:
    first, *others = (Image.fromarray(pixels(30, 41, 3) // step) for step in (1, 2, 3))
    first.save(path, save_all=True, append_images=others)


# File name -> what writes it.
FILES: dict[str, Callable[[Path], Any]] = {
    "rgb.png": lambda path: Image.fromarray(pixels(41, 30, 3)).save(path),
    "photo.jpg": lambda path: Image.open(bundled_image()).save(path, quality=85),
    "progressive.jpg": lambda path: Image.open(bundled_image()).save(path, progressive=True, subsampling=0),
    "cmyk.jpg": lambda path: Image.open(bundled_image()).convert("CMYK").save(path),
    "grey.png": lambda path: Image.fromarray(pixels(30, 41)).save(path),
    "grey.jpg": lambda path: Image.fromarray(pixels(30, 41)).save(path),
    "bits.png": lambda path: Image.fromarray(pixels(30, 41) > 99).save(path),
    "rgba.png": lambda path: Image.fromarray(pixels(30, 41, 4)).save(path),
    "grey-alpha.png": lambda path: Image.fromarray(pixels(30, 41, 2), "LA").save(path),
    "palette.png": lambda path: palette().save(path),
    "transparent.png": lambda path: palette().save(path, transparency=3),
    "deep.png": lambda path: Image.fromarray(pixels(30, 41, kind=np.uint16)).save(path),
    "real.tiff": lambda path: Image.fromarray(pixels(30, 41).astype(np.float32) * 3).save(path),
    "turned.jpg": turned,
    "pixel.png": lambda path: Image.fromarray(pixels(1, 1, 3)).save(path),
    "line.png": lambda path: Image.fromarray(pixels(1, 300, 3)).save(path),
    "exact.png": lambda path: Image.fromarray(pixels(224, 224, 3)).save(path),
    "animation.gif": animation,
    "photo.webp": lambda path: Image.open(bundled_image()).save(path, quality=60),
    "photo.bmp": lambda path: Image.open(bundled_image()).save(path),
}
SIZES = (224, (57, 90))

# One case is (file, size, interpolation, preprocess). Every file with the defaults; every way of one photograph.
CASES = [(name, 224, "nearest", "caffe") for name in FILES] + list(
    itertools.product(("photo.jpg", "rgb.png"), SIZES, INTERPOLATIONS, PREPROCESSINGS)
)

KERAS = """
import json, sys
import numpy as np
from keras.applications.imagenet_utils import preprocess_input
from keras.utils import img_to_array, load_img
for number, (path, size, interpolation, mode) in enumerate(json.load(sys.stdin)):
    values = img_to_array(load_img(path, target_size=size, interpolation=interpolation))
    np.save(f"{number}.npy", (preprocess_input(values, mode=mode) if mode else values)[None])
"""


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all of FILES."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, write in FILES.items():
        write(folder / name)
    return folder


@pytest.fixture(scope="session")
def keras(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], np.ndarray]:
    """What Keras makes of the case with that number."""
    folder = tmp_path_factory.mktemp("keras")
    cases = [
        (str(pictures / name), (size, size) if isinstance(size, int) else size, interpolation, mode)
        for name, size, interpolation, mode in CASES
    ]
    environment = {**os.environ, "KERAS_BACKEND": "numpy", "KERAS_HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KERAS],
        input=json.dumps(cases),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return lambda number: np.load(folder / f"{number}.npy")


# --- equal to Keras ---------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::refnet.images.PictureWarning")
@pytest.mark.parametrize("number", range(len(CASES)), ids=["-".join(map(str, case)) for case in CASES])
def test_equal_to_keras_to_the_bit(number: int, pictures: Path, keras: Callable[[int], np.ndarray]) -> None:
    name, size, interpolation, preprocess = CASES[number]
    expected = keras(number)
    found = load_image(pictures / name, size, interpolation, preprocess)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.flags.c_contiguous
    assert found.tobytes() == expected.tobytes()


def test_an_array_is_taken_as_the_file_is(pictures: Path) -> None:
    array = np.asarray(Image.open(pictures / "rgb.png"))
    for interpolation in INTERPOLATIONS:
        expected = load_image(pictures / "rgb.png", interpolation=interpolation)
        np.testing.assert_array_equal(load_image(array, interpolation=interpolation), expected)


def test_defaults_are_those_of_keras_resnet50() -> None:
    red, green, blue = np.moveaxis(load_image(bundled_image(), preprocess=None)[0], -1, 0)
    expected = np.stack(
        [blue - np.float32(103.939), green - np.float32(116.779), red - np.float32(123.68)], axis=-1, dtype=np.float32
    )
    np.testing.assert_array_equal(load_image(str(bundled_image())), expected[None])


@given(
    values=arrays(np.float32, (2, 3, 4, 3), elements=st.floats(0, 255, width=32)),
    preprocess=st.sampled_from(sorted(PREPROCESSINGS, key=str)),
)
def test_values_follow_the_formula_one_by_one(values: np.ndarray, preprocess: str | None) -> None:
    """Each value by itself in float32 scalars, whatever its neighbours: the batch changes nothing."""
    recipe = PREPROCESSINGS[preprocess]
    found = load_image(values, (3, 4), preprocess=preprocess)
    for index in np.ndindex(found.shape):
        value = values[(*index[:3], "rgb".index(recipe.channels[index[3]]))]
        scaled = np.float32(value / np.float32(recipe.divisor))
        expected = (scaled - np.float32(recipe.mean[index[3]])) / np.float32(recipe.deviation[index[3]])
        assert found[index] == expected


# --- arrays and batches -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.uint8, np.float16, np.float32, np.float64])
def test_arrays_are_never_changed_nor_shared(kind: type) -> None:
    for preprocess in PREPROCESSINGS:
        array = pixels(2, 32, 32, 3).astype(kind)
        before = array.copy()
        array.flags.writeable = False
        found = load_image(array, 32, preprocess=preprocess)
        np.testing.assert_array_equal(array, before)
        assert not np.shares_memory(found, array)
        assert found.flags.writeable


def test_float_arrays_are_rounded_to_float32_first() -> None:
    third = np.full((4, 4, 3), 1 / 3)
    np.testing.assert_array_equal(load_image(third, 4), load_image(third.astype(np.float32), 4))


def test_preprocessed_arrays_pass_unchanged_with_none() -> None:
    array = load_image(bundled_image())
    np.testing.assert_array_equal(load_image(array, preprocess=None), array)


def test_strided_arrays_are_read_in_their_own_order() -> None:
    array = pixels(64, 60, 3)
    view = array[::2, ::-3]
    np.testing.assert_array_equal(load_image(view, (16, 10)), load_image(view.copy(), (16, 10)))


@pytest.mark.filterwarnings("ignore::refnet.images.PictureWarning")
def test_a_batch_is_its_pictures_one_after_another(pictures: Path) -> None:
    batch = load_images([pictures / name for name in FILES], 64, "bilinear", "torch")
    assert batch.shape == (len(FILES), 64, 64, 3)
    for image, name in zip(batch, FILES, strict=True):
        np.testing.assert_array_equal(image, load_image(pictures / name, 64, "bilinear", "torch")[0])


# --- said so ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "category"), [("turned.jpg", OrientationIgnoredWarning), ("deep.png", DepthClippedWarning)]
)
def test_what_keras_ignores_is_said(name: str, category: type[PictureWarning], pictures: Path) -> None:
    with pytest.warns(category, match=name) as caught:
        load_image(pictures / name)
    assert [warning.filename for warning in caught] == [__file__]


def test_an_upright_picture_is_read_in_silence(tmp_path: Path) -> None:
    image = Image.fromarray(pixels(30, 41, 3))
    exif = image.getexif()
    exif[0x0112] = 1
    image.save(tmp_path / "upright.jpg", exif=exif)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_image(tmp_path / "upright.jpg")


# --- refused ----------------------------------------------------------------------------------------------------------


def bomb(path: Path) -> Path:
    """A picture of 400 million pixels in a few kilobytes."""
    Image.new("1", (20000, 20000)).save(path / "bomb.png")
    return path / "bomb.png"


def truncated(path: Path, kind: str) -> Path:
    whole = path / f"whole.{kind}"
    Image.fromarray(pixels(200, 300, 3)).save(whole)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    return whole


def written(path: Path, content: bytes) -> Path:
    (path / "file.png").write_bytes(content)
    return path / "file.png"


BAD_FILES: dict[str, tuple[Callable[[Path], str | Path], str]] = {
    "bomb": (bomb, "too large.*make it smaller"),
    "truncated png": (lambda path: truncated(path, "png"), "damaged.*again"),
    "truncated jpeg": (lambda path: truncated(path, "jpg"), "damaged.*again"),
    "truncated gif": (lambda path: truncated(path, "gif"), "damaged.*again"),
    "not a picture": (lambda path: written(path, b"Dear Sir, here is my cat."), "not a picture.*expected.*PNG"),
    "empty": (lambda path: written(path, b""), "not a picture"),
    "signature only": (lambda path: written(path, b"\x89PNG\r\n\x1a\n"), "not a picture|damaged"),
    "missing": (lambda path: path / "cat.jpg", "no file .*cat.jpg.*check the path"),
    "directory": (lambda path: path, "cannot be read.*directory"),
    "impossible name": (lambda path: "cat\0.jpg", "cannot be read|no file"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    make, message = BAD_FILES[name]
    with pytest.raises(InputError, match=message) as caught:
        load_image(make(tmp_path))
    assert len(str(caught.value).splitlines()) == 1


GOOD = np.zeros((224, 224, 3))
BAD_CALLS: dict[str, tuple[dict[str, Any], str]] = {
    "two axes": ({"path_or_array": GOOD[0]}, "shape .224, 3."),
    "four channels": ({"path_or_array": np.zeros((224, 224, 4))}, "shape .224, 224, 4."),
    "channels first": ({"path_or_array": np.zeros((3, 224, 224))}, "height, width, 3"),
    "empty batch": ({"path_or_array": np.zeros((0, 224, 224, 3))}, "shape .0, 224"),
    "integers": ({"path_or_array": GOOD.astype(np.int64)}, "int64.*uint8"),
    "complex": ({"path_or_array": GOOD + 0j}, "complex128"),
    "text": ({"path_or_array": np.full((224, 224, 3), "a")}, "expected uint8"),
    "float of another size": ({"path_or_array": GOOD[:100]}, "100 x 224.*expected 224 x 224.*size="),
    "below zero": ({"path_or_array": GOOD - 1}, "from -1 to -1.*preprocess=None"),
    "above 255": ({"path_or_array": GOOD + 255.5}, "from 255.5"),
    "nan": ({"path_or_array": GOOD + np.nan}, "NaN"),
    "infinite": ({"path_or_array": GOOD + np.inf, "preprocess": None}, "infinite"),
    "beyond float32": ({"path_or_array": GOOD + 1e39, "preprocess": None}, "infinite"),
    "list": ({"path_or_array": [1, 2]}, "type list.*a path or a NumPy array"),
    "interpolation": ({"interpolation": "area"}, "'area'.*nearest, bilinear"),
    "no interpolation": ({"interpolation": None}, "interpolation None"),
    "preprocess": ({"preprocess": "pytorch"}, "'pytorch'.*caffe, torch, tf, None"),
    "size zero": ({"size": 0}, "size 0"),
    "size negative": ({"size": (224, -1)}, "size"),
    "size fractional": ({"size": 224.0}, "size 224.0"),
    "size of three": ({"size": (224, 224, 3)}, "height, width"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_arguments_are_refused_in_one_line(name: str) -> None:
    arguments, message = BAD_CALLS[name]
    with pytest.raises(InputError, match=message) as caught:
        load_image(**{"path_or_array": bundled_image(), **arguments})
    assert len(str(caught.value).splitlines()) == 1


def test_a_batch_needs_a_list_that_is_not_empty() -> None:
    with pytest.raises(InputError, match="at least one"):
        load_images([])
    with pytest.raises(InputError, match="use load_image"):
        load_images(str(bundled_image()))


def test_a_preprocessing_checks_its_channels() -> None:
    with pytest.raises(InputError, match="'rgg'"):
        Preprocessing(channels="rgg")


@pytest.mark.filterwarnings("ignore")
@given(
    kind=st.sampled_from(["png", "jpeg", "gif", "tiff", "bmp", "webp"]),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=20),
    kept=st.floats(0.2, 1),
)
def test_damaged_files_load_or_are_refused(
    kind: str, changes: list[tuple[float, int]], kept: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever bytes change and wherever the file is cut off: a picture or an InputError, and never anything else."""
    path = tmp_path_factory.mktemp("damaged") / "picture"
    image = Image.fromarray(pixels(20, 30, 3))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(path, format=kind, exif=exif)
    content = bytearray(path.read_bytes())
    for place, value in changes:
        content[int(place * len(content))] = value
    path.write_bytes(content[: int(kept * len(content))])
    try:
        assert load_image(path, 32).shape == (1, 32, 32, 3)
    except InputError as error:
        assert str(path) in str(error)


# --- the bundled picture ----------------------------------------------------------------------------------------------


def test_bundled_picture_is_what_its_script_makes() -> None:
    with Image.open(bundled_image()) as image:
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image), make_picture())


def test_bundled_picture_is_pinned() -> None:
    """Every drift figure that is ever compared with another rests on these pixels."""
    with Image.open(bundled_image()) as image:
        digest = hashlib.sha256(image.tobytes()).hexdigest()
    assert digest == "ae0801d7e2011b7a49080b1d2ea5bccec261705ee6c88e6d3c7a3682e3543052"


def test_bundled_picture_is_small_and_large_enough() -> None:
    assert bundled_image().stat().st_size < 200_000
    with Image.open(bundled_image()) as image:
        assert min(image.size) >= 224


def test_bundled_picture_has_natural_statistics() -> None:
    """Power falls with frequency about as 1/f^2 (natural pictures: exponents from 1.5 to 3), in all three colours,
    and the contrast, deviation over mean, is that of a picture of the open air."""
    image = np.asarray(Image.open(bundled_image()), np.float64)[:, 40:280]
    window = np.hanning(240)[:, None] * np.hanning(240)
    across = np.fft.fftfreq(240, 1 / 240)
    radius = np.hypot(across[:, None], across)
    rings = np.arange(4, 100)
    for channel in np.moveaxis(image, -1, 0):
        power = np.abs(np.fft.fft2((channel - channel.mean()) * window)) ** 2
        spectrum = [power[(radius >= ring - 0.5) & (radius < ring + 0.5)].mean() for ring in rings]
        slope = np.polyfit(np.log(rings), np.log(spectrum), 1)[0]
        assert -3 < slope < -1.5
        assert 60 < channel.mean() < 200
        assert 0.2 < channel.std() / channel.mean() < 1
