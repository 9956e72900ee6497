"""The order of one layer of a backend, found in place and held against all of its outputs."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np

from .. import ops
from ..arithmetic import Arithmetic, Order, Tree, stored
from ..arithmetic.schedule import Indices
from ..backends import Variant, select
from ..graph import Node, resnet
from ..kernels import conv2d
from .black_box import BlackBox, NoTreeError
from .channels import ByChannel, channel_text, dense
from .drawn_layers import Numbers, drawn_numbers
from .layer_box import check_asked, layer_boxes, paddings
from .session import Session
from .sum_formats import BIASES, FLOAT32, SumFormats, in_words
from .tree_finder import Found, find_tree

NOT_STORED = "refnet multiplies or stores no numbers so"
FEW = 4  # channels, and places, that are named one by one
MOST_WAYS = 4  # in which channels may add besides that of most; where there are more, none is asked


@dataclass(frozen=True)
class LayerOrder:
    """What was found of a layer.

    terms: of each sum, the bias not counted.
    order, fma, bias, mean: as in Arithmetic; None and the reason where the layer adds in no order that refnet knows.
    Where refnet has no precision of these formats, there is a reason too, and outputs is 0.
    differing: outputs of `outputs` that have other bits than refnet gives by that order, for drawn numbers at every
    place, in every channel and picture of the batch.  seconds: how long it took.
    channels: output channels of a dense layer that add in another way, as `992..999`.
    formats: of operands, sums and output.
    """

    layer: str
    terms: int
    order: Order | None
    fma: bool = True
    bias: str = "last"
    mean: str = "divide"
    differing: int = 0
    outputs: int = 0
    reason: str = ""
    seconds: float = 0.0
    channels: ByChannel = field(default_factory=dict)
    formats: SumFormats = FLOAT32

    def __str__(self) -> str:
        return f"{self.layer}: {self.words}"

    @property
    def words(self) -> str:
        """The formats, the order and what differs; or the reason."""
        if self.order is None:
            return self.reason
        how = in_words(self.formats, _short(self.order), self.fma, BIASES[self.bias])
        how += "".join(f"; channels {channels}: {_short(found.order)}" for channels, found in self.channels.items())
        count = [f"{self.differing} of {self.outputs} outputs differ"] if self.outputs else []
        return f"{how}; {': '.join([*count, *([self.reason] if self.reason else [])])}"


def _short(order: Order) -> str:
    return order.summary(60) if isinstance(order, Tree) else str(order)


def reveal_order(variant: str | Variant, *, layer: str, size: int = 224, threads: int | None = None) -> Order:
    """The order in which a backend adds in one layer of ResNet50, ready for `order={layer: ...}`.

    variant: a name of backends.VARIANTS.  size: height and width of the picture, on which the order may depend, as on
    threads (None: the framework's own choice). `reveal_layer` tells more: fma, the bias's place, outputs that differ.
    Raises InputError for a layer without sums, VariantError where the backend cannot run, and NoTreeError where its
    sums have no order, or other outputs of the layer have another one.
    """
    found = reveal_layer(variant, layer=layer, size=size, threads=threads)
    if found.order is None or found.reason or found.differing or found.channels:
        raise NoTreeError(str(found))
    return found.order


def reveal_layer(variant: str | Variant, *, layer: str, size: int = 224, threads: int | None = None) -> LayerOrder:
    """What reveal_order looks for, and how well it fits."""
    (chosen,) = select([variant])
    graph = resnet(50, input_shape=(size, size))
    node = graph[layer]
    check_asked(node)
    with Session(chosen, graph, threads=threads) as session:
        return probe_layer(session, node)


def probe_layer(session: Session, node: Node, seed: int = 0, *, behind: bool = False) -> LayerOrder:
    """The order of a layer of the session's network; behind: as it is computed together with what comes before it."""
    begin = time.monotonic()
    terms = (
        prod(node.weights["kernel"][:-1]) if "kernel" in node.weights else prod(session.graph[node.inputs[0]].shape[:2])
    )
    try:
        (_, box), *rest = layer_boxes(session, node, seed, behind=behind)
        found = find_tree(box, seed)
    except NoTreeError as error:
        return LayerOrder(node.name, terms, None, reason=str(error), seconds=time.monotonic() - begin)
    by_channel = _by_channel(node, rest, seed)
    differing, outputs, reason = 0, 0, NOT_STORED
    if found.formats.precision is not None:
        theirs, ours = compared(session, node, found, by_channel, seed, behind=behind)
        differing, outputs = int((theirs.view(np.uint32) != ours.view(np.uint32)).sum()), ours.size
        reason = _where(theirs != ours) if differing else ""
    return LayerOrder(
        node.name,
        terms,
        found.order,
        found.fma,
        found.bias,
        found.mean,
        differing,
        outputs,
        reason,
        time.monotonic() - begin,
        by_channel,
        found.formats,
    )


def compared(
    session: Session,
    node: Node,
    found: Found,
    by_channel: ByChannel = MappingProxyType({}),
    seed: int = 0,
    *,
    behind: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """The layer's whole outputs for drawn numbers, one set of them behind the other, by the backend and by refnet."""
    shape = (session.variant.batch_size, *session.take(node.name, behind=behind))
    theirs, ours = [], []
    for x, weights in drawn_numbers(node, shape, found.formats, seed):
        session.give(x)
        theirs.append(session.run(*weights))
        ours.append(_by_refnet(node, (x, weights), found, by_channel).astype(np.float32, copy=False))
    return np.concatenate(theirs), np.concatenate(ours)


def _by_refnet(node: Node, numbers: Numbers, found: Found, by_channel: ByChannel) -> np.ndarray:
    """A layer's output in an order that was found."""
    x, weights = numbers
    if node.operation == "mean_pool":
        arithmetic = Arithmetic(**found.fields)
        return np.asarray(ops.mean_pool(stored(x, arithmetic.storage), arithmetic=arithmetic))
    kernel, bias = weights[0], weights[1] if len(weights) > 1 else None
    if node.operation == "dense":
        return dense(x, kernel, weights[1], found, by_channel)
    strides: Any = node.settings["strides"]
    return conv2d(x, kernel, bias, strides=strides, padding=paddings(node, x.shape), **found.kernel_fields)


def _by_channel(node: Node, boxes: list[tuple[Indices, BlackBox]], seed: int) -> dict[str, Found]:
    """How the channels of a dense layer add that are not like most; those that add in no order are left out."""
    found = {}
    for channels, box in boxes if node.operation == "dense" and len(boxes) <= MOST_WAYS else ():
        with suppress(NoTreeError):
            found[channel_text(channels)] = find_tree(box, seed)
    return found


def _where(differ: np.ndarray) -> str:
    """Which outputs differ in some picture: `channels 3, 4, 7, 9 and 12 more, at 1 of 49 places: (6, 6)`."""
    channels = np.flatnonzero(differ.reshape(-1, differ.shape[-1]).any(0)).tolist()
    places = differ.any((0, -1))
    found = list(map(tuple, np.argwhere(places).tolist()))
    told = f": {', '.join(map(str, found))}" if len(found) <= FEW and places.ndim else ""
    more = f" and {len(channels) - FEW} more" if len(channels) > FEW else ""
    shown = ", ".join(map(str, channels[:FEW]))
    return f"channels {shown}{more}, at {len(found)} of {places.size} places{told}"
