"""Compiled code on disk: never stale, and safe when several processes write at once.

Numba's own cache looks at one source file, but a kernel is made of many (the tile generator, the orders' algebra), and
two processes that save at once can exchange their entries. Here each entry is a file whose name is a hash of all it
depends on: the sources, Numba's and LLVM's versions, the CPU with its features, and the argument types.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core import serialize
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator
from platformdirs import user_cache_dir

from ..arithmetic import orders

SOURCE_FOLDERS = (Path(__file__).parent, Path(orders.__file__).parent)
KEPT_VERSIONS = 4  # folders of other sources or versions; the oldest go when a new one is made


@cache
def sources_hash() -> str:
    """A hash of every file that takes part in what is compiled, and of the compilers' versions."""
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__}".encode())
    for folder in SOURCE_FOLDERS:
        for path in sorted(folder.glob("*.py")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


@cache
def code_folder() -> Path:
    """Where compiled code of just these sources lies; made, and the oldest of other sources removed, on first use."""
    folder = Path(user_cache_dir("refnet")) / "kernels" / sources_hash()
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        others = sorted(folder.parent.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in others[KEPT_VERSIONS:]:
            shutil.rmtree(old, ignore_errors=True)
    return folder


class _Entries:
    """What Numba asks of a cache file, one file for each key."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name

    def path(self, key: object) -> Path:
        return self.folder / f"{self.name}-{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.nbc"

    def load(self, key: object) -> Any:
        with contextlib.suppress(OSError, EOFError, pickle.UnpicklingError):
            return pickle.loads(self.path(key).read_bytes())
        return None

    def save(self, key: object, data: object) -> None:
        handle, temporary = tempfile.mkstemp(dir=self.folder)
        with os.fdopen(handle, "wb") as file:
            file.write(serialize.dumps(data))
        os.replace(temporary, self.path(key))

    def flush(self) -> None:
        """Nothing is kept in memory."""


class _Locator(_CacheLocator):
    def __init__(self, function: Any) -> None:
        self.line = function.__code__.co_firstlineno

    def get_cache_path(self) -> str:
        return str(code_folder())

    def get_source_stamp(self) -> str:
        return sources_hash()

    def get_disambiguator(self) -> str:
        return str(self.line)

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> _Locator:
        return cls(py_func)


class _Implementation(CompileResultCacheImpl):
    _locator_classes: list[Any] = [_Locator]  # noqa: RUF012


class KernelCache(FunctionCache):
    """Numba's cache of a function's specialisations, over the files above."""

    _impl_class = _Implementation

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        self._cache_file: Any = _Entries(code_folder(), self._impl.filename_base)
