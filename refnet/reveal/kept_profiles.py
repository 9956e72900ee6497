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

KEPT = 32


def kept_profile(
    variant: Variant,
    weights: Weights,
    size: tuple[int, int],
    *,
    threads: int | None = None,
    folder: Path | None = None,
    check: bool = True,
    progress: Progress | None = None,
) -> Profile:
    """The profile of a variant in this environment, with the constants of these weights; revealed where it is not kept.

    folder: of the kept profiles; None is `profiles` in refnet's cache.  check: start the framework and ask a few layers
    again (lost_layers) before a kept profile is given; one that no longer holds is revealed again, with a warning.
    """
    folder = folder or default_folder()
    name = _file(variant, weights, size, threads)
    if check and (known := known_profile(variant, weights, size, threads=threads, folder=folder)) is not None:
        lost = lost_layers(known, variant, weights, threads=threads)
        if lost:
            warnings.warn(f"{no_longer_holds(variant.name, lost[0])}: it is revealed again", stacklevel=2)
            forget(variant, weights, size, threads=threads, folder=folder)

    def complete(path: Path) -> Profile | None:
        """A profile that is kept, and knows these weights; else None."""
        try:
            profile = Profile.load(path)
        except InputError:
            return None  # written by another refnet, or spoiled: revealed again
        return None if profile.given and weights.hash not in profile.constants else profile

    def make(path: Path) -> None:
        kept = folder / name
        try:
            known = Profile.load(kept)
            completed = with_constants(known, variant, weights, threads=threads)
        except InputError:
            completed = reveal(variant, weights=weights, size=size, threads=threads, progress=progress)
        completed.save(path)

    return cached(folder, name, read=complete, make=make, keep=KEPT)


def known_profile(
    variant: Variant, weights: Weights, size: tuple[int, int], *, threads: int | None = None, folder: Path | None = None
) -> Profile | None:
    """The profile that is kept of a variant for this environment, or None. Reveals nothing and starts no framework.

    It may lack the constants of these weights.
    """
    try:
        return Profile.load((folder or default_folder()) / _file(variant, weights, size, threads))
    except InputError:
        return None


def keep(
    profile: Profile, variant: Variant, weights: Weights, *, threads: int | None = None, folder: Path | None = None
) -> None:
    """Keeps a profile that was just revealed, in the place of an older one.

    threads: as it was revealed. Raises InputError where the folder cannot be written.
    """
    forget(variant, weights, profile.size, threads=threads, folder=folder)
    name = _file(variant, weights, profile.size, threads)
    cached(folder or default_folder(), name, read=Profile.load, make=profile.save, keep=KEPT)


def forget(
    variant: Variant, weights: Weights, size: tuple[int, int], *, threads: int | None = None, folder: Path | None = None
) -> None:
    """Removes what `known_profile` would find."""
    ((folder or default_folder()) / _file(variant, weights, size, threads)).unlink(missing_ok=True)


def default_folder() -> Path:
    """`profiles` in refnet's cache."""
    return cache_folder() / "profiles"


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
        "threads": threads,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _fields(variant: Variant) -> dict[str, Any]:
    return {name: getattr(variant, name) for name in variant.__dataclass_fields__}
