"""How programs bring a picture to the network's shape: squashed, or cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .resizing import Resize

Picture = NDArray[np.uint8]
Pixels = NDArray[np.float32]
SQUASH = "squash"


@dataclass(frozen=True)
class Crop:
    """detail: for people.  cut(picture, height, width, resize): the picture in the network's shape."""

    detail: str
    cut: Callable[[Picture, int, int, Resize], Pixels]


def _squashed(picture: Picture, height: int, width: int, resize: Resize) -> Pixels:
    return resize(picture, height, width)


def _cut_first(picture: Picture, height: int, width: int, resize: Resize) -> Pixels:
    """As Keras's keep_aspect_ratio: the largest middle part of the target's proportions, then resized."""
    tall, wide = picture.shape[:2]
    part = min(tall, wide * height // width), min(wide, tall * width // height)
    return resize(_middle(picture, *part), height, width)


def _cut_last(picture: Picture, height: int, width: int, resize: Resize, *, share: float) -> Pixels:
    """As torchvision's Resize and CenterCrop: the shorter side to size / share, then the middle."""
    tall, wide = picture.shape[:2]
    scale = max(height / tall, width / wide) / share
    return _middle(resize(picture, max(round(tall * scale), height), max(round(wide * scale), width)), height, width)


def _middle(picture: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    return np.ascontiguousarray(picture[top : top + height, left : left + width])


CROPS = {
    SQUASH: Crop("squashed to the network's shape, as Keras does unless asked otherwise", _squashed),
    "crop": Crop("the middle was cut out in the network's proportions, then resized (keep_aspect_ratio)", _cut_first),
    "crop:resized": Crop(
        "the shorter side was resized to the size, then the middle cut out", partial(_cut_last, share=1)
    ),
    "crop:0.875": Crop(
        "the shorter side was resized to 8/7 of the size (256 for 224), then the middle cut out (torchvision)",
        partial(_cut_last, share=0.875),
    ),
}
