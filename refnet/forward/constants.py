"""Constants of batch normalisation that are given, such as those read off a backend, in place of computed ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from ..arithmetic import CONSTANTS, Arithmetic
from ..arithmetic.formats import Array
from ..errors import InputError
from ..graph import Graph, Node
from ..provenance import sha256_of_arrays


@dataclass(frozen=True)
class Constants:
    """by_layer: batch normalisation -> name in CONSTANTS -> one number for each channel.

    hash: of all of them (provenance.sha256_of_arrays), which says whether two are alike; None where there are none.
    """

    by_layer: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)
    hash: str | None = None

    def of(self, layer: str) -> Mapping[str, Array]:
        """The keywords of ops.norm_vectors that are given for a layer."""
        return self.by_layer.get(layer, {})


NO_CONSTANTS = Constants()


def checked_constants(
    given: Mapping[str, ArrayLike] | None, graph: Graph, planned: Mapping[str, Arithmetic]
) -> Constants:
    """Copies of what was given, `conv1_bn/scale` -> one floating-point number for each channel, checked.

    Raises InputError for a name that is none of a batch normalisation of this graph, for another shape or type, for
    NaN and infinity, and for a constant that the layer's form does not read.
    """
    if given is None:
        return NO_CONSTANTS
    if not isinstance(given, Mapping):
        found = f"constants of type {type(given).__name__}"
        raise InputError(found, expected="a mapping such as {'conv1_bn/scale': array}")
    arrays: dict[str, Array] = {}
    by_layer: dict[str, dict[str, Array]] = {}
    norms = {node.name: node for node in graph.nodes if node.operation == "batch_norm"}
    for key, value in given.items():
        layer, _, name = str(key).partition("/")
        if layer not in norms or name not in CONSTANTS:
            raise InputError(
                f"constant {key!r}",
                expected=f"the name of a batch normalisation and one of {', '.join(CONSTANTS)}, as in conv1_bn/scale",
            )
        arrays[key] = by_layer.setdefault(layer, {})[name] = _checked(key, value, norms[layer])
    for layer, own in by_layer.items():
        _check_form(layer, own, planned[layer])
    return Constants(by_layer, sha256_of_arrays(arrays)) if arrays else NO_CONSTANTS


def _checked(key: str, value: ArrayLike, norm: Node) -> Array:
    """A copy, for the caller may go on and change it."""
    array, shape = np.array(value), norm.shape[-1:]
    if array.shape != shape or array.dtype not in (np.float16, np.float32, np.float64):
        found = f"constant {key} of shape {array.shape} and dtype {array.dtype}"
        raise InputError(found, expected=f"floats of shape {shape}, one for each channel")
    if not np.isfinite(array).all():
        raise InputError(f"constant {key} with NaN or infinity", expected="finite numbers")
    return array


def _check_form(layer: str, own: Mapping[str, Array], arithmetic: Arithmetic) -> None:
    """Nothing is given that has no effect, or InputError."""
    unread = [name for name in own if name not in arithmetic.norm.constants]
    if unread:
        raise InputError(
            f"constant {layer}/{unread[0]} with batch_norm={arithmetic.batch_norm!r}",
            expected=f"one of {', '.join(arithmetic.norm.constants)}",
        )
    if {"inverse", "scale"} <= own.keys():
        raise InputError(f"constants {layer}/inverse and {layer}/scale", expected="one of them: s is gamma inverse")
