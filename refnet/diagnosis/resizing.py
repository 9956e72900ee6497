"""How programs resize pictures: PIL's filters, and the ways of other libraries, written out as matrices.

A resize is linear and separable: y = R x C' with one row of weights for each output line. Where libraries differ is
where a pixel's centre lies, how wide the filter is when the picture shrinks (antialiasing), and whether the result is
rounded to 8 bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..images import INTERPOLATIONS

Pixels = NDArray[np.float32]
Filter = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def _triangle(t: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(1 - np.abs(t), 0)


def _cubic(a: float) -> Filter:
    """Keys 1981: the cubic convolution kernel with its free parameter a."""

    def value(t: NDArray[np.float64]) -> NDArray[np.float64]:
        t = np.abs(t)
        inner = ((a + 2) * t - (a + 3)) * t * t + 1
        outer = a * (((t - 5) * t + 8) * t - 4)
        return np.where(t <= 1, inner, np.where(t < 2, outer, 0))

    return value


@dataclass(frozen=True)
class Linear:
    """A filter of half-width `support` around the pixel that an output line falls on.

    antialias: the filter is as much wider as the picture shrinks.  align_corners: the first and last pixels' centres
    fall on each other (TensorFlow 1), else pixels are squares whose outer edges do.  edge: what lies outside repeats
    the border pixel; else the filter's weights inside are scaled to one.
    """

    filter: Filter
    support: float
    antialias: bool = False
    align_corners: bool = False
    edge: bool = True

    def matrix(self, size: int, target: int) -> NDArray[np.float64]:
        """(target, size) weights."""
        scale = (size - 1) / (target - 1) if self.align_corners and target > 1 else size / target
        lines = np.arange(target)
        centres = lines * scale if self.align_corners else (lines + 0.5) * scale - 0.5
        width = max(scale, 1.0) if self.antialias else 1.0
        reach = int(np.ceil(self.support * width)) + 1
        taps = np.floor(centres).astype(int)[:, None] + np.arange(-reach, reach + 1)
        weights = self.filter((taps - centres[:, None]) / width)
        if not self.edge:
            weights = np.where((taps >= 0) & (taps < size), weights, 0)
        weights /= weights.sum(1, keepdims=True)
        result = np.zeros((target, size))
        np.add.at(result, (lines[:, None], np.clip(taps, 0, size - 1)), weights)
        return result


@dataclass(frozen=True)
class Area:
    """The mean over the rectangle that an output pixel covers, parts of pixels counted as parts."""

    def matrix(self, size: int, target: int) -> NDArray[np.float64]:
        edges = np.arange(target + 1) * size / target
        pixels = np.arange(size)
        covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
        covered = np.maximum(covered, 0)
        return np.asarray(covered / covered.sum(1, keepdims=True))


@dataclass(frozen=True)
class Corner:
    """The pixel at floor(i size / target): nearest by the corner, not by the centre."""

    def matrix(self, size: int, target: int) -> NDArray[np.float64]:
        result = np.zeros((target, size))
        result[np.arange(target), np.arange(target) * size // target] = 1
        return result


@dataclass(frozen=True)
class Resize:
    """detail: for people.  by: PIL's filter of that name, or weights.  rounded: whether to whole numbers 0..255."""

    detail: str
    by: str | Linear | Area | Corner
    rounded: bool = False

    def __call__(self, picture: NDArray[np.uint8], height: int, width: int) -> Pixels:
        if isinstance(self.by, str):
            image = Image.fromarray(picture)
            if image.size != (width, height):
                image = image.resize((width, height), INTERPOLATIONS[self.by])
            return np.asarray(image, np.float32)
        rows, columns = _matrix(self.by, picture.shape[0], height), _matrix(self.by, picture.shape[1], width)
        result = np.einsum("ih,hwc,jw->ijc", rows, picture.astype(np.float64), columns, optimize=True)
        if self.rounded:
            result = np.clip(np.floor(result + 0.5), 0, 255)
        return result.astype(np.float32)


@lru_cache(maxsize=32)
def _matrix(by: Linear | Area | Corner, size: int, target: int) -> NDArray[np.float64]:
    return by.matrix(size, target)


BILINEAR, BICUBIC = Linear(_triangle, 1.0), Linear(_cubic(-0.75), 2.0)
RESIZES = {
    "nearest": Resize("resized by PIL's nearest, which is Keras's default", "nearest"),
    "bilinear": Resize(
        "resized by PIL's bilinear (antialiased, 8 bits), as load_img(interpolation='bilinear')", "bilinear"
    ),
    "bicubic": Resize("resized by PIL's bicubic (antialiased, 8 bits)", "bicubic"),
    "hamming": Resize("resized by PIL's hamming", "hamming"),
    "box": Resize("resized by PIL's box", "box"),
    "lanczos": Resize("resized by PIL's lanczos", "lanczos"),
    "area": Resize("each pixel the mean of the area that it covers, in floating point", Area()),
    "area:8bit": Resize("each pixel the mean of the area that it covers, rounded to 8 bits (OpenCV)", Area(), True),
    "bilinear:no-antialias": Resize(
        "resized by bilinear interpolation without antialiasing, in floating point (TensorFlow's and torch's default)",
        BILINEAR,
    ),
    "bilinear:no-antialias:8bit": Resize(
        "resized by bilinear interpolation without antialiasing, rounded to 8 bits (OpenCV)", BILINEAR, True
    ),
    "bilinear:align-corners": Resize(
        "resized by bilinear interpolation with the corners' centres aligned (TensorFlow 1, torch's align_corners)",
        Linear(_triangle, 1.0, align_corners=True),
    ),
    "bilinear:antialias": Resize(
        "resized by antialiased bilinear interpolation in floating point (jax, TensorFlow's antialias=True)",
        Linear(_triangle, 1.0, antialias=True, edge=False),
    ),
    "bicubic:no-antialias": Resize(
        "resized by bicubic interpolation without antialiasing, a = -0.75, in floating point (torch, OpenCV)", BICUBIC
    ),
    "bicubic:keys": Resize(
        "resized by bicubic interpolation without antialiasing, a = -0.5, in floating point (TensorFlow)",
        Linear(_cubic(-0.5), 2.0, edge=False),
    ),
    "bicubic:antialias": Resize(
        "resized by antialiased bicubic interpolation, a = -0.5, in floating point (jax, TensorFlow's antialias=True)",
        Linear(_cubic(-0.5), 2.0, antialias=True, edge=False),
    ),
    "nearest:corner": Resize("the pixel nearest to the corner (OpenCV, TensorFlow 1, torch)", Corner()),
}
