"""How refnet compiles: every Numba option and the length of the machine's vectors, in one place."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numba
from numba.core import types
from numba.core.registry import cpu_target

from .code_cache import KernelCache

OPTIONS: dict[str, Any] = {"nogil": True, "fastmath": False, "error_model": "numpy", "boundscheck": False}
VECTOR_BYTES = {"+avx512f": 64, "+avx": 32}  # by CPU feature; 16 bytes (SSE2, NEON) where none is there


def kernel(function: Callable[..., Any]) -> Any:
    """A Numba dispatcher for `function`, with refnet's options and its cache of compiled code."""
    dispatcher = numba.njit(**OPTIONS)(function)
    dispatcher._cache = KernelCache(function)
    return dispatcher


@cache
def compiled(dispatcher: Any, *arguments: types.Type) -> Callable[..., Any]:
    """The machine code of `dispatcher` for just these types; an int literal type chooses a specialisation."""
    dispatcher.compile(arguments)
    return dispatcher.overloads[arguments].entry_point


@cache
def native(dispatcher: Any, *arguments: types.Type) -> int:
    """The address of that machine code, which memory.call_native calls; it must raise nothing."""
    compiled(dispatcher, *arguments)
    overload = dispatcher.overloads[arguments]
    return int(overload.library.get_pointer_to_function(overload.fndesc.llvm_func_name))


@cache
def vector_bytes() -> int:
    """The longest vector of the CPU that Numba compiles for (which NUMBA_CPU_FEATURES may have chosen)."""
    features = cpu_target.target_context.codegen().magic_tuple()[2].split(",")
    return next((size for feature, size in VECTOR_BYTES.items() if feature in features), 16)
