"""A trace: every layer's activation in one run of one engine or backend, in memory or as a folder of `.npy` files."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from .arithmetic import BigFloats, DoubleDouble
from .errors import InputError
from .provenance import sha256_of_array

SCHEMA = 1
INDEX = "index.json"
DTYPES = ("float16", "float32", "float64")  # what a folder can hold

PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]+\.npy")  # of a layer's file: it cannot leave the folder

_AGAIN = "write the trace again or copy the whole folder"


class Trace(Mapping[str, np.ndarray]):
    """Layer name -> activation (batch axis first), in the order of the graph; nothing in it can be changed.

    Arrays are not copied: the trace holds read-only views of what it is given. `provenance` says where they come
    from, `formats` the number format of layers whose array is wider than that (bfloat16 in float32). Raises InputError
    for something that is not an array or for layers of different batch sizes.
    """

    __eq__ = object.__eq__  # arrays have no truth value; two traces are compared by measures, not by ==
    __hash__ = object.__hash__

    def __init__(
        self,
        activations: Mapping[str, np.ndarray],
        provenance: Mapping[str, Any] | None = None,
        formats: Mapping[str, str] | None = None,
    ) -> None:
        self._activations = {name: _read_only(name, array) for name, array in activations.items()}
        self._provenance = MappingProxyType(dict(provenance or {}))
        self._formats = MappingProxyType(
            {name: (formats or {}).get(name, _kind(array)) for name, array in self._activations.items()}
        )
        sizes = {array.shape[0]: name for name, array in self._activations.items()}
        if len(sizes) > 1:
            found = ", ".join(f"{size} in {name}" for size, name in sizes.items())
            raise InputError(f"the layers of a trace have different batch sizes ({found})", expected="one")

    def __getitem__(self, layer: str) -> np.ndarray:
        return self._activations[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self._activations)

    def __len__(self) -> int:
        return len(self._activations)

    def __repr__(self) -> str:
        size = sum(array.nbytes for array in self.values()) / 1e6
        return f"<Trace of {len(self)} layers, {size:.1f} MB>"

    @property
    def provenance(self) -> Mapping[str, Any]:
        return self._provenance

    @property
    def formats(self) -> Mapping[str, str]:
        """Layer name -> the format that its numbers were computed in, such as bfloat16 where the array is float32."""
        return self._formats

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write a folder: one `.npy` for each layer and `index.json` (schema, layers, provenance).

        The folder appears whole or not at all. Raises InputError if it exists (with `overwrite=True` an older trace
        is replaced, any other folder is not), and for activations or provenance that a file cannot hold.
        """
        folder = Path(folder)
        _check_free(folder, overwrite)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
                whole = Path(temporary) / "trace"
                whole.mkdir()
                self._write(whole)
                publish(whole, folder)
        except OSError as error:
            raise InputError(f"cannot write the trace {folder}: {error.strerror or error}") from error

    @classmethod
    def load(cls, folder: str | Path, *, verify: bool = True) -> Trace:
        """Open a folder that `save` or another program wrote; the arrays stay on disk (memory-mapped, read-only).

        With `verify` every array is read once and held against the sha256 in the index, where one is given. Raises
        InputError for anything that is missing, malformed, changed, not floating point or outside the folder.
        """
        folder = Path(folder)
        index = _read_index(folder)
        activations = {entry["name"]: open_layer(folder, entry, verify=verify) for entry in index["layers"]}
        formats = {entry["name"]: entry["computed"] for entry in index["layers"] if "computed" in entry}
        return cls(activations, index["provenance"], formats)

    def _write(self, folder: Path) -> None:
        layers = []
        for place, (name, array) in enumerate(self.items()):
            kind = _kind(array)
            if kind not in DTYPES:
                raise InputError(f"layer {name} is {kind}", expected=f"one of {', '.join(DTYPES)} to save it")
            little = array.astype(array.dtype.newbyteorder("<"), copy=False)
            file = f"{place:03d}_{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}.npy"
            np.save(folder / file, little, allow_pickle=False)
            computed = {} if self.formats[name] == kind else {"computed": self.formats[name]}
            layers.append({"name": name, "file": file, **_described(array), **computed})
        index = {"schema": SCHEMA, "layers": layers, "provenance": dict(self.provenance)}
        try:
            text = json.dumps(index, indent=1, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InputError(f"the provenance of the trace is not JSON: {error}") from error
        (folder / INDEX).write_text(text, encoding="utf-8")


def _kind(array: Any) -> str:
    return array.dtype.name if isinstance(array, np.ndarray) else type(array).__name__


def _described(array: np.ndarray) -> dict[str, Any]:
    return {"shape": list(array.shape), "dtype": array.dtype.name, "sha256": sha256_of_array(array)}


def publish(temporary: Path, folder: Path) -> None:
    """Give a finished folder its name; an older folder of that name is moved aside first and then removed."""
    if not folder.exists():
        os.rename(temporary, folder)
        return
    old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    os.replace(folder, old)
    os.rename(temporary, folder)
    shutil.rmtree(old, ignore_errors=True)


def _check_free(folder: Path, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not overwrite:
        raise InputError(f"{folder} exists", do="choose another folder or pass overwrite=True")
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / INDEX).is_file()):
        raise InputError(f"{folder} exists and is not a trace", do="choose another folder")


