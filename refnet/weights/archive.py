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
from .keras_hdf5 import keras_network
from .stored import VARIANT_KEY, StoredNetwork, StoredTensor
from .weights import Weights

DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError, SyntaxError, RuntimeError)
KERAS_MEMBER = "model.weights.h5"
LARGEST_MEMBER = 2 << 30  # bytes: ResNet152 in float64 with 65,536 classes needs 1.5 GiB
LARGEST_RATIO = 100  # Keras stores without compression; trained floats hardly compress
SMALL_MEMBER = 32 << 20  # bytes that may be packed to nothing: fresh networks have tensors full of zeros
LARGEST_HEADER = 10_000  # bytes of text before an array, as NumPy's own limit, which it applies after reading them
LARGEST_TEXT = 100  # bytes of an array that is a word

HEADERS = {  # version of npy -> how the length of its header is written, what reads length and header
    (1, 0): ("<H", np.lib.format.read_array_header_1_0),
    (2, 0): ("<I", np.lib.format.read_array_header_2_0),
}


@contextmanager
def open_npz(path: Path) -> Iterator[StoredNetwork]:
    """The arrays of an `.npz`, by name; pickled objects are seen by their header and never read."""
    with _open_zip(path) as archive:
        tensors: dict[str, StoredTensor] = {}
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if name in tensors:
                raise InputError(f"{path} has two members that are called {name}", expected="each name once")
            with _damage_named(str(path)):
                tensors[name] = _npy(archive, info, str(path))
        variant = tensors.pop(VARIANT_KEY, None)
        yield StoredNetwork(tensors, _word(variant, str(path)) if variant else None)


def write_npz(weights: Weights, path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **weights, **{VARIANT_KEY: np.array(weights.variant)})


@contextmanager
def open_keras(path: Path) -> Iterator[StoredNetwork]:
    """The weights of a `.keras` file; its configuration, from which Keras would make objects, is not even read."""
    with _open_zip(path) as archive:
        if KERAS_MEMBER not in archive.namelist():
            raise InputError(f"{path} has no {KERAS_MEMBER}", expected="a file that Keras's model.save wrote")
        with _damage_named(str(path)):
            content = io.BytesIO(archive.read(KERAS_MEMBER))
    with open_hdf5(content, f"{path}:{KERAS_MEMBER}") as file:
        yield keras_network(file, str(path))


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
        for info in archive.infolist():
            _check_size(info, path)
        yield archive


def _check_size(info: zipfile.ZipInfo, path: Path) -> None:
    """A member must not grow without bounds when it is unpacked; zipfile unpacks no more than is declared."""
    if info.file_size > min(LARGEST_MEMBER, max(SMALL_MEMBER, LARGEST_RATIO * info.compress_size)):
        raise InputError(
            f"{path} packs {info.file_size} bytes into {info.compress_size}",
            expected=f"at most {LARGEST_MEMBER} bytes, packed at most {LARGEST_RATIO} to 1",
        )


def _npy(archive: zipfile.ZipFile, info: zipfile.ZipInfo, label: str) -> StoredTensor:
    with archive.open(info) as member:
        shape, dtype = _npy_header(member)

    def read() -> np.ndarray:
        with _damage_named(f"{label} at {info.filename}"), archive.open(info) as member:
            return np.asarray(np.lib.format.read_array(member, allow_pickle=False))

    return StoredTensor(shape, dtype.name, read)


def _npy_header(member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype; raises ValueError for what is no array of NumPy, or says it at too great a length."""
    version = np.lib.format.read_magic(member)
    if version not in HEADERS:
        raise ValueError(f"npy version {version}")
    layout, parse = HEADERS[version]
    prefix = member.read(struct.calcsize(layout))
    (length,) = struct.unpack(layout, prefix)
    if length > LARGEST_HEADER:
        raise ValueError(f"an npy header of {length} bytes")
    shape, _, dtype = parse(io.BytesIO(prefix + member.read(length)))
    return shape, dtype


def _word(tensor: StoredTensor, label: str) -> str:
    """The text in an array without dimensions."""
    if tensor.shape or not tensor.dtype.startswith("str") or int(tensor.dtype[3:] or 0) > 8 * LARGEST_TEXT:
        raise InputError(f"{label} has a {VARIANT_KEY} of {tensor.dtype} {tensor.shape}", expected="one word")
    return str(tensor.read())


def _damage_named(label: str) -> AbstractContextManager[None]:
    return damage_named(f"{label} is not a whole archive", DAMAGE)
