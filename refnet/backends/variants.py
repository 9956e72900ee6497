"""The table of variants: read from variants.toml and from files of the user's own, and chosen from by name."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..errors import InputError
from .variant import Variant, check_name, shown

LIKE = "like"  # the key that names the variant whose fields are taken over
FIELDS = tuple(item.name for item in fields(Variant))

GROUPS = {
    "default": lambda variant: variant.default,
    "all": lambda variant: True,
    "none": lambda variant: False,  # traces from elsewhere alone
}
"""Words that stand for several variants of a table -> whether one belongs to them."""


def parse(text: str, origin: str, known: Mapping[str, Variant] = MappingProxyType({})) -> dict[str, Variant]:
    """`known` and the variants that a TOML text adds to it: one table for each, named after it, of Variant's fields.

    `like = "NAME"` takes over the fields of a variant of `known` or above; tables are added to, not replaced. Raises
    InputError, naming `origin` (a file) and the entry, for what is no TOML, a name that is taken, and unknown keys,
    variants or values.
    """
    try:
        entries = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # of tomllib, or of Python: too many digits, brackets too deep
        raise InputError(f"{origin} is no TOML: {error}") from error
    table = dict(known)
    for name, entry in entries.items():
        try:
            check_name(name)
            if name in table or name in GROUPS:
                raise InputError(f"the name {name} is taken", expected="another")
            table[name] = _variant(name, entry, table)
        except InputError as error:
            raise InputError(f"{origin}: {error.found}", expected=error.expected, do=error.do) from error
    return table


def read_variants(file: str | Path) -> dict[str, Variant]:
    """The packaged table and what the user's file adds to it. Raises InputError as `parse` does."""
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {file}: {getattr(error, 'strerror', None) or error}") from error
    return parse(text, str(file), VARIANTS)


def _variant(name: str, entry: Any, table: Mapping[str, Variant]) -> Variant:
    if not isinstance(entry, dict):
        raise InputError(f"{name} = {shown(entry)}", expected=f"a table [{name}]")
    if unknown := [key for key in entry if key not in (LIKE, *FIELDS) or key == "name"]:
        raise InputError(f"{name} has the key {shown(unknown[0])}", expected=f"of {', '.join((LIKE, *FIELDS[1:]))}")
    given: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    like = given.pop(LIKE, None)
    if like is None:
        if absent := [key for key in ("modules", "extra") if key not in given]:
            raise InputError(f"{name} has no {' and no '.join(absent)}", expected=f"them, or {LIKE}")
        return Variant(name, **given)
    if not isinstance(like, str) or like not in table:
        raise InputError(f"{name} is like {shown(like)}", expected=f"one of {', '.join(table)}")
    base = table[like]
    added = {
        key: {**getattr(base, key), **value}
        for key, value in given.items()
        if isinstance(value, dict) and isinstance(getattr(base, key), Mapping)
    }
    own: dict[str, Any] = {"name": name, "description": "", "default": False}
    return replace(base, **{**own, **given, **added})


VARIANTS: Mapping[str, Variant] = MappingProxyType(
    parse(files(__package__).joinpath("variants.toml").read_text(encoding="utf-8"), "variants.toml")
)
"""Name -> variant, in the order in which reports show them."""


def select(variants: Sequence[str | Variant], table: Mapping[str, Variant] = VARIANTS) -> tuple[Variant, ...]:
    """The variants of these names (or values), in this order; a word of GROUPS stands for its part of the table.

    Raises InputError for an unknown name and for a name that comes twice.
    """
    chosen: list[Variant] = []
    for item in variants:
        if isinstance(item, Variant):
            chosen.append(item)
        elif item in GROUPS:
            chosen.extend(filter(GROUPS[item], table.values()))
        elif item in table:
            chosen.append(table[item])
        else:
            raise InputError(f"variant {item!r}", expected=f"some of {', '.join(table)}, or {', '.join(GROUPS)}")
    names = [variant.name for variant in chosen]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"variants named twice: {', '.join(twice)}", expected="each once")
    return tuple(chosen)
