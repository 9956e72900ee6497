"""`.safetensors` with Keras's names or torchvision's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from .damage import damage_named
from .stored import VARIANT_KEY, StoredNetwork, StoredTensor
from .torchvision import from_torchvision, is_torchvision
from .weights import Weights

DAMAGE = (SafetensorError, OSError, ValueError)
DTYPES = {"F16": "float16", "F32": "float32", "F64": "float64", "BF16": "bfloat16"}


@contextmanager
def open_safetensors(path: Path) -> Iterator[StoredNetwork]:
    """The tensors by Keras's names; torchvision's are v1.5's.

    The format's own checks hold the declared sizes to the file's size.
    """
    with _damage_named(path):
        file: Any = safe_open(path, framework="numpy")
    with file:
        tensors = {name: _stored(file, name, path) for name in file.keys()}  # noqa: SIM118 (file is no mapping)
        if is_torchvision(tensors):
            yield StoredNetwork(from_torchvision(tensors), "v1.5")
        else:
            yield StoredNetwork(tensors, (file.metadata() or {}).get(VARIANT_KEY))


def write_safetensors(weights: Weights, path: Path) -> None:
    """Writes Keras's names, and beside them the variant and the content hash, by which damage can be told later."""
    save_file(dict(weights), path, metadata={"hash": weights.hash, VARIANT_KEY: weights.variant})


def recorded_hash(path: Path) -> str | None:
    """The content hash that `write_safetensors` put down; None in files of others. Raises InputError."""
    with _damage_named(path), safe_open(path, framework="numpy") as file:
        return (file.metadata() or {}).get("hash")


def _stored(file: Any, name: str, path: Path) -> StoredTensor:
    def read() -> np.ndarray:
        with _damage_named(path):
            return np.asarray(file.get_tensor(name))

    declared = file.get_slice(name)
    dtype = declared.get_dtype()
    return StoredTensor(tuple(declared.get_shape()), DTYPES.get(dtype, dtype), read)


def _damage_named(path: Path) -> AbstractContextManager[None]:
    return damage_named(f"{path} is not a whole .safetensors file", DAMAGE)
