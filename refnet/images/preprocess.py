"""From RGB values 0..255 to what a network was trained on: the modes of keras.applications.imagenet_utils as data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of values 0..1, R G B
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
CAFFE_MEAN = (103.939, 116.779, 123.68)  # of values 0..255, B G R


@dataclass(frozen=True)
class Preprocessing:
    """y = ((x / divisor) - mean) / deviation in float32, rounded after each of the three, on channels in that order.

    The constants are float32 numbers, as Keras's own in-place operations on a float32 array make them. Dividing by 1
    and subtracting 0 change nothing, so one formula serves all modes.
    """

    channels: str = "rgb"
    divisor: float = 1.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    deviation: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        if sorted(self.channels) != sorted("rgb"):
            raise InputError(f"channels {self.channels!r}", expected="the letters r, g and b in some order")

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """A new (n, height, width, 3) float32 array from RGB values 0..255 of the same shape."""
        order = ["rgb".index(letter) for letter in self.channels]
        scaled = images[..., order] / np.float32(self.divisor)
        centred = scaled - np.asarray(self.mean, np.float32)
        return np.ascontiguousarray(centred / np.asarray(self.deviation, np.float32))


PREPROCESSINGS: dict[str | None, Preprocessing] = {
    "caffe": Preprocessing(channels="bgr", mean=CAFFE_MEAN),
    "torch": Preprocessing(divisor=255.0, mean=IMAGENET_MEAN, deviation=IMAGENET_DEVIATION),
    "tf": Preprocessing(divisor=127.5, mean=(1.0, 1.0, 1.0)),
    None: Preprocessing(),
}
