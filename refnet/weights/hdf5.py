"""HDF5 read with suspicion: everything must lie in the file itself and be as large as it says.

Refused are links other than hard ones, virtual datasets, data kept in other files, chunks larger than their dataset
and datasets that were never written (they would read as zeros).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from math import prod
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np

from ..errors import InputError
from .damage import damage_named
from .stored import StoredTensor

DAMAGE = (OSError, RuntimeError, KeyError, TypeError, ValueError, OverflowError, MemoryError)  # h5py on broken files
LARGEST_CHUNK = 1 << 20  # bytes that a chunk may take however small its dataset is


@contextmanager
def open_hdf5(file: Path | IO[bytes], label: str) -> Iterator[h5py.File]:
    """An HDF5 file or file object for reading; `label` names it in errors. Raises InputError for any other file."""
    with _damage_named(label):
        opened = h5py.File(file, "r")
    with opened:
        yield opened


def names_in(group: h5py.Group, label: str) -> list[str]:
    with _damage_named(label):
        return [str(name) for name in group]


def has(group: h5py.Group, name: str, label: str) -> bool:
    return name in names_in(group, label)


def child(group: h5py.Group, path: str, label: str) -> h5py.Group | h5py.Dataset:
    """What lies at `path` below the group, every step a hard link. Raises InputError if there is nothing or more."""
    current = group
    for name in path.split("/"):
        with _damage_named(label):
            link = current.get(name, getlink=True) if name and isinstance(current, h5py.Group) else None
            current = current[name] if isinstance(link, h5py.HardLink) else None
        if link is None:
            raise InputError(f"{label} has no {path!r} that it speaks of", do="fetch or save it again")
        if current is None:
            raise InputError(f"{label} has a {type(link).__name__} at {path!r}", expected="no links to elsewhere")
    return current


def subgroup(group: h5py.Group, path: str, label: str) -> h5py.Group:
    found = child(group, path, label)
    if not isinstance(found, h5py.Group):
        raise InputError(f"{label} has a dataset at {path!r}", expected="a group")
    return found


def text_attributes(item: h5py.Group, name: str, label: str) -> list[str]:
    """A list of names kept as an attribute; Keras cuts long ones into name0, name1, ... No attribute: no names."""
    with _damage_named(label):
        keys = [name] if name in item.attrs else []
        while not keys or keys[0] != name:
            if f"{name}{len(keys)}" not in item.attrs:
                break
            keys.append(f"{name}{len(keys)}")
        values = [value for key in keys for value in np.ravel(item.attrs[key])]
        return [value.decode("utf-8") if isinstance(value, bytes) else str(value) for value in values]


def text_attribute(item: h5py.Group, name: str, label: str) -> str | None:
    return next(iter(text_attributes(item, name, label)), None)


def stored_tensor(dataset: h5py.Group | h5py.Dataset, label: str) -> StoredTensor:
    """The dataset as declared, to be read later. Raises InputError for what is refused (see the module)."""
    with _damage_named(label):
        if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
            raise InputError(f"{label} has no tensor at {dataset.name!r}", expected="a dataset")
        shape, dtype = tuple(dataset.shape), str(dataset.attrs.get("dtype", dataset.dtype.name))
        chunk = prod(dataset.chunks) * dataset.dtype.itemsize if dataset.chunks else 0
        problems = {
            "a virtual dataset": dataset.is_virtual,
            "data kept in other files": dataset.external,
            "chunks larger than the data": chunk > max(LARGEST_CHUNK, prod(shape) * dataset.dtype.itemsize),
            "a dataset that was never written": prod(shape) > 0 and dataset.id.get_storage_size() == 0,
        }
    found = [problem for problem, there in problems.items() if there]
    if found:
        raise InputError(f"{label} has {found[0]} at {dataset.name!r}", expected="plain data inside the file")
    return StoredTensor(shape, dtype, lambda: _read(dataset, label))


def _read(dataset: h5py.Dataset, label: str) -> np.ndarray[Any, Any]:
    with _damage_named(f"{label} at {dataset.name!r}"):
        return np.asarray(dataset[()])


def _damage_named(label: str) -> AbstractContextManager[None]:
    return damage_named(f"{label} is not a whole HDF5 file", DAMAGE)
