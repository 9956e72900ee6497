"""Replays beside the plain pass: what it costs to compute in a backend's own orders and forms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends import VARIANTS, Variant
from ..forward import activations, predict
from ..reveal import Profile, profiles_for, replay
from ..reveal.replaying import constants_of
from ..weights import Weights
from .arithmetics import BASE

Pass = Callable[[np.ndarray], Any]
"""A forward pass of pictures (n, height, width, 3)."""

REPLAYS = 2  # of each profile


@dataclass(frozen=True)
class Replay:
    """Two passes that give the same layers. subject, other: what the rows call the replay and the plain pass."""

    subject: str
    own: Pass
    other: str
    plain: Pass


def profiles_of(which: str, weights: Weights, size: tuple[int, int], threads: int | None) -> tuple[Profile, ...]:
    """The profiles that are kept for this environment and know these weights; or files, as refnet.reveal.profiles_for.

    threads: as the backend had them, None where it was left its own choice.
    """
    variants: Sequence[Variant] = tuple(VARIANTS.values())
    found = profiles_for(variants, weights, size, threads=threads, which=which)
    return tuple(profile for profile in found if not profile.given or weights.hash in profile.constants)


def replays_of(profile: Profile, weights: Weights, twin: Weights, threads: int) -> Iterator[Replay]:
    """The logits as a model gives them that returns nothing else, and every layer as one that returns all.

    twin: the same network under another hash, for the plain pass (Session).
    """
    name = profile.variant
    logits: dict[str, Any] = {"threads": threads, "classifier_activation": None}
    constants = constants_of(profile, VARIANTS[name], weights, profile.size)
    how: dict[str, Any] = {**profile.settings(plain=True), "constants": constants}
    yield Replay(
        f"{name}, logits",
        lambda x: predict(x, weights, **how, **logits),
        BASE,
        lambda x: predict(x, twin, **logits),
    )
    yield Replay(
        f"{name}, every layer",
        lambda x: replay(name, x, weights, profile=profile, threads=threads),
        f"{BASE}, every layer",
        lambda x: activations(x, twin, threads=threads),
    )
