"""Outputs of one layer that add in another way than its others: by channel, and by place.

Libraries give the last columns and rows of a matrix product kernels of their own. Channels are told apart by a few
questions that all of them get; places by drawn numbers, whose outputs have other bits than refnet gives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from ..arithmetic import Arithmetic, Part, stored
from ..arithmetic.formats import Array
from ..arithmetic.parts import runs_text
from ..arithmetic.schedule import Indices
from ..forward.kernel_engine import fastest_engine
from ..forward.walk import evaluate
from ..graph import Node
from ..kernels.threads import usable_threads
from .black_box import NoTreeError
from .cut_windows import whole_order
from .drawn_layers import drawn_numbers
from .layer_box import LayerBox, layer_boxes
from .session import Session
from .subnormals import subnormals
from .sum_formats import SumFormats
from .tree_finder import Found, find_tree
from .windows import paddings

MOST_WAYS = 4  # in which channels may add besides that of most; where there are more, none is asked
LONGEST = 1024  # terms of a sum for each channel that it is asked in: fewer channels would take too many questions
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

        Channels that add in no order, or are too few for sums so long, are left out. Raises NoTreeError where most do.
        """
        most, *rest = layer_boxes(self.session, self.node, self.seed, behind=self.behind, place=place)
        found, parts = self._found(most), []
        few = [other for other in rest if len(other.channels) * LONGEST >= self.terms]
        for other in few if len(rest) < MOST_WAYS else ():
            with suppress(NoTreeError):
                parts.append(part_of(self._found(other), channels=other.channels))
        return found, tuple(parts), subnormals(most.box)

    def _found(self, box: LayerBox) -> Found:
        return whole_order(find_tree(box.box, self.seed), box.inside, self.terms)

    def drawn(self, formats: SumFormats) -> tuple[Array, Callable[[Found, Sequence[Part]], Array]]:
        """The layer's whole outputs for drawn numbers, one set of them behind the other, and the same by refnet.

        Numbers that go through what comes before it are those that this does not round.
        The second is called with what was found: how most outputs add, and parts.
        """
        shape = (self.session.variant.batch_size, *self.session.take(self.node.name, behind=self.behind))
        numbers = list(drawn_numbers(self.node, shape, formats, self.seed))
        if self.behind:
            numbers = [(stored(x, formats.operand), weights) for x, weights in numbers]
        theirs = []
        for x, weights in numbers:
            self.session.give(x)
            theirs.append(self.session.run(*weights))

        def ours(found: Found, parts: Sequence[Part]) -> Array:
            arithmetic = Arithmetic(**found.fields, parts=tuple(parts))
            return np.concatenate([_by_refnet(self.node, arithmetic, x, weights) for x, weights in numbers])

        return np.concatenate(theirs), ours


def _by_refnet(node: Node, arithmetic: Arithmetic, x: Array, weights: Sequence[Array]) -> Array:
    """A layer's output, in float32."""
    engine = fastest_engine(arithmetic, node.name, threads=usable_threads(None))
    if node.operation == "conv2d":
        node = replace(node, settings={**node.settings, "padding": paddings(node, x.shape)})
    named = {f"{node.name}/{key}": numbers for key, numbers in zip(node.weights, weights, strict=True)}
    y: Array = evaluate(node, engine, named, engine.storage(x))
    return np.asarray(engine.export(y), np.float32)


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
