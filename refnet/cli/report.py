"""`refnet report`: the pages of a drift that was saved, made again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .drift import show_report
from .exits import OK
from .options import Quiet


def report(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A drift.json.")] = Path("drift.json"),
    quiet: Quiet = False,
) -> int:
    """Print the drift that a file holds, and write NAME.md, NAME.png and NAME.html beside it. Nothing is run."""
    from ..drift import Drift
    from ..report import check_report, write_pages

    measured = Drift.load(file)
    check_report(file)
    written = write_pages(measured, file)
    if not quiet:
        show_report(measured, written)
    return OK
