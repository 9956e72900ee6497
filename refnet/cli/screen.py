"""What the commands put on a terminal: results on standard output, progress on standard error."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import Progress, ProgressColumn, SpinnerColumn, TextColumn, TimeElapsedColumn

WIDTH_OF_FILES = 110  # when the output is no terminal, tables are not cut to 80 columns
MEMORY = 600.0  # seconds of the past that an estimate looks at: single layers take minutes in a thousand digits


def output() -> Console:
    """Standard output; what stands in brackets is text and no markup."""
    console = Console(highlight=False, markup=False)
    if console.is_terminal:
        return console
    return Console(highlight=False, markup=False, width=max(console.width, WIDTH_OF_FILES))


def one_line(text: str) -> str:
    return " ".join(text.split())


def complain(text: str) -> None:
    """One line on standard error."""
    print(f"refnet: {one_line(text)}", file=sys.stderr)


def description() -> TextColumn:
    """The column of a bar that says what is being done."""
    return TextColumn("{task.description}", markup=False)


class Bar:
    """Progress on standard error: drawn on a terminal only, never with `quiet`, and gone when the work is done.

    columns: of rich.  total: how much there is to do, in any unit.
    """

    def __init__(
        self, *columns: ProgressColumn, quiet: bool, console: Console | None = None, total: float | None = None
    ) -> None:
        self._console = console or Console(stderr=True, highlight=False, markup=False, quiet=quiet)
        self._progress = Progress(
            *columns,
            console=self._console,
            transient=True,
            disable=quiet or not self._console.is_terminal,
            speed_estimate_period=MEMORY,
        )
        self._task = self._progress.add_task("", total=total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


class Stages(Bar):
    """A spinner with the current stage, and a line for each thing that ended.

    Called as refnet.backends calls its progress: name, stage or final status, seconds. `quiet` shows nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        from ..report.summary import STATUS_STYLES  # slow to import, and --help needs none of it

        self._styles = STATUS_STYLES
        super().__init__(SpinnerColumn(), description(), TimeElapsedColumn(), quiet=quiet)

    def __call__(self, name: str, stage: str, seconds: float) -> None:
        if stage in self._styles:
            self._progress.update(self._task, description="")
            self._console.print(f"{name:15} {stage:8}{seconds:6.1f} s", style=self._styles[stage])
            return
        if stage == "start":
            self._progress.reset(self._task)
        self._progress.update(self._task, description=f"{name}: {stage}")
