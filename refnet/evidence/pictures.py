"""The pictures of the evidence: twenty views of the bundled picture and plain patterns, the same bytes everywhere.

Only integers are added, moved and compared, so that no machine can make other pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import InputError
from ..images import bundled_image, load_image

Pixels = NDArray[np.uint8]
"""(height, width, 3), RGB."""


def _random(pixels: Pixels, seed: int) -> NDArray[np.int64]:
    """Whole numbers 0..255 of the picture's shape: the upper bits of PCG64's raw stream."""
    raw = np.random.PCG64(seed).random_raw(pixels.size) >> np.uint64(56)
    return np.asarray(raw, np.int64).reshape(pixels.shape)


def _clipped(values: NDArray[np.int64]) -> Pixels:
    return np.clip(values, 0, 255).astype(np.uint8)


def _wide(pixels: Pixels) -> NDArray[np.int64]:
    return pixels.astype(np.int64)


def _ramp(pixels: Pixels) -> Pixels:
    """Red grows to the right, green downwards, blue to both."""
    height, width, _ = pixels.shape
    y, x = np.indices((height, width))
    right, down = 255 * x // (width - 1), 255 * y // (height - 1)
    return _clipped(np.stack([right, down, (right + down) // 2], axis=-1))


def _rings(pixels: Pixels) -> Pixels:
    height, width, _ = pixels.shape
    y, x = np.indices((height, width))
    distance = (y - height // 2) ** 2 + (x - width // 2) ** 2
    return _clipped(np.stack([distance // 100 % 256, distance // 70 % 256, distance // 50 % 256], axis=-1))


def _checks(pixels: Pixels) -> Pixels:
    y, x = np.indices(pixels.shape[:2])
    return np.where(((y // 16 + x // 16) % 2 == 0)[..., None], np.uint8(255), np.uint8(0)) + np.zeros(3, np.uint8)


def _blurred(pixels: Pixels) -> Pixels:
    """The mean of the 9 x 9 pixels around each, the picture going on at the other edge."""
    wide = _wide(pixels)
    total = sum(np.roll(wide, (dy, dx), (0, 1)) for dy in range(-4, 5) for dx in range(-4, 5))
    return _clipped(np.asarray(total) // 81)


VIEWS: Mapping[str, Callable[[Pixels], Pixels]] = MappingProxyType(
    {
        "bundled": lambda p: p,
        "mirrored": lambda p: p[:, ::-1],
        "upside-down": lambda p: p[::-1],
        "turned": lambda p: p.transpose(1, 0, 2),
        "upper-left": lambda p: p[:140, :180],
        "lower-right": lambda p: p[-140:, -180:],
        "middle": lambda p: p[70:170, 110:210],
        "detail": lambda p: p[100:148, 140:188],
        "tiled": lambda p: np.tile(p[::4, ::4], (4, 4, 1)),
        "grey": lambda p: np.repeat(p[..., 1:2], 3, axis=-1),
        "negative": lambda p: 255 - p,
        "channels-turned": lambda p: np.roll(p, 1, axis=-1),
        "faint": lambda p: p // 8 + 112,
        "four-levels": lambda p: p // 64 * 85,
        "blurred": _blurred,
        "noisy": lambda p: _clipped(_wide(p) + _random(p, 1) // 4 - 32),
        "noise": lambda p: _clipped(_random(p, 2)),
        "ramp": _ramp,
        "rings": _rings,
        "checks": _checks,
    }
)
"""Name -> how it is made of the bundled picture."""


def check_views(names: Sequence[str]) -> None:
    """Raises InputError for a name that VIEWS does not have, and for none."""
    unknown = [name for name in names if name not in VIEWS]
    if unknown or not names:
        raise InputError(f"pictures {', '.join(unknown) or '(none named)'}", expected=f"some of {', '.join(VIEWS)}")


def pictures(names: Sequence[str] = tuple(VIEWS), *, size: int = 224) -> NDArray[np.float32]:
    """(n, size, size, 3) float32, preprocessed as Keras does; resized to the nearest pixel.

    Raises InputError as `check_views` does.
    """
    check_views(names)
    with Image.open(bundled_image()) as image:
        pixels = np.asarray(image.convert("RGB"))
    views = [np.ascontiguousarray(VIEWS[name](pixels), np.uint8) for name in names]
    return np.concatenate([load_image(view, size) for view in views])
