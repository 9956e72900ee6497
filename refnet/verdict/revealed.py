"""What probes found a backend to compute: one more arithmetic that its own layers are held against."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..arithmetic import Arithmetic, Tree
from ..arithmetic.plan import plan
from ..errors import InputError
from ..forward import predict
from ..forward.constants import Constants, checked_constants
from ..graph import Graph, Node
from ..weights import Weights
from .simulations import Simulation

Array = NDArray[np.floating]
Settings = Mapping[str, Mapping[str, Any]]
# of Arithmetic, that are revealed
FIELDS = ("accumulate", "order", "fma", "bias", "batch_norm", "shift", "mean", "relu", "parts")
WIDTH = 48  # characters of an order's text in a name


class Revealed(Protocol):
    """What a verdict reads of a profile (refnet.reveal.Profile)."""

    @property
    def variant(self) -> str:
        """Whose it is."""

    @property
    def constants(self) -> Mapping[str, Mapping[str, Array]]:
        """Hash of weights -> `conv1_bn/scale` -> (channels,)."""

    @property
    def given(self) -> Sequence[str]:
        """The batch normalisations that need constants."""

    def settings(self, *, plain: bool = False) -> Settings:
        """Keywords of predict and activations: a mapping of layers for each field."""


def simulations_by_profile(profile: Revealed, graph: Graph, weights: Weights) -> dict[str, Simulation]:
    """Layer -> its arithmetic by the profile, for each layer that the profile explains alone.

    Batch normalisations that need constants are left out where the profile has none of these weights.
    """
    settings = profile.settings()
    planned = plan(graph.names, settings)
    known = profile.constants.get(weights.hash)
    constants = checked_constants(known, graph, planned)
    unknown = set(profile.given) if known is None else set()
    explained = {layer for values in settings.values() for layer in values} - unknown
    return {
        node.name: _simulation(node, planned[node.name], constants)
        for node in graph.nodes
        if node.name in explained
        and not planned[node.name].norm.joined
        and planned[node.name].precision == "float32"  # in others no layer is held against one arithmetic alone
    }


def plain_logits(profile: Revealed, x: Array, weights: Weights, *, threads: int | None = None) -> Array | None:
    """The logits as a model that returns its last layer alone gives them; None without the constants they need."""
    constants = profile.constants.get(weights.hash, {})
    if profile.given and not constants:
        return None
    settings: dict[str, Any] = dict(profile.settings(plain=True))
    return predict(x, weights, **settings, constants=constants, threads=threads, classifier_activation=None)


def by_variant(profiles: Sequence[Revealed], variants: Sequence[str]) -> dict[str, Revealed]:
    """Variant -> its profile. Raises InputError for two of one variant, and for one of a variant that is not there."""
    found: dict[str, Revealed] = {}
    for profile in profiles:
        if profile.variant in found:
            raise InputError(f"two profiles of {profile.variant}", expected="one")
        if profile.variant not in variants:
            raise InputError(f"a profile of {profile.variant}", expected=f"one of {', '.join(variants)}")
        found[profile.variant] = profile
    return found


def _simulation(node: Node, arithmetic: Arithmetic, constants: Constants) -> Simulation:
    settings = {name: getattr(arithmetic, name) for name in FIELDS}
    own = constants.of(node.name)
    return Simulation(_name(node, arithmetic, bool(own)), settings, revealed=True, constants=own)


def _name(node: Node, arithmetic: Arithmetic, given: bool) -> str:
    """As the table of simulations names its rows: what is not the default is told."""
    if node.operation == "batch_norm":
        parts = [arithmetic.batch_norm, *(["shift=fused"] if arithmetic.shift == "fused" else [])]
        return ", ".join([*parts, *(["its own factor"] if given else [])])
    mean = node.operation == "mean_pool"
    told = {
        "fma=False": not arithmetic.fma and not mean,
        f"bias={arithmetic.bias}": arithmetic.bias != "last",
        "mean=multiply": mean and arithmetic.mean == "multiply",
    }
    said = [short_text(arithmetic.summation), *(text for text, holds in told.items() if holds)]
    return ", ".join([*said, *parts_text(arithmetic)])


def parts_text(arithmetic: Arithmetic) -> list[str]:
    """The outputs that are added in another way, in words: `places 48 blocks:256, fma, bias last`."""
    return [
        f"{part.where} {short_text(own.summation)}, {'fma' if own.fma else 'no fma'}, bias {own.bias}"
        for part, own in arithmetic.ways
    ]


def short_text(order: object) -> str:
    """An order's text; of a long one its beginning and its end, and a hash that tells it from others."""
    text = str(order)
    if len(text) <= WIDTH:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:6]
    kind = "tree" if isinstance(order, Tree) else text.partition(":")[0]
    return f"{kind} {digest}:{text.partition(':')[2][: WIDTH // 2]} ... {text[-WIDTH // 4 :]}"
