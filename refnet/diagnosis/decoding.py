"""How programs decode a picture's file: what PIL does, and what it can do otherwise."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ..images import PictureWarning, load_image

Pixels = NDArray[np.uint8]


def _plain(path: Path) -> Pixels:
    """As Keras reads the file; load_image raises for what is no picture, and does not resize to the own size."""
    with Image.open(path) as image:
        width, height = image.size
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PictureWarning)  # said once, when the picture was first read
        return load_image(path, (height, width), preprocess=None)[0].astype(np.uint8)


def _turned(path: Path) -> Pixels:
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def _chroma_repeated(path: Path) -> Pixels:
    """Luma in full; chroma at the resolution in which the file has it, each sample repeated.

    At half scale libjpeg needs no upsampling of chroma that is stored at half the resolution: it is the file's own.
    Colours as libjpeg computes them (jdmerge.c): JFIF's factors with 16 bits of fraction, rounded once.
    """
    luma, half = _planes(path, 1).astype(np.int32), _planes(path, 2).astype(np.int32)
    height, width = luma.shape[:2]
    chroma = half[:, :, 1:].repeat(2, 0).repeat(2, 1)[:height, :width] - 128
    y, (blue, red) = luma[:, :, 0], chroma.transpose(2, 0, 1)
    terms = (91881 * red, -22554 * blue - 46802 * red, 116130 * blue)  # 1.402, 0.34414, 0.71414, 1.772 times 2^16
    colours = [y + ((term + (1 << 15)) >> 16) for term in terms]
    return np.clip(np.stack(colours, -1), 0, 255).astype(np.uint8)


def _planes(path: Path, scale: int) -> Pixels:
    """Y, Cb and Cr as libjpeg gives them at 1/scale of the size."""
    with Image.open(path) as image:
        image.draft("YCbCr", (-(-image.width // scale), -(-image.height // scale)))
        return np.asarray(image)


def _half_scale(path: Path) -> Pixels:
    with Image.open(path) as image:
        image.draft("RGB", (-(-image.width // 2), -(-image.height // 2)))
        return np.asarray(image.convert("RGB"))


@dataclass(frozen=True)
class Decoder:
    """detail: for people.  decode: file -> (height, width, 3) RGB.  fits: whether it can differ for this file."""

    detail: str
    decode: Callable[[Path], Pixels]
    fits: Callable[[Image.Image], bool] = lambda image: True


def _subsampled(image: Image.Image) -> bool:
    """A JPEG of three components whose chroma has half the resolution both ways."""
    layers = getattr(image, "layer", ())
    return image.format == "JPEG" and [tuple(layer[1:3]) for layer in layers] == [(2, 2), (1, 1), (1, 1)]


DECODERS = {
    "pil": Decoder("as PIL decodes it, which is Keras's way", _plain),
    "exif": Decoder(
        "the picture was turned as its EXIF orientation asks; Keras takes the pixels as stored",
        _turned,
        lambda image: image.getexif().get(0x0112, 1) != 1,
    ),
    "chroma-repeated": Decoder(
        "the JPEG's chroma was repeated instead of interpolated (no fancy upsampling)", _chroma_repeated, _subsampled
    ),
    "half-scale": Decoder(
        "the JPEG was decoded at half its size (scaled inverse DCT, as draft modes and thumbnails do)",
        _half_scale,
        lambda image: image.format == "JPEG",
    ),
}


@lru_cache(maxsize=16)
def decoded(path: Path, decoder: str, changed: int) -> Pixels:
    """The file's pixels; `changed` is its time of change, so that another file of that name is read anew."""
    pixels = DECODERS[decoder].decode(path)
    pixels.flags.writeable = False
    return pixels


def decoders_for(path: Path) -> list[str]:
    """Names of the decoders that can differ for this file."""
    with Image.open(path) as image:
        return [name for name, decoder in DECODERS.items() if decoder.fits(image)]
