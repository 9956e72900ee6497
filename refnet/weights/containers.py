"""The kinds of weight files: one table of suffixes, and what reads and writes each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..atomic import check_writable, replacing
from ..errors import InputError
from .archive import open_keras, open_npz, write_npz
from .hdf5 import open_hdf5
from .isolated import open_isolated
from .keras_hdf5 import keras_network, write_keras3, write_legacy
from .safetensors_file import open_safetensors, write_safetensors
from .stored import StoredNetwork
from .weights import Weights


@contextmanager
def open_keras_hdf5(path: Path) -> Iterator[StoredNetwork]:
    with open_hdf5(path, str(path)) as file:
        yield keras_network(file, str(path))


@dataclass(frozen=True)
class Container:
    """A kind of file by the end of its name; `write` is None for kinds that are only read.

    isolated: `open` is called in a child process, which the HDF5 library may crash.
    """

    suffix: str
    meaning: str
    open: Callable[[Path], AbstractContextManager[StoredNetwork]]
    write: Callable[[Weights, Path], None] | None
    isolated: bool = False


CONTAINERS = (  # a longer suffix stands before one that it ends in
    Container(".weights.h5", "Keras 3 and tf-keras, save_weights", open_keras_hdf5, write_keras3, isolated=True),
    Container(".h5", "legacy Keras, keras.applications", open_keras_hdf5, write_legacy, isolated=True),
    Container(".hdf5", "legacy Keras", open_keras_hdf5, write_legacy, isolated=True),
    Container(".keras", "Keras 3, model.save", open_keras, None, isolated=True),
    Container(".npz", "NumPy, Keras's names", open_npz, write_npz),
    Container(".safetensors", "Keras's names, or torchvision's", open_safetensors, write_safetensors),
)


def container_of(path: Path) -> Container:
    """The container by the end of the file's name; raises InputError for other names."""
    for container in CONTAINERS:
        if path.name.lower().endswith(container.suffix):
            return container
    raise InputError(
        f"{path} has no suffix of a weight file",
        expected=", ".join(container.suffix for container in CONTAINERS),
        do="save PyTorch weights as .safetensors" if path.suffix in (".pt", ".pth", ".bin") else "",
    )


def read_weights(path: Path | str, *, variant: str | None = None) -> Weights:
    """The weights in a file, never cast; `variant` (v1 or v1.5) overrules what the file says of it, v1 if nothing.

    Raises InputError for a file that is missing, damaged or of another model.
    """
    path = Path(path)
    container = container_of(path)
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"{path} {found}", expected="a weight file, 'synthetic' or 'imagenet'")
    if not container.isolated:
        return read_here(path, variant=variant)
    with open_isolated(path, variant) as network:
        return Weights(network.tensors, variant=network.variant, source=str(path))


def read_here(path: Path, *, variant: str | None = None, source: str | None = None) -> Weights:
    """read_weights for a file that exists, in this process; `source` is what the weights call theirs."""
    with container_of(path).open(path) as network:
        return Weights(network.tensors, variant=variant or network.variant, source=source or str(path))


def save_weights(weights: Weights, path: Path | str) -> Path:
    """Writes the weights, whole or not at all; the suffix says how. Raises InputError when that cannot be done."""
    path = Path(path)
    write = check_target(path)
    with replacing(path) as temporary:
        write(weights, temporary)
    return path


def check_target(path: Path) -> Callable[[Weights, Path], None]:
    """What writes files of this name. Raises InputError, before any work is done, if save_weights could not."""
    container = container_of(path)
    if container.write is None:
        kinds = ", ".join(container.suffix for container in CONTAINERS if container.write)
        raise InputError(f"{container.suffix} files can only be read", do=f"save as {kinds}")
    check_writable(path)
    return container.write
