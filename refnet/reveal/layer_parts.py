"""Outputs of one layer that add in another way than its others: by channel, and by place.

Libraries give the last columns and rows of a matrix product kernels of their own. Channels are told apart by a few
questions that all of them get; places by drawn numbers, whose outputs have other bits than refnet gives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from .. import ops
from ..arithmetic import Arithmetic, Part
from ..arithmetic.formats import Array
from ..arithmetic.parts import runs_text
from ..arithmetic.schedule import Indices
from ..forward.kernel_engine import KernelEngine
from ..forward.walk import evaluate
from ..graph import Node
from ..kernels.threads import usable_threads
from .black_box import NoTreeError
from .cut_windows import whole_order
from .layer_box import LayerBox, layer_boxes
from .session import Session
from .subnormals import subnormals
from .tree_finder import Found, find_tree
from .windows import paddings

MOST_WAYS = 4  # in which channels may add besides that of most; where there are more, none is asked
MOST_PLACES = 8  # at which a layer is asked, where drawn numbers show that these places add otherwise


@dataclass(frozen=True)
class Layer:
    """A layer of the session's network. behind: as it is computed together with what comes before it."""

    session: Session
    node: Node
    seed: int = 0
    behind: bool = False

    @property
    def terms(self) -> int:
        """Of each sum, the bias not counted."""
        kernel = self.node.weights.get("kernel")
        return prod(kernel[:-1]) if kernel else prod(self.session.graph[self.node.inputs[0]].shape[:2])

    def ways(self, place: tuple[int, int] | None = None) -> tuple[Found, tuple[Part, ...], str]:
        """How most channels add at a place of the output, the channels that add otherwise there, and subnormals'
        answer.

        Channels that add in no order are left out. Raises NoTreeError where most do.
        """
        most, *rest = layer_boxes(self.session, self.node, self.seed, behind=self.behind, place=place)
        found, parts = self._found(most), []
        for other in rest if len(rest) < MOST_WAYS else ():
            with suppress(NoTreeError):
                parts.append(part_of(self._found(other), channels=other.channels))
        return found, tuple(parts), subnormals(most.box)

    def _found(self, box: LayerBox) -> Found:
        return whole_order(find_tree(box.box, self.seed), box.inside, self.terms)

    def drawn(self) -> tuple[Array, Callable[[Found, Sequence[Part]], Array]]:
        """The layer's whole output for drawn numbers, and what gives the same by refnet, for any order.

        Inputs as after a ReLU, half of them zero; weights of He's scale.
        """
        rng, node = np.random.default_rng(self.seed), self.node
        shape = (self.session.variant.batch_size, *self.session.take(node.name, behind=self.behind))
        x = np.maximum(rng.standard_normal(shape), 0).astype(np.float32)
        weights = {
            f"{node.name}/{key}": (rng.standard_normal(size) * np.sqrt(2 / np.prod(size[:-1]))).astype(np.float32)
            for key, size in node.weights.items()
        }
        self.session.give(x)
        theirs = self.session.run(*weights.values())
        if node.operation == "conv2d":
            node = replace(node, settings={**node.settings, "padding": paddings(node, shape)})

        def ours(found: Found, parts: Sequence[Part]) -> Array:
            arithmetic = arithmetic_of(found, parts)
            if node.operation == "mean_pool":
                return ops.mean_pool(x, arithmetic=arithmetic)
            y: Array = evaluate(node, KernelEngine(arithmetic, node.name, threads=usable_threads(None)), weights, x)
            return y

        return theirs, ours


def arithmetic_of(found: Found, parts: Sequence[Part] = ()) -> Arithmetic:
    """What was found, in float32."""
    how: dict[str, Any] = {"order": found.order, "fma": found.fma, "bias": found.bias, "mean": found.mean}
    return Arithmetic(**how, parts=tuple(parts))


def part_of(found: Found, *, channels: Indices | None = None, places: Indices | None = None) -> Part:
    texts = ("" if runs is None else runs_text(runs) for runs in (channels, places))
    return Part(found.order, found.fma, found.bias, *texts)


def by_place(
    layer: Layer, found: Found, parts: tuple[Part, ...], theirs: Array, ours: Callable[[Found, Sequence[Part]], Array]
) -> tuple[Part, ...]:
    """The parts, and those of places at which a convolution adds otherwise.

    A place whose outputs differ is asked as the middle was. Its order is that of all places that then have every bit.
    """
    if layer.node.operation != "conv2d":
        return parts
    width, asked = layer.node.shape[1], set[int]()
    while len(asked) < MOST_PLACES:
        wrong = [place for place in places_differing(ours(found, parts), theirs) if place not in asked]
        if not wrong:
            break
        asked.add(wrong[0])
        with suppress(NoTreeError):
            own, channels, _ = layer.ways(divmod(wrong[0], width))
            tried = (*parts, *_at(np.array(wrong), own, channels))
            left = places_differing(ours(found, tried), theirs)
            right = np.setdiff1d(wrong, left)
            if len(right):
                parts = (*parts, *_at(right, own, channels))
    return parts


def _at(places: Indices, own: Found, channels: Sequence[Part]) -> tuple[Part, ...]:
    """Some places, most channels of which add in their own way, and others in theirs."""
    return part_of(own, places=places), *(replace(part, places=runs_text(places)) for part in channels)


def places_differing(ours: Array, theirs: Array) -> list[int]:
    """Places of the output, counted row by row, at which any bit differs in any picture and channel."""
    differ = ours.view(np.uint32) != theirs.view(np.uint32)
    found: list[int] = np.flatnonzero(differ.reshape(len(ours), -1, ours.shape[-1]).any((0, 2))).tolist()
    return found
