"""Profiles kept in the cache: one for each environment and weights, so that a backend is revealed once."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from pathlib import Path
from typing import Any

from ..backends import Variant
from ..cache import cache_folder, cached
from ..errors import InputError
from ..graph import Graph
from ..provenance import cpu, installed_packages, relevant_environment
from ..weights import Weights
from .checking import lost_layers, no_longer_holds
from .network import Progress, reveal, with_constants
from .profile import SCHEMA, Profile
from .remembered_checks import forget_check, is_remembered, remember

KEPT = 32
CHECKS = ("daily", "always", "never")


def kept_profile(
    variant: Variant,
    weights: Weights,
    size: tuple[int, int],
    *,
    threads: int | None = None,
    folder: Path | None = None,
    check: str = "daily",
    progress: Progress | None = None,
) -> Profile:
    """The profile of a variant in this environment, with the constants of these weights; revealed where it is not kept.

    folder: of the kept profiles; None is `profiles` in refnet's cache.  check: a name in CHECKS: when the framework is
    started and a few layers are asked again (lost_layers) before a kept profile is given. `daily` does so unless it was
    seen to hold, or revealed, within a day and since the machine was started. One that no longer holds is revealed
    again, with a warning.
    """
    if check not in CHECKS:
        raise InputError(f"check={check!r}", expected=f"one of {', '.join(CHECKS)}")
    folder = folder or default_folder()
    name = _file(variant, weights, size, threads)
    known, seen = _loaded(folder / name), ""
    if known is None:
        seen = "revealed"
    elif check == "always" or (check == "daily" and not is_remembered(folder / name)):
        lost = lost_layers(known, variant, weights, threads=threads)
        seen = "revealed" if lost else "asked again"
        if lost:
            warnings.warn(f"{no_longer_holds(variant.name, lost[0])}: it is revealed again", stacklevel=2)
            _remove(folder / name)

    def complete(path: Path) -> Profile | None:
        """A profile that is kept, and knows these weights; else None."""
        profile = _loaded(path)
        return None if profile and profile.given and weights.hash not in profile.constants else profile

    def make(path: Path) -> None:
        try:
            completed = with_constants(Profile.load(folder / name), variant, weights, threads=threads)
        except InputError:
            completed = reveal(variant, weights=weights, size=size, threads=threads, progress=progress)
        completed.save(path)

    profile = cached(folder, name, read=complete, make=make, keep=KEPT)
    if seen:
        remember(folder / name, seen)
    return profile


def known_profile(
    variant: Variant, weights: Weights, size: tuple[int, int], *, threads: int | None = None, folder: Path | None = None
) -> Profile | None:
    """The profile that is kept of a variant for this environment, or None. Reveals nothing and starts no framework.

    It may lack the constants of these weights.
    """
    return _loaded((folder or default_folder()) / _file(variant, weights, size, threads))


def keep(
    profile: Profile, variant: Variant, weights: Weights, *, threads: int | None = None, folder: Path | None = None
) -> None:
    """Keeps a profile that was just revealed, in the place of an older one, and remembers that it holds.

    threads: as it was revealed. Raises InputError where the folder cannot be written.
    """
    forget(variant, weights, profile.size, threads=threads, folder=folder)
    folder = folder or default_folder()
    name = _file(variant, weights, profile.size, threads)
    cached(folder, name, read=Profile.load, make=profile.save, keep=KEPT)
    remember(folder / name, "revealed")


def forget(
    variant: Variant, weights: Weights, size: tuple[int, int], *, threads: int | None = None, folder: Path | None = None
) -> None:
    """Removes what `known_profile` would find, and what is remembered of it."""
    _remove((folder or default_folder()) / _file(variant, weights, size, threads))


def default_folder() -> Path:
    """`profiles` in refnet's cache."""
    return cache_folder() / "profiles"


def _loaded(path: Path) -> Profile | None:
    """None where there is none, or one that another refnet wrote or that is spoiled."""
    try:
        return Profile.load(path)
    except InputError:
        return None


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    forget_check(path)


def _file(variant: Variant, weights: Weights, size: tuple[int, int], threads: int | None) -> str:
    return f"{variant.name}-{_key(variant, weights.graph(size), size, threads)}.json"


def _key(variant: Variant, graph: Graph, size: tuple[int, int], threads: int | None) -> str:
    """A hash of all that an order may depend on: versions, processor, environment, threads, shapes."""
    facts: dict[str, Any] = {
        "schema": SCHEMA,
        "variant": {name: str(value) for name, value in _fields(variant).items()},
        "packages": installed_packages(),
        "cpu": cpu(),
        "environment": relevant_environment(os.environ),
        "graph": [graph.name, graph.variant, list(graph.output.shape)],
        "size": list(size),
        "threads": variant.threads or threads,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _fields(variant: Variant) -> dict[str, Any]:
    return {name: getattr(variant, name) for name in variant.__dataclass_fields__}
