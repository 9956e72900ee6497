"""Reading and resizing pictures, equal to the bit to keras.utils.load_img and img_to_array."""

from __future__ import annotations

import io
import operator
import struct
import warnings
import zlib
from collections.abc import Iterable
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from ..errors import InputError
from .preprocess import PREPROCESSINGS

INTERPOLATIONS = {
    name: Image.Resampling[name.upper()] for name in ("nearest", "bilinear", "bicubic", "hamming", "box", "lanczos")
}  # Keras's names, which are PIL's

Picture = str | PathLike[str] | NDArray[Any]
Size = int | tuple[int, int]
Value = TypeVar("Value")

# What PIL's decoders raise on files that are cut off or damaged; OSError covers its own UnidentifiedImageError.
DECODING_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, OverflowError, struct.error, zlib.error)


class PictureWarning(UserWarning):
    """The picture was read as Keras reads it, which may not be what its owner means."""


class OrientationIgnoredWarning(PictureWarning):
    """The camera noted in the file that the picture is to be turned; the pixels are taken as stored."""


class DepthClippedWarning(PictureWarning):
    """The file has more than 8 bits a value; PIL clips them at 255 instead of scaling them, so most become white."""


def load_image(
    path_or_array: Picture,
    size: Size = 224,
    interpolation: str = "nearest",
    preprocess: str | None = "caffe",
) -> NDArray[np.float32]:
    """One picture, or a batch given as an array, ready for the network.

    path_or_array: a file that PIL can read, or an array of RGB values 0..255, (height, width, 3) or
    (n, height, width, 3), uint8 or floating point. Floating-point values are rounded to float32 before anything else;
    they are not resized. The array is never changed.
    size: height and width, or one number for both.
    interpolation: how PIL resizes: nearest, bilinear, bicubic, hamming, box or lanczos.
    preprocess: caffe (BGR, minus the ImageNet mean; what Keras's ResNet50 was trained on), torch, tf, or None for the
    plain values 0..255. See `PREPROCESSINGS` for the formulas.

    Returns (1, height, width, 3), or (n, height, width, 3) for a batch: a new float32 array, equal to the bit to
    `preprocess_input(img_to_array(load_img(path, target_size=size, interpolation=interpolation)))` in Keras. As there,
    pictures become 8-bit RGB by PIL's rules: grey is repeated, transparency is dropped, 16-bit grey is clipped at 255.

    Raises InputError for anything that is no picture, too large for PIL's decompression-bomb limit, or an array of
    another shape, type or range. Warns OrientationIgnoredWarning if the file asks to be turned and DepthClippedWarning
    if it has more than 8 bits a value.
    """
    height, width = _height_and_width(size)
    resampling = _choice("interpolation", interpolation, INTERPOLATIONS)
    preprocessing = _choice("preprocess", preprocess, PREPROCESSINGS)
    if isinstance(path_or_array, np.ndarray):
        pixels = _from_array(path_or_array, height, width, resampling, in_range=preprocess is not None)
    elif isinstance(path_or_array, str | PathLike):
        pixels = _resize(_read(path_or_array), height, width, resampling)[None]
    else:
        raise InputError(f"a picture of type {type(path_or_array).__name__}", expected="a path or a NumPy array")
    return preprocessing(pixels.astype(np.float32))


def load_images(
    pictures: Iterable[Picture],
    size: Size = 224,
    interpolation: str = "nearest",
    preprocess: str | None = "caffe",
) -> NDArray[np.float32]:
    """Several pictures as one batch (n, height, width, 3) float32; arguments and errors as in `load_image`."""
    if isinstance(pictures, str | PathLike):
        raise InputError(f"one path, {fspath(pictures)!r}", expected="a list of pictures", do="use load_image for one")
    batch = [load_image(picture, size, interpolation, preprocess) for picture in pictures]
    if not batch:
        raise InputError("no picture", expected="at least one")
    return np.concatenate(batch)


