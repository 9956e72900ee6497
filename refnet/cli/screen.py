"""What the commands put on a terminal: results on standard output, progress on standard error."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

WIDTH_OF_FILES = 110  # when the output is no terminal, tables are not cut to 80 columns


def output() -> Console:
    """Standard output."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=max(console.width, WIDTH_OF_FILES))


def one_line(text: str) -> str:
    return " ".join(text.split())


class Stages:
    """Progress on standard error: a spinner with the current stage, and a line for each thing that ended.

    Called as refnet.backends calls its progress: name, stage or final status, seconds. `quiet` shows nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        from ..report.summary import STATUS_STYLES  # slow to import, and --help needs none of it

        self._styles = STATUS_STYLES
        self._console = Console(stderr=True, highlight=False, quiet=quiet)
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        unseen = quiet or not self._console.is_terminal
        self._progress = Progress(*columns, console=self._console, transient=True, disable=unseen)
        self._task = self._progress.add_task("")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, name: str, stage: str, seconds: float) -> None:
        if stage in self._styles:
            self._progress.update(self._task, description="")
            self._console.print(f"{name:15} {stage:8}{seconds:6.1f} s", style=self._styles[stage])
            return
        if stage == "start":
            self._progress.reset(self._task)
        self._progress.update(self._task, description=f"{name}: {stage}")
