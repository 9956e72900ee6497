"""The bar of a network that is probed layer by layer."""

from __future__ import annotations

from rich.progress import BarColumn, TimeElapsedColumn

from .screen import Bar, description


class ProbeBar(Bar):
    """The layer that is probed, and its place. name: whose layers they are."""

    def __init__(self, name: str, *, quiet: bool) -> None:
        super().__init__(BarColumn(), description(), TimeElapsedColumn(), quiet=quiet)
        self._name = name
        self._progress.update(self._task, description=f"{name}: start")

    def __call__(self, layer: str, place: int, count: int) -> None:
        text = f"{self._name}: {layer}  {place + 1} of {count}"
        self._progress.update(self._task, completed=place, total=count, description=text)
