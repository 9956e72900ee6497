"""An arithmetic for each layer: every keyword of a forward pass may be one value, or a mapping of name patterns."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

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
    by_layer = any(isinstance(value, Mapping) for value in settings.values())
    made: dict[tuple[tuple[str, object], ...], Arithmetic] = {}
    planned = {}
    for layer in layers:
        chosen = tuple((field, _value_at(layer, value)) for field, value in settings.items())
        chosen = tuple((field, value) for field, value in chosen if value is not _UNSET)
        if chosen not in made:
            made[chosen] = _made_for(layer, chosen, by_layer)
        planned[layer] = made[chosen]
    return planned


_UNSET = object()


def _made_for(layer: str, chosen: tuple[tuple[str, object], ...], by_layer: bool) -> Arithmetic:
    try:
        return Arithmetic(**dict(chosen))  # type: ignore[arg-type]
    except InputError as error:
        if not by_layer:
            raise
        raise InputError(f"layer {layer}: {error.found}", expected=error.expected, do=error.do) from error


def _value_at(layer: str, value: object) -> object:
    if not isinstance(value, Mapping):
        return value
    return next((value[pattern] for pattern in value if fnmatchcase(layer, str(pattern))), _UNSET)
