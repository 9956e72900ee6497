"""Pictures as the network takes them: float32 batches, equal to the bit to what Keras makes of the same file."""

from .bundled import bundled_image
from .load import (
    INTERPOLATIONS,
    DepthClippedWarning,
    OrientationIgnoredWarning,
    PictureWarning,
    load_image,
    load_images,
)
from .preprocess import PREPROCESSINGS, Preprocessing

__all__ = [
    "INTERPOLATIONS",
    "PREPROCESSINGS",
    "DepthClippedWarning",
    "OrientationIgnoredWarning",
    "PictureWarning",
    "Preprocessing",
    "bundled_image",
    "load_image",
    "load_images",
]
