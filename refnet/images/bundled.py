"""Where the picture lies that comes with refnet."""

from __future__ import annotations

from pathlib import Path


def bundled_image() -> Path:
    """The PNG that `refnet drift` uses when no other is given: 320 x 240 pixels, RGB, made by `refnet.images.make`."""
    return Path(__file__).parent.parent / "data" / "picture.png"