def _read_only(name: str, array: Any) -> Any:
    if isinstance(array, DoubleDouble):
        return DoubleDouble(*(_read_only(name, plane) for plane in array))
    if isinstance(array, BigFloats):
        signs, limbs, exponents = (_read_only(name, x) for x in (array.signs, array.significands, array.exponents))
        return BigFloats(signs, limbs, exponents, array.bits)
    if not isinstance(array, np.ndarray) or array.ndim < 1:
        raise InputError(f"layer {name} of a trace is {type(array).__name__}", expected="an array, batch axis first")
    view = array.view()
    view.flags.writeable = False
    return view


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{folder} has no {INDEX}", expected="a folder that Trace.save wrote") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error})", do=_AGAIN) from error
    if not isinstance(index, dict) or index.get("schema") != SCHEMA:
        found = index.get("schema") if isinstance(index, dict) else type(index).__name__
        raise InputError(f"{path} has the schema {found!r}", expected=str(SCHEMA), do="use the refnet that wrote it")
    layers = index.get("layers")
    if not isinstance(layers, list) or not all(_is_entry(entry) for entry in layers):
        raise InputError(f"{path} has malformed layers", expected="a list of name, file, shape, dtype, sha256")
    names = [entry["name"] for entry in layers]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{path} names layers twice: {', '.join(twice)}", expected="each layer once")
    if not isinstance(index.setdefault("provenance", {}), dict):
        raise InputError(f"the provenance in {path} is no object")
    return index


def _is_entry(entry: object) -> bool:
    return (
        isinstance(entry, dict)
        and all(isinstance(entry.get(key), str) for key in ("name", "file", "dtype"))
        and isinstance(entry.get("sha256"), str | None)
        and isinstance(entry.get("computed", ""), str)
        and isinstance(entry.get("shape"), list)
        and all(type(size) is int and size >= 0 for size in entry["shape"])
    )


def open_layer(folder: Path, entry: Mapping[str, Any], *, verify: bool = True) -> np.ndarray:
    """The array of one entry of an index, memory-mapped. Raises InputError as `Trace.load` does."""
    name, path = entry["name"], folder / entry["file"]
    if not PLAIN_NAME.fullmatch(entry["file"]) or path.is_symlink():
        raise InputError(f"layer {name} lies in the file {entry['file']!r}", expected=f"a plain .npy file in {folder}")
    array = _open_array(path, name)
    shape = tuple(entry["shape"])
    if (array.dtype.name, array.shape) != (entry["dtype"], shape):
        found = f"layer {name} in {path} is {array.dtype.name} {array.shape}"
        raise InputError(found, expected=f"{entry['dtype']} {shape}", do=_AGAIN)
    if verify and entry.get("sha256") not in (None, sha256_of_array(array)):
        raise InputError(f"layer {name} in {path} has other values than its sha256 says", do=_AGAIN)
    return array


def _open_array(path: Path, name: str) -> np.ndarray:
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError as error:
        raise InputError(f"the file {path} of layer {name} is missing", do=_AGAIN) from error
    except (OSError, ValueError, OverflowError, EOFError, tokenize.TokenError) as error:
        raise InputError(f"layer {name} in {path} is not a readable .npy array ({error})", do=_AGAIN) from error
    if array.dtype.name not in DTYPES:
        raise InputError(f"layer {name} in {path} is {array.dtype}", expected=f"one of {', '.join(DTYPES)}")
    return array
