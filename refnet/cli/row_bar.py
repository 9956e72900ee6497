"""The bar of a table that is measured row by row."""

from __future__ import annotations

from rich.progress import BarColumn, MofNCompleteColumn, TimeElapsedColumn

from .screen import Bar, description


class RowBar(Bar):
    """How many rows there are, and what is measured next."""

    def __init__(self, total: int, *, quiet: bool) -> None:
        super().__init__(
            BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), description(), quiet=quiet, total=total
        )

    def __call__(self, name: str, place: int) -> None:
        self._progress.update(self._task, completed=place, description=name)
