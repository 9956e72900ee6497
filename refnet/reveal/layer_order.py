"""The order of one layer of a backend, found in place and held against all of its outputs."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from .. import ops
from ..arithmetic import Arithmetic, Order, Tree
from ..arithmetic.schedule import Indices
from ..backends import Variant, select
from ..graph import Node, resnet
from ..kernels import conv2d
from .black_box import BlackBox, NoTreeError
from .channels import ByChannel, channel_text, dense
from .layer_box import check_asked, layer_boxes, terms_of
from .sameness import Sameness, changes
from .session import Session
from .subnormals import KEPT, subnormals
from .tree_finder import Found, find_tree
from .windows import paddings

MOST_WAYS = 4  # in which channels may add besides that of most; where there are more, none is asked


@dataclass(frozen=True)
class LayerOrder:
    """What was found of a layer.

    terms: of each sum, the bias not counted.
    order, fma, bias, mean: as in Arithmetic; None and the reason where the layer adds in no order that refnet knows.
    differing: outputs of `outputs` that have other bits than refnet gives by that order, for drawn numbers at every
    place, in every channel and picture of the batch.  seconds: how long it took.
    channels: output channels of a dense layer that add in another way, as `992..999`.
    subnormals: `kept`, or what is taken for zero where it is subnormal (subnormals.py); refnet keeps them.
    same: the places, channels, pictures and runs in which the order is the same; None without one.
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
    subnormals: str = KEPT
    same: Sameness | None = None

    def adds_like(self, other: LayerOrder) -> bool:
        """Whether both have an order, and it is the same one, the bias's place and the channels' own ways included."""
        ways = [(each.order, each.fma, each.bias, each.mean, dict(each.channels)) for each in (self, other)]
        return self.order is not None and ways[0] == ways[1]

    def __str__(self) -> str:
        if self.order is None:
            return f"{self.layer}: {self.reason}"
        how = ", ".join([_short(self.order), "fma" if self.fma else "no fma", f"bias {self.bias}"])
        how += "".join(f"; channels {channels}: {_short(found.order)}" for channels, found in self.channels.items())
        if self.subnormals != KEPT:
            how += f"; subnormal {self.subnormals} taken for zero"
        held = f" ({self.same})" if self.same and self.differing else ""
        return f"{self.layer}: {how}; {self.differing} of {self.outputs} outputs differ{held}"


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
    if found.order is None or found.differing or found.channels:
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
    terms = terms_of(session.graph, node)
    try:
        (_, box), *rest = layer_boxes(session, node, seed, behind=behind)
        found = find_tree(box, seed)
        kept = subnormals(box)
    except NoTreeError as error:
        reason = changes(session, node, seed) or str(error)
        return LayerOrder(node.name, terms, None, reason=reason, seconds=time.monotonic() - begin)
    by_channel = _by_channel(node, rest, seed)
    theirs, ours = compared(session, node, found, by_channel, seed, behind=behind)
    if changing := changes(session, node, seed):
        return LayerOrder(node.name, terms, None, reason=changing, seconds=time.monotonic() - begin)
    differing = int((theirs.view(np.uint32) != ours.view(np.uint32)).sum())
    reason = _where(theirs != ours) if differing else ""
    return LayerOrder(
        node.name,
        terms,
        found.order,
        found.fma,
        found.bias,
        found.mean,
        differing,
        ours.size,
        reason,
        time.monotonic() - begin,
        by_channel,
        kept,
        Sameness.of(theirs, ours),
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
    """The layer's whole output for drawn numbers, by the backend and by refnet.

    Inputs as after a ReLU, half of them zero; weights of He's scale.
    """
    rng = np.random.default_rng(seed)
    shape = session.take(node.name, behind=behind)
    x = np.maximum(rng.standard_normal((session.variant.batch_size, *shape)), 0).astype(np.float32)
    tensors = [
        (rng.standard_normal(size) * np.sqrt(2 / np.prod(size[:-1]))).astype(np.float32)
        for size in node.weights.values()
    ]
    session.give(x)
    theirs = session.run(*tensors)
    how: dict[str, Any] = {"order": found.order, "fma": found.fma}
    if node.operation == "mean_pool":
        return theirs, ops.mean_pool(x, arithmetic=Arithmetic(mean=found.mean, **how))
    kernel, bias = tensors[0], tensors[1] if len(tensors) > 1 else None
    if node.operation == "dense":
        return theirs, dense(x, kernel, tensors[1], found, by_channel)
    strides: Any = node.settings["strides"]
    padding = paddings(node, (1, *shape))
    return theirs, conv2d(x, kernel, bias, strides=strides, padding=padding, bias_at=found.bias, **how)


def _by_channel(node: Node, boxes: list[tuple[Indices, BlackBox]], seed: int) -> dict[str, Found]:
    """How the channels of a dense layer add that are not like most; those that add in no order are left out."""
    found = {}
    for channels, box in boxes if node.operation == "dense" and len(boxes) <= MOST_WAYS else ():
        with suppress(NoTreeError):
            found[channel_text(channels)] = find_tree(box, seed)
    return found


def _where(differ: np.ndarray) -> str:
    """Which outputs differ: `channels 3, 4 and 12 more, at 49 of 49 places`."""
    channels = np.flatnonzero(differ.reshape(-1, differ.shape[-1]).any(0)).tolist()
    places = differ.any(-1)
    more = f" and {len(channels) - 4} more" if len(channels) > 4 else ""
    shown = ", ".join(map(str, channels[:4]))
    return f"channels {shown}{more}, at {int(places.sum())} of {places.size} places"
