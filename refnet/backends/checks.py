"""What is refused before anything runs: pictures, numbers and folders that cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..atomic import check_writable
from ..errors import InputError
from ..trace import INDEX
from .variant import Variant

TIMEOUT = 600.0  # seconds for one variant, start and both models included


def check_run(
    variants: Sequence[Variant],
    images: np.ndarray,
    folder: Path | None,
    *,
    threads: int | None = None,
    timeout: float = TIMEOUT,
) -> None:
    """Raise InputError now for what `run` would refuse, and make its folder, if one is named."""
    check_images(images)
    if not timeout > 0:
        raise InputError(f"timeout {timeout}", expected="seconds above 0")
    if threads is not None and threads < 1:
        raise InputError(f"{threads} threads", expected="at least 1, or None for each framework's own choice")
    if folder is not None:
        check_folder(folder, variants)


def check_folder(folder: Path, variants: Sequence[Variant]) -> None:
    """Make the folder of the results; raises InputError if it cannot be, or holds something else in their place."""
    _check_places(folder, variants)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {folder}: {error.strerror or error}", do="name another") from error
    check_writable(folder / ".work")


def check_images(images: np.ndarray) -> None:
    """Raises InputError for pictures that are not float32 (n, height, width, 3), or not finite."""
    if images.ndim != 4 or images.shape[-1] != 3 or not len(images) or images.dtype != np.float32:
        raise InputError(f"images are {images.dtype} {images.shape}", expected="float32 (n, height, width, 3)")
    if not np.isfinite(images).all():
        raise InputError("images hold NaN or infinity", expected="finite values")


def _check_places(folder: Path, variants: Sequence[Variant]) -> None:
    """Results replace older results and nothing else: `torch` may be a user's own folder."""
    for place in (folder / variant.name for variant in variants):
        if place.exists() and not (place / "trace" / INDEX).is_file():
            raise InputError(f"{place} exists and is not a result of refnet", do="choose another folder")
