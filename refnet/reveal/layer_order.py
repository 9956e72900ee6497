"""The order of one layer of a backend, found in place and held against all of its outputs."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from ..arithmetic import PRECISIONS, Order, Part, parse_order
from ..backends import Variant, select
from ..graph import Node, resnet
from .black_box import NoTreeError
from .layer_box import check_asked
from .layer_parts import Layer, by_place
from .sameness import Sameness, changes
from .session import Session
from .subnormals import KEPT
from .sum_formats import BIASES, FLOAT32, SumFormats, in_words
from .tree_finder import Found

NOT_STORED = "refnet multiplies or stores no numbers so"
FEW = 4  # channels, and places, that are named one by one


@dataclass(frozen=True)
class LayerOrder:
    """What was found of a layer.

    terms: of each sum, the bias not counted.
    order, fma, bias, mean: as in Arithmetic; None and the reason where the layer adds in no order that refnet knows.
    Where refnet has no precision of these formats, there is a reason too, and outputs is 0.
    differing: outputs of `outputs` that have other bits than refnet gives by that order, for drawn numbers at every
    place, in every channel and picture of the batch.  seconds: how long it took.
    parts: outputs that add in another way.
    subnormals: `kept`, or what is taken for zero where it is subnormal (subnormals.py); "" where not asked.
    same: the places, channels, pictures and runs in which the order is the same; None without one.
    formats: of operands, sums and output.  through: of a mean that is asked behind a convolution, the format to which
    that rounds what it passes on; "" where it passes on all bits.
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
    parts: tuple[Part, ...] = ()
    subnormals: str = KEPT
    same: Sameness | None = None
    formats: SumFormats = FLOAT32
    through: str = ""

    def adds_like(self, other: LayerOrder) -> bool:
        """Whether both have an order, and it is the same one, the bias's place and that of the parts included."""
        ways = [(each.order, each.fma, each.bias, each.mean, each.parts) for each in (self, other)]
        return self.order is not None and ways[0] == ways[1]

    def __str__(self) -> str:
        return f"{self.layer}: {self.words}"

    @property
    def words(self) -> str:
        """The formats, the order and what differs; or the reason."""
        if self.order is None:
            return self.reason
        how = in_words(self.formats, self.order.summary(), self.fma, BIASES[self.bias])
        how += "".join(f"; {part_text(part)}" for part in self.parts)
        if self.subnormals not in (KEPT, ""):
            how += f"; subnormal {self.subnormals} taken for zero"
        held = f" ({self.same})" if self.same and self.differing else ""
        count = [f"{self.differing} of {self.outputs} outputs differ{held}"] if self.outputs else []
        return f"{how}; {': '.join([*count, *([self.reason] if self.reason else [])])}"


def part_text(part: Part) -> str:
    """A part in words: `places 156..157: blocks:512, fma, bias last`."""
    return f"{part.where}: {parse_order(part.order).summary()}, {'fma' if part.fma else 'no fma'}, bias {part.bias}"


def reveal_order(variant: str | Variant, *, layer: str, size: int = 224, threads: int | None = None) -> Order:
    """The order in which a backend adds in one layer of ResNet50, ready for `order={layer: ...}`.

    variant: a name of backends.VARIANTS.  size: height and width of the picture, on which the order may depend, as on
    threads (None: the framework's own choice). `reveal_layer` tells more: fma, the bias's place, outputs that differ.
    Raises InputError for a layer without sums, VariantError where the backend cannot run, and NoTreeError where its
    sums have no order, or other outputs of the layer have another one.
    """
    found = reveal_layer(variant, layer=layer, size=size, threads=threads)
    if found.order is None or found.reason or found.differing or found.parts:
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
    check_asked(node)
    layer = Layer(session, node, seed, behind)
    try:
        found, parts, kept = layer.ways()
    except NoTreeError as error:
        reason = changes(session, node, seed) or str(error)
        return LayerOrder(node.name, layer.terms, None, reason=reason, seconds=time.monotonic() - begin)
    if changing := changes(session, node, seed):
        return LayerOrder(node.name, layer.terms, None, reason=changing, seconds=time.monotonic() - begin)
    asked = found.formats
    if behind:
        found = replace(found, formats=asked.of_rounded_terms)
    through = "" if asked == found.formats else asked.operands
    known = LayerOrder(
        node.name, layer.terms, found.order, found.fma, found.bias, found.mean, parts=parts, subnormals=kept,
        formats=found.formats, through=through, reason=NOT_STORED,
    )  # fmt: skip
    if _has_precision(node, found.formats):
        known = _held(known, layer, found, asked)
    return replace(known, seconds=time.monotonic() - begin)


def _has_precision(node: Node, formats: SumFormats) -> bool:
    """Whether refnet multiplies and stores such numbers; its mean pool reads all bits of what is stored."""
    name = formats.precision
    return name is not None and (node.operation != "mean_pool" or formats.operand == PRECISIONS[name].storage)


def _held(known: LayerOrder, layer: Layer, found: Found, asked: SumFormats) -> LayerOrder:
    """What is known of a layer, held against all of its outputs for drawn numbers.

    asked: the formats in which the layer answers, with what comes before it.
    """
    theirs, ours = layer.drawn(asked)
    parts = by_place(layer, found, known.parts, theirs, ours)
    y = ours(found, parts)
    differ = y.view(np.uint32) != theirs.view(np.uint32)
    same = Sameness.of(theirs, y, pictures=layer.session.variant.batch_size)
    reason = _where(differ) if differ.any() else ""
    return replace(known, parts=parts, differing=int(differ.sum()), outputs=y.size, reason=reason, same=same)


def _where(differ: np.ndarray) -> str:
    """Which outputs differ in some picture: `channels 3, 4, 7, 9 and 12 more, at 1 of 49 places: (6, 6)`."""
    channels = np.flatnonzero(differ.reshape(-1, differ.shape[-1]).any(0)).tolist()
    places = differ.any((0, -1))
    found = list(map(tuple, np.argwhere(places).tolist()))
    told = f": {', '.join(map(str, found))}" if len(found) <= FEW and places.ndim else ""
    more = f" and {len(channels) - FEW} more" if len(channels) > FEW else ""
    shown = ", ".join(map(str, channels[:FEW]))
    return f"channels {shown}{more}, at {len(found)} of {places.size} places{told}"
