"""Compiled code on disk: never stale, and safe when several processes write at once.

Numba's own cache looks at one source file, but a kernel is made of many (the tile generator, the orders' algebra), and
two processes that save at once can exchange their entries. Here each entry is a file whose name is a hash of all it
depends on: the sources, Numba's and LLVM's versions, the CPU with its features, and the argument types. It begins with
a hash of the rest, so that a spoiled file is never run. Where nothing can be written, nothing is kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core import serialize
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator
from platformdirs import user_cache_dir

from ..arithmetic import orders
from ..atomic import replacing
from ..errors import InputError

SOURCE_FOLDERS = (Path(__file__).parent, Path(orders.__file__).parent)
DIGEST_BYTES = 32
KEPT_VERSIONS = 8  # folders of other sources or versions; the oldest go when a new one is made


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
    with contextlib.suppress(OSError):  # a folder that cannot be made or was removed just now: nothing is kept
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            others = sorted(folder.parent.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
            for old in others[KEPT_VERSIONS:]:
                shutil.rmtree(old, ignore_errors=True)
    return folder


def _digest(code: bytes) -> bytes:
    return hashlib.sha256(code).digest()


class _Entries:
    """What Numba asks of a cache file, one file for each key."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name

    def path(self, key: object) -> Path:
        return self.folder / f"{self.name}-{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.nbc"

    def load(self, key: object) -> Any:
        with contextlib.suppress(OSError):
            whole = self.path(key).read_bytes()
            if whole[:DIGEST_BYTES] == _digest(whole[DIGEST_BYTES:]):
                return pickle.loads(whole[DIGEST_BYTES:])
        return None

    def save(self, key: object, data: object) -> None:
        code = serialize.dumps(data)
        with contextlib.suppress(OSError, InputError), replacing(self.path(key)) as temporary:
            temporary.write_bytes(_digest(code) + code)

    def flush(self) -> None:
        """Nothing is kept in memory."""


class _Locator(_CacheLocator):
    def __init__(self, function: Any) -> None:
        self.line = function.__code__.co_firstlineno

    def ensure_cache_path(self) -> None:
        """code_folder made it, if it can be made."""

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