def _choice(what: str, name: str | None, table: dict[Any, Value]) -> Value:
    if name not in table:
        raise InputError(f"{what} {name!r}", expected=f"one of {', '.join(map(str, table))}")
    return table[name]


def _height_and_width(size: Size) -> tuple[int, int]:
    given = size if isinstance(size, tuple | list) else (size, size)
    try:
        height, width = (operator.index(length) for length in given)
    except (TypeError, ValueError):
        height = width = 0
    if min(height, width) < 1:
        raise InputError(f"size {size!r}", expected="a whole number from 1 up, or (height, width)")
    return height, width


def _read(path: str | PathLike[str]) -> Image.Image:
    """The file as an RGB picture, wholly decoded."""
    name = str(path)
    try:
        encoded = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"there is no file {name}", do="check the path of the picture") from None
    except (OSError, ValueError) as error:  # a directory, no permission, a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"the picture {name} cannot be read: {reason}", expected="a picture file") from None
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            _warn_of_surprises(image, name)
            return image.convert("RGB")
    except Image.DecompressionBombError as error:
        raise InputError(f"the picture {name} is too large: {error}", do="make it smaller first") from None
    except UnidentifiedImageError:
        raise InputError(f"{name} is not a picture", expected="a file that PIL reads, such as PNG or JPEG") from None
    except DECODING_ERRORS as error:
        raise InputError(f"the picture {name} is damaged: {error}", do="fetch or save it again") from None


def _warn_of_surprises(image: Image.Image, name: str) -> None:
    if image.mode.startswith(("I", "F")):
        text = f"{name} has more than 8 bits a value; they are clipped at 255, as in Keras: save it with 8 bits"
        warnings.warn(text, DepthClippedWarning, stacklevel=4)
    orientation = _orientation(image)
    if orientation in range(2, 9):
        text = f"{name} has EXIF orientation {orientation}; it is ignored, as in Keras: the pixels are taken as stored"
        warnings.warn(text, OrientationIgnoredWarning, stacklevel=4)


def _orientation(image: Image.Image) -> object:
    """EXIF's number: 1 is upright, 2 to 8 are turned or mirrored, all else means nothing."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except DECODING_ERRORS:  # damaged notes beside the picture do not touch its pixels
        return None


def _resize(image: Image.Image, height: int, width: int, resampling: Image.Resampling) -> NDArray[np.uint8]:
    if image.size != (width, height):
        image = image.resize((width, height), resampling)
    return np.asarray(image)


def _from_array(
    array: NDArray[Any], height: int, width: int, resampling: Image.Resampling, *, in_range: bool
) -> NDArray[Any]:
    """A batch of the size asked for; if `in_range`, its values must lie in 0..255."""
    if array.ndim not in (3, 4) or array.shape[-1] != 3 or 0 in array.shape:
        raise InputError(f"an array of shape {array.shape}", expected="(height, width, 3) or (n, height, width, 3)")
    batch = array if array.ndim == 4 else array[None]
    if array.dtype == np.uint8:
        return np.stack([_resize(Image.fromarray(image), height, width, resampling) for image in batch])
    if array.dtype.kind != "f":
        raise InputError(f"an array of {array.dtype}", expected="uint8 or floating point", do="convert it with astype")
    if batch.shape[1:3] != (height, width):
        raise InputError(
            f"a floating-point array of {batch.shape[1]} x {batch.shape[2]} pixels",
            expected=f"{height} x {width}",
            do="pass its size as size=, or uint8 values, which are resized",
        )
    with np.errstate(over="ignore"):  # a value beyond float32 becomes infinite and is refused below
        rounded = batch.astype(np.float32)
    _check_values(rounded, in_range=in_range)
    return rounded


def _check_values(values: NDArray[np.float32], *, in_range: bool) -> None:
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise InputError("an array with NaN or infinite values", expected="finite float32 values")
    if in_range and (low < 0 or high > 255):
        raise InputError(
            f"an array with values from {low:g} to {high:g}",
            expected="RGB values 0..255",
            do="pass preprocess=None if it is preprocessed already",
        )
