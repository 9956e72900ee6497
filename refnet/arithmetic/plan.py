"""An arithmetic for each layer: every keyword of a forward pass may be one value, or a mapping of name patterns."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from ..errors import InputError
from .arithmetic import Arithmetic


def plan(layers: tuple[str, ...], settings: Mapping[str, object]) -> dict[str, Arithmetic]:
    """Layer name -> Arithmetic.

    settings: fields of Arithmetic; a value that is a mapping goes from pattern (`conv5_*`) to value, the first pattern
    that matches a layer's name counts, and a layer that none matches has the field's default.
    Raises InputError for a pattern that matches no layer, and names the layer where a combination has no meaning.
    """
    for field, value in settings.items():
        for pattern in value if isinstance(value, Mapping) else ():
            if not any(fnmatchcase(layer, str(pattern)) for layer in layers):
                raise InputError(f"{field} pattern {pattern!r} matches no layer", expected="names such as conv5_*")
    if not any(isinstance(value, Mapping) for value in settings.values()):
        return dict.fromkeys(layers, Arithmetic(**settings))  # type: ignore[arg-type]
    made: dict[tuple[object, ...], Arithmetic] = {}  # by the pattern that counts for each field
    planned = {}
    for layer in layers:
        patterns = tuple(_first_match(layer, value) for value in settings.values())
        if patterns not in made:
            made[patterns] = _made_for(layer, settings, patterns)
        planned[layer] = made[patterns]
    return planned


def _first_match(layer: str, value: object) -> object:
    """The first pattern that matches the layer's name; None where none does, or the value is one for all."""
    patterns = value if isinstance(value, Mapping) else ()
    return next((pattern for pattern in patterns if fnmatchcase(layer, str(pattern))), None)


def _made_for(layer: str, settings: Mapping[str, object], patterns: tuple[object, ...]) -> Arithmetic:
    chosen: dict[str, Any] = {}
    for (field, value), pattern in zip(settings.items(), patterns, strict=True):
        if not isinstance(value, Mapping):
            chosen[field] = value
        elif pattern is not None:
            chosen[field] = value[pattern]
    try:
        return Arithmetic(**chosen)
    except InputError as error:
        raise InputError(f"layer {layer}: {error.found}", expected=error.expected, do=error.do) from error
