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
    matched = {field: _matches(layers, field, value) for field, value in settings.items() if isinstance(value, Mapping)}
    if not matched:
        return dict.fromkeys(layers, Arithmetic(**settings))  # type: ignore[arg-type]
    made: dict[tuple[object, ...], Arithmetic] = {}  # by the pattern that counts for each field
    planned = {}
    for layer in layers:
        patterns = tuple(matched[field].get(layer) if field in matched else None for field in settings)
        if patterns not in made:
            made[patterns] = _made_for(layer, settings, patterns)
        planned[layer] = made[patterns]
    return planned


def _matches(layers: tuple[str, ...], field: str, patterns: Mapping[str, object]) -> dict[str, str]:
    """Layer -> the first pattern that matches its name."""
    names, found = frozenset(layers), dict[str, str]()
    for pattern in patterns:
        # a profile names hundreds of layers one by one, and a name fits no other layer
        fits = [pattern] if pattern in names else [layer for layer in layers if fnmatchcase(layer, str(pattern))]
        if not fits:
            raise InputError(f"{field} pattern {pattern!r} matches no layer", expected="names such as conv5_*")
        for layer in fits:
            found.setdefault(layer, pattern)
    return found


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
