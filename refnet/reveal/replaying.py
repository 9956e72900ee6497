"""A backend's own bits, without the backend: the forward pass by its profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..backends import Variant, select
from ..errors import InputError
from ..forward import activations
from ..trace import Trace
from ..weights import Weights
from .channels import ways_of, with_channels
from .kept_profiles import kept_profile
from .network import Progress
from .profile import Profile


def replay(
    variant: str | Variant,
    x: np.ndarray,
    weights: Weights,
    *,
    profile: Profile | Path | str | None = None,
    plain: bool = False,
    threads: int | None = None,
    check: str = "daily",
    engine: str = "kernels",
    progress: Progress | None = None,
) -> Trace:
    """Every layer as the variant computes it, in its own orders and forms: its bits, where the profile explains it.

    x: (n, height, width, 3), preprocessed.  profile: what `reveal` found, or its file; None takes the one that is kept
    for this environment, once the backend has answered a few probes as it says, and else reveals the backend (progress
    is told of that).  check: when it is asked these probes, as in kept_profile: `daily`, `always` or `never`.
    plain: as a model that returns the last layer alone, where the profile knows a difference; else as one that returns
    every layer.  threads: of the backend, and of this computation, whose bits do not depend on it.
    engine: as in activations.
    Starts no framework where the profile is given or was checked today. Raises InputError for a profile of another
    variant, network or picture size, or without the constants of these weights.
    """
    (chosen,) = select([variant])
    size = (int(x.shape[1]), int(x.shape[2]))
    if profile is None:
        profile = kept_profile(chosen, weights, size, threads=threads, check=check, progress=progress)
    elif not isinstance(profile, Profile):
        profile = Profile.load(profile)
    constants = constants_of(profile, chosen, weights, size)
    how: dict[str, Any] = {**profile.settings(plain=plain), "constants": constants}
    trace = activations(x, weights, **how, threads=threads, engine=engine)
    trace = _with_channels(trace, profile, weights, engine)
    return Trace(trace, {**trace.provenance, "replays": chosen.name, "unexplained": profile.unexplained})


def _with_channels(trace: Trace, profile: Profile, weights: Weights, engine: str) -> Trace:
    """The trace, its last layer's channels each in its own order; only dense layers have such, which nothing reads."""
    layers = list(trace)
    name, entry = layers[-1], profile.layers.get(layers[-1], {})
    if "channels" not in entry:
        return trace
    kernel, bias = weights[f"{name}/kernel"], weights[f"{name}/bias"]
    _, by_channel = ways_of(entry)
    last = with_channels(trace[name], trace[layers[-2]], kernel, bias, by_channel, engine=engine)
    return Trace({**trace, name: last}, trace.provenance)


def constants_of(
    profile: Profile, variant: Variant, weights: Weights, size: tuple[int, int]
) -> Mapping[str, np.ndarray]:
    """The constants that go with these weights, or InputError where the profile is not for them."""
    graph = weights.graph(size)
    found = _named(profile.variant, profile.network, profile.size)
    wanted = _named(variant.name, (graph.name, graph.variant), size)
    if found != wanted:
        raise InputError(f"a profile of {found}", expected=f"one of {wanted}", do="reveal that one")
    if not profile.given:
        return {}
    if weights.hash not in profile.constants:
        raise InputError(
            f"a profile without the constants that {variant.name} makes of these weights ({weights.hash[:12]})",
            do="reveal it with --weights",
        )
    return profile.constants[weights.hash]


def _named(variant: str, network: tuple[str, str], size: tuple[int, int]) -> str:
    return f"{variant}, {' '.join(network)}, pictures of {size[0]} x {size[1]}"


@dataclass(frozen=True)
class Difference:
    """How far a layer's bits are from the backend's. bits: numbers that differ, of `numbers`; two NaN are alike.

    zeros: those that are zeros of other signs, which `bits` leaves out.
    """

    layer: str
    bits: int
    zeros: int
    numbers: int


def differences(replayed: Mapping[str, np.ndarray], backend: Mapping[str, np.ndarray]) -> list[Difference]:
    """Layer by layer, in the order of the first. Raises InputError where a layer is missing or has another form."""
    found = []
    for layer, ours in replayed.items():
        theirs = backend.get(layer)
        if theirs is None or theirs.shape != ours.shape or theirs.dtype != ours.dtype:
            what = "is missing" if theirs is None else f"is {theirs.dtype} {theirs.shape}"
            raise InputError(f"layer {layer} of the backend {what}", expected=f"{ours.dtype} {ours.shape}")
        equal = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
        zeros = equal & (np.signbit(ours) != np.signbit(theirs)) & (ours == 0)
        found.append(Difference(layer, int((~equal).sum()), int(zeros.sum()), ours.size))
    return found
