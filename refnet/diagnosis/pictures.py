"""From a picture's file to the network's input: each step as a field, so that a change replaces one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..arithmetic import FORMATS
from ..errors import InputError
from ..images import PREPROCESSINGS, load_images
from ..images.preprocess import CAFFE_MEAN
from ..kernels.rounding import operands
from .cropping import CROPS, SQUASH
from .decoding import decoded
from .resizing import RESIZES

Array = NDArray[np.float32]
WHOLE = 1e-3  # how far from whole numbers recovered pixels may lie: x + 123.68 in float32 is within 1e-5


def _twice(pixels: Array) -> Array:
    return PREPROCESSINGS["caffe"](PREPROCESSINGS["caffe"](pixels))


def _scaled(pixels: Array) -> Array:
    return pixels / np.float32(255)


PREPROCESSES: dict[str, Callable[[Array], Array]] = {
    "caffe": PREPROCESSINGS["caffe"],
    "torch": PREPROCESSINGS["torch"],
    "tf": PREPROCESSINGS["tf"],
    "none": PREPROCESSINGS[None],
    "/255": _scaled,
    "/255+caffe": lambda pixels: PREPROCESSINGS["caffe"](_scaled(pixels)),
    "twice": _twice,
}
CHANNELS: dict[str, tuple[bool, bool]] = {  # name -> turned round before preprocessing, and after it
    "as preprocessed": (False, False),
    "rgb": (True, False),
    "rgb:own-mean": (False, True),
}
ROUNDINGS: dict[str, Callable[[Array], Array]] = {
    "float32": lambda x: x,
    "float16": lambda x: x.astype(np.float16).astype(np.float32),
    "bfloat16": lambda x: np.asarray(operands(x, FORMATS["bfloat16"]), np.float32),
}


@dataclass(frozen=True)
class Reading:
    """Names in the tables: of decoder, resize, crop, preprocessing, order of channels and rounding."""

    decoder: str = "pil"
    resize: str = "nearest"
    crop: str = SQUASH
    preprocess: str = "caffe"
    channels: str = "as preprocessed"
    rounding: str = "float32"

    @property
    def of_file(self) -> tuple[str, str, str]:
        """What needs the file."""
        return self.decoder, self.resize, self.crop


KERAS = Reading()


@dataclass(frozen=True, eq=False)
class Source:
    """What is known of the pictures: x as refnet takes it; its pixels (RGB, 0..255) and files, where they are known."""

    x: Array
    pixels: Array | None = None
    files: tuple[Path, ...] = ()

    def array(self, reading: Reading) -> Array:
        """x, had it been read so; a reading that asks for pixels or files needs a source that has them."""
        if replace(reading, rounding=KERAS.rounding) == KERAS:
            return ROUNDINGS[reading.rounding](self.x)
        pixels = self.pixels if reading.of_file == KERAS.of_file else self._from_files(reading)
        assert pixels is not None
        before, after = CHANNELS[reading.channels]
        x = PREPROCESSES[reading.preprocess](pixels[..., ::-1] if before else pixels)
        return ROUNDINGS[reading.rounding](np.ascontiguousarray(x[..., ::-1] if after else x))

    def _from_files(self, reading: Reading) -> Array:
        height, width = self.x.shape[1:3]
        return np.stack([_read(path, reading, height, width) for path in self.files])


def _read(path: Path, reading: Reading, height: int, width: int) -> Array:
    picture = decoded(path, reading.decoder, path.stat().st_mtime_ns)
    return CROPS[reading.crop].cut(picture, height, width, RESIZES[reading.resize])


def source_of(x: NDArray[np.floating] | None, files: Sequence[Path], size: tuple[int, int] | None) -> Source:
    """The pictures as a Source. Raises InputError where x is not what Keras makes of the files, or both are missing."""
    if not files:
        if x is None:
            raise InputError("no pictures", expected="x, or image= with the file")
        own = np.array(x, np.float32)
        return Source(own, _pixels_of(own))
    shape = size or (x.shape[1:3] if x is not None else (224, 224))
    read = load_images([*files], (shape[0], shape[1]))
    if x is not None and not np.array_equal(read, x):
        raise InputError(
            "x is not what refnet.load_image makes of the picture", do="give x or image=, or x as load_image gives it"
        )
    return Source(read, load_images([*files], (shape[0], shape[1]), preprocess=None), tuple(files))


def _pixels_of(x: Array) -> Array | None:
    """RGB values 0..255 from which Keras's preprocessing made x, if it did: they are whole numbers."""
    pixels = x.astype(np.float64)[..., ::-1] + np.array(CAFFE_MEAN[::-1])
    whole = np.rint(pixels)
    if np.abs(pixels - whole).max() > WHOLE or whole.min() < 0 or whole.max() > 255:
        return None
    return np.ascontiguousarray(whole, np.float32)
