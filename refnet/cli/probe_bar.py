"""The bar of a network that is probed layer by layer."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


class ProbeBar:
    """Progress on standard error: the layer that is probed and its place; on a terminal only, never with `quiet`."""

    def __init__(self, name: str, *, quiet: bool) -> None:
        console = Console(stderr=True, highlight=False)
        columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        unseen = quiet or not console.is_terminal
        self._progress = Progress(*columns, console=console, transient=True, disable=unseen)
        self._name = name
        self._task = self._progress.add_task(f"{name}: start", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, layer: str, place: int, count: int) -> None:
        text = f"{self._name}: {layer}  {place + 1} of {count}"
        self._progress.update(self._task, completed=place, total=count, description=text)
