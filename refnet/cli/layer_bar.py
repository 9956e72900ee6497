"""The bar of a long run through the network."""

from __future__ import annotations

from math import prod

from rich.console import Console
from rich.progress import BarColumn, TimeRemainingColumn

from ..graph import Graph, Node
from .screen import Bar, description

OUTPUT_WORK = 256  # of one output beside its terms, and of one weight, in multiplications: measured at mp50 and mp95
WEIGHT_WORK = 32


class LayerBar(Bar):
    """The layer's name, its place, and the estimated time left.

    Called before a layer is computed. A layer counts by its work, so that the bar moves evenly. Where the network is
    computed again, in another precision, the bar begins anew.
    """

    def __init__(self, graph: Graph, *, quiet: bool, console: Console | None = None) -> None:
        self._places = {name: place for place, name in enumerate(graph.names)}
        work = [work_of(node) for node in graph.nodes]
        self._before = [sum(work[:place]) for place in range(len(work))]
        super().__init__(
            BarColumn(), description(), TimeRemainingColumn(), quiet=quiet, console=console, total=sum(work)
        )

    def __call__(self, layer: str, precision: str) -> None:
        place = self._places[layer]
        if not place:
            self._progress.reset(self._task)
        text = f"{layer}  {place + 1} of {len(self._places)}  {precision}"
        self._progress.update(self._task, completed=self._before[place], description=text)

    def certifying(self, layer: str, place: int, layers: int, working: int) -> None:
        """The same, as refnet.certify calls its progress."""
        self(layer, f"{working} bits")


def work_of(node: Node) -> int:
    """How long a layer takes, in some unit: what multiplies it is the same for all layers of one run."""
    terms = prod(node.weights["kernel"][:-1]) if "kernel" in node.weights else 0
    return prod(node.shape) * (OUTPUT_WORK + terms) + WEIGHT_WORK * sum(map(prod, node.weights.values()))
