"""Zip archives read with suspicion: `.npz` and `.keras`. Nothing is ever unpacked to disk."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np

from ..errors import InputError
from .damage import damage_named
from .hdf5 import open_hdf5
from .keras_hdf5 import keras_tensors
from .stored import StoredTensor
from .weights import Weights

DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError, SyntaxError, RuntimeError)
KERAS_MEMBER = "model.weights.h5"
LARGEST_MEMBER = 2 << 30  # bytes: ResNet152 in float64 with 65,536 classes needs 1.5 GiB
LARGEST_RATIO = 100  # Keras stores without compression; trained floats hardly compress


@contextmanager
def open_npz(path: Path) -> Iterator[dict[str, StoredTensor]]:
    """The arrays of an `.npz`, by name; pickled objects are seen by their header and never read."""
    with _open_zip(path) as archive:
        with _damage_named(str(path)):
            tensors = {
                info.filename.removesuffix(".npy"): _npy(archive, info, str(path)) for info in archive.infolist()
            }
        yield tensors


def write_npz(weights: Weights, path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **weights)


@contextmanager
def open_keras(path: Path) -> Iterator[dict[str, StoredTensor]]:
    """The weights of a `.keras` file; its configuration, from which Keras would make objects, is not even read."""
    with _open_zip(path) as archive:
        if KERAS_MEMBER not in archive.namelist():
            raise InputError(f"{path} has no {KERAS_MEMBER}", expected="a file that Keras's model.save wrote")
        info = archive.getinfo(KERAS_MEMBER)
        if info.file_size > min(LARGEST_MEMBER, LARGEST_RATIO * max(info.compress_size, 1)):
            raise InputError(
                f"{path} packs {info.file_size} bytes into {info.compress_size}",
                expected=f"at most {LARGEST_MEMBER} bytes, packed at most {LARGEST_RATIO} to 1",
            )
        with _damage_named(str(path)):
            content = io.BytesIO(archive.read(info))
    with open_hdf5(content, f"{path}:{KERAS_MEMBER}") as file:
        yield keras_tensors(file, str(path))


@contextmanager
def _open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    with _damage_named(str(path)):
        archive = zipfile.ZipFile(path)
    with archive:
        names = archive.namelist()
        for name in names:
            if PurePosixPath(name).is_absolute() or ".." in name.split("/") or "\\" in name or ":" in name:
                raise InputError(f"{path} has a member {name!r} that leaves the archive", do="do not trust this file")
        if len(set(names)) < len(names):
            raise InputError(f"{path} has two members of one name", expected="each name once")
        yield archive


def _npy(archive: zipfile.ZipFile, info: zipfile.ZipInfo, label: str) -> StoredTensor:
    with archive.open(info) as member:
        shape, dtype = _npy_header(member)

    def read() -> np.ndarray:
        with _damage_named(f"{label} at {info.filename}"), archive.open(info) as member:
            return np.asarray(np.lib.format.read_array(member, allow_pickle=False))

    return StoredTensor(shape, dtype.name, read)


def _npy_header(member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype; raises ValueError for what is no array of NumPy."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(member)
    if version not in readers:
        raise ValueError(f"npy version {version}")
    shape, _, dtype = readers[version](member)
    return shape, dtype


def _damage_named(label: str) -> AbstractContextManager[None]:
    return damage_named(f"{label} is not a whole archive", DAMAGE)
