"""A certificate as a value, and as one file."""

from __future__ import annotations

import json
import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from mpmath import mp, mpf
from mpmath.libmp import from_man_exp
from numpy.typing import NDArray

from ..arithmetic.big_floats import BigFloats
from ..atomic import replacing
from ..errors import InputError
from ..trace import Trace
from ..weights.archive import DAMAGE
from ..weights.damage import damage_named
from .ball_engine import Balls
from .layers import CertifiedLayer
from .logits import FirstClass, first_class, is_decided, softmax_enclosure
from .radii import Radii

Objects = NDArray[np.object_]
SCHEMA = 1
INDEX = "index"
PLANES = ("hi", "lo", "radius")
FULL = ("signs", "significands", "exponents", "radii")
UNREADABLE = (*DAMAGE, LookupError, TypeError, AttributeError, ArithmeticError)


@dataclass(frozen=True)
class Certificate:
    """For each number of the network a midpoint and a radius: |true - midpoint| <= radius.

    bits: that were asked for.  working_precision: bits of the midpoints.  needed: of these, how many the proof used up
    to what was asked for; more than working_precision where something is open.  value, radius: the logits (n, classes),
    object arrays of mpmath.mpf, exactly.  layers: by name, all of them.  provenance: hashes of weights and picture,
    the graph, versions, the machine.
    """

    bits: int
    working_precision: int
    needed: int
    value: Objects
    radius: Objects
    layers: Mapping[str, CertifiedLayer]
    provenance: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.value.shape != self.radius.shape:
            raise InputError(f"values {self.value.shape}, radii {self.radius.shape}", expected="the same shape")
        object.__setattr__(self, "layers", MappingProxyType(dict(self.layers)))
        object.__setattr__(self, "provenance", MappingProxyType(dict(self.provenance)))

    @cached_property
    def open(self) -> tuple[tuple[int, ...], ...]:
        """Indices of the logits whose balls have no one RN to `bits` bits."""
        places = np.ndindex(self.value.shape)
        return tuple(place for place in places if not is_decided(self.value[place], self.radius[place], self.bits))

    @property
    def open_layers(self) -> tuple[str, ...]:
        """Layers with a radius above 2^-bits of their root mean square."""
        return tuple(name for name, layer in self.layers.items() if layer.largest > -self.bits)

    @property
    def decided(self) -> bool:
        """Whether nothing is open."""
        return not self.open and not self.open_layers

    @property
    def exact_zeros(self) -> int:
        """Numbers of all layers that are proven to be zero."""
        zeros = (np.count_nonzero((layer.hi == 0) & (layer.radius == 0)) for layer in self.layers.values())
        return sum(map(int, zeros))

    @property
    def digits(self) -> float:
        """Decimal digits that are proven of every layer, each as a whole."""
        return min(layer.digits for layer in self.layers.values())

    @property
    def growth(self) -> dict[str, float]:
        """By layer, log2 of the largest radius over the root mean square: how the radii grow with depth."""
        return {name: layer.largest for name, layer in self.layers.items()}

    @property
    def top1(self) -> tuple[FirstClass, ...]:
        """The first class of each picture, and whether it is certain. Raises InputError without two classes."""
        return tuple(first_class(values, radii) for values, radii in self._logits(2))

    @property
    def softmax(self) -> tuple[Objects, Objects]:
        """Lower and upper bounds of the softmax of the logits, of `bits` bits. Raises InputError without logits."""
        rows = [softmax_enclosure(*row, self.bits) for row in self._logits(1)]
        lower, upper = zip(*rows, strict=True)
        return np.array(lower, object), np.array(upper, object)

    def _logits(self, classes: int) -> Iterator[tuple[Objects, Objects]]:
        """Values and radii of each picture, where there are as many classes."""
        if self.value.ndim != 2 or self.value.shape[1] < classes:
            raise InputError(f"an output of shape {self.value.shape}", expected=f"logits of {classes} or more classes")
        return zip(self.value, self.radius, strict=True)

    def rounded(self) -> np.ndarray:
        """The logits, RN to float64: what is proven where bits >= 53 and nothing is open."""
        return self.value.astype(np.float64)

    def trace(self) -> Trace:
        """RN to float64 of every layer's midpoints."""
        layers = {name: layer.hi for name, layer in self.layers.items()}
        return Trace(layers, {"engine": "refnet certificate", **self.provenance})

    def save(self, path: str | Path) -> None:
        """Write one .npz file, whole or not at all; about 20 bytes a number, with full midpoints more.

        Raises InputError for another suffix or a place that cannot be written.
        """
        path = Path(path)
        if path.suffix != ".npz":
            raise InputError(f"{path}", expected="a name that ends in .npz")
        arrays: dict[str, Any] = {INDEX: np.frombuffer(json.dumps(self._index()).encode(), np.uint8)}
        for name, layer in self.layers.items():
            arrays |= {f"{name}.{plane}": array for plane, array in _planes(layer)}
        try:
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.savez(file, **arrays)
        except OSError as error:
            raise InputError(f"cannot write the certificate {path}: {error.strerror or error}") from error

    @classmethod
    def load(cls, path: str | Path) -> Certificate:
        """Read what `save` wrote. Raises InputError for anything else."""
        if not Path(path).is_file():
            raise InputError(f"no file {path}", expected="what Certificate.save wrote")
        with damage_named(f"{path} is no whole certificate", UNREADABLE), np.load(path, allow_pickle=False) as file:
            index = json.loads(bytes(file[INDEX]).decode())
            if index["schema"] != SCHEMA:
                raise InputError(f"{path} has the schema {index['schema']!r}", expected=str(SCHEMA))
            layers = {entry["layer"]: _layer(entry, file) for entry in index["layers"]}
            value, radius = (_read(index[name], index["shape"]) for name in ("value", "radius"))
            bits, working, needed = (operator.index(index[name]) for name in ("bits", "working", "needed"))
            return cls(bits, working, needed, value, radius, layers, index["provenance"])

    def _index(self) -> dict[str, Any]:
        layers = [
            {
                "layer": name,
                "exponent": layer.exponent,
                "largest": layer.largest,
                "sha256": layer.sha256,
                "full": None if layer.full is None else [layer.full.midpoints.bits, layer.full.radii.exponent],
            }
            for name, layer in self.layers.items()
        ]
        return {
            "schema": SCHEMA,
            "bits": self.bits,
            "working": self.working_precision,
            "needed": self.needed,
            "shape": self.value.shape,
            "value": _written(self.value),
            "radius": _written(self.radius),
            "layers": layers,
            "provenance": dict(self.provenance),
        }


