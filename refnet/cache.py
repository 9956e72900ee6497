"""The folder of things that refnet can make again: files named by what they hold, the oldest removed first."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile
from typing import TypeVar

import platformdirs

from .atomic import replacing
from .errors import InputError

T = TypeVar("T")

KEPT_FILES = 4  # in each folder of the cache; one ResNet50 in float32 is 100 MB


def cache_folder() -> Path:
    """The user's cache folder of refnet, as the system places it; it need not exist."""
    return Path(platformdirs.user_cache_dir("refnet", appauthor=False))


def cached(
    folder: Path,
    name: str,
    *,
    read: Callable[[Path], T | None],
    make: Callable[[Path], object],
    otherwise: Path | None = None,
    keep: int = KEPT_FILES,
) -> T:
    """What `read` finds in `folder/name`; if that is not there or None (spoiled), `make` writes it first.

    The file appears whole or not at all. Of each folder the `keep` files used last are kept. Where the folder
    cannot be made or written, the file is made in `otherwise`, and so not kept; without one InputError is raised, as
    is whatever `make` raises.
    """
    path = folder / name
    value = read(path) if os.path.isfile(path) else None  # which is False, too, for a folder that may not be read
    if value is None:
        refusal = _refusal(folder)
        if refusal and otherwise is None:
            raise InputError(f"no cache folder can be made at {folder}: {refusal}", do="name another")
        path = otherwise / name if refusal and otherwise else path
        with replacing(path) as temporary:
            make(temporary)
        value = read(path)
    if value is None:
        raise InputError(f"{path} does not hold what was just written there", do="name another cache folder")
    if path.parent == folder:
        _touch(path)
        _remove_oldest(folder, keep, spare=path)
    return value


def _refusal(folder: Path) -> str:
    """Makes the folder; why it cannot be made or written, "" if it can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def _touch(path: Path) -> None:
    """Marks the file as used now; a cache that only someone else may write to is still read."""
    try:
        os.utime(path)
    except OSError:
        return


def _remove_oldest(folder: Path, keep: int, *, spare: Path) -> None:
    """Two processes may tidy at once: what is gone already is fine, what cannot be removed stays."""
    used: dict[Path, float] = {}
    for path in folder.iterdir():
        try:
            if path != spare and path.is_file() and not path.name.startswith("."):
                used[path] = path.stat().st_mtime
        except FileNotFoundError:
            continue
    for path in sorted(used, key=used.__getitem__, reverse=True)[keep - 1 :]:
        try:
            path.unlink(missing_ok=True)
        except OSError:
            continue
