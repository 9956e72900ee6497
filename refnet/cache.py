"""The folder of things that refnet can make again: files named by what they hold, the oldest removed first."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import platformdirs

from .atomic import replacing
from .errors import InputError

T = TypeVar("T")

KEPT_FILES = 4  # in each folder of the cache; one ResNet50 in float32 is 100 MB


def cache_folder() -> Path:
    """The user's cache folder of refnet, as the system places it; it need not exist."""
    return Path(platformdirs.user_cache_dir("refnet", appauthor=False))


def cached(folder: Path, name: str, *, read: Callable[[Path], T | None], make: Callable[[Path], object]) -> T:
    """What `read` finds in `folder/name`; if that is not there or None (spoiled), `make` writes it first.

    The file appears whole or not at all. Of each folder the KEPT_FILES files used last are kept. Raises InputError
    when the folder cannot be made or written, and whatever `make` raises.
    """
    path = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"no cache folder can be made at {folder}: {error.strerror}", do="name another") from error
    value = read(path) if path.is_file() else None
    if value is None:
        with replacing(path) as temporary:
            make(temporary)
        value = read(path)
    if value is None:
        raise InputError(f"{path} does not hold what was just written there", do="name another cache folder")
    _touch(path)
    _remove_oldest(folder, spare=path)
    return value


def _touch(path: Path) -> None:
    """Marks the file as used now; a cache that only someone else may write to is still read."""
    try:
        os.utime(path)
    except PermissionError:
        return


def _remove_oldest(folder: Path, *, spare: Path) -> None:
    """Two processes may tidy at once: what is gone already is fine, what cannot be removed stays."""
    used: dict[Path, float] = {}
    for path in folder.iterdir():
        try:
            if path != spare and path.is_file() and not path.name.startswith("."):
                used[path] = path.stat().st_mtime
        except FileNotFoundError:
            continue
    for path in sorted(used, key=used.__getitem__, reverse=True)[KEPT_FILES - 1 :]:
        try:
            path.unlink(missing_ok=True)
        except PermissionError:
            continue