def _planes(layer: CertifiedLayer) -> list[tuple[str, np.ndarray]]:
    planes = [(plane, getattr(layer, plane)) for plane in PLANES]
    if layer.full is not None:
        numbers = layer.full.midpoints
        arrays = (numbers.signs, numbers.significands, numbers.exponents, layer.full.radii.values)
        planes += zip(FULL, arrays, strict=True)
    return planes


def _layer(entry: Mapping[str, Any], file: Mapping[str, np.ndarray]) -> CertifiedLayer:
    name = entry["layer"]
    hi, lo, radius = (file[f"{name}.{plane}"] for plane in PLANES)
    full = None
    if entry["full"]:
        bits, exponent = entry["full"]
        signs, significands, exponents, radii = (file[f"{name}.{plane}"] for plane in FULL)
        full = Balls(BigFloats(signs, significands, exponents, bits), Radii(radii, exponent))
    return CertifiedLayer(hi, lo, radius, entry["exponent"], entry["largest"], entry["sha256"], full)


def _written(numbers: Objects) -> list[str]:
    """`mantissa exponent` of each number: an integer in hexadecimal digits and a power of two."""
    parts = (number._mpf_ for number in numbers.ravel())
    return [f"{'-' if sign else ''}{int(mantissa):x} {exponent}" for sign, mantissa, exponent, _ in parts]


def _read(texts: list[str], shape: list[int]) -> Objects:
    pairs = (text.split() for text in texts)
    numbers = np.empty(len(texts), object)
    numbers[:] = [_number(int(mantissa, 16), int(exponent)) for mantissa, exponent in pairs]
    return numbers.reshape(tuple(shape))


def _number(mantissa: int, exponent: int) -> mpf:
    return mp.make_mpf(from_man_exp(mantissa, exponent))
