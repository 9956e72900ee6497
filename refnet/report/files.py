"""The files of one report: NAME.json with every number, NAME.md to read, NAME.png to look at."""

from __future__ import annotations

from pathlib import Path

from ..atomic import replacing
from ..drift import Drift
from ..drift.storage import check_output
from .markdown import markdown
from .plot import plot


def check_report(path: Path) -> None:
    """Raise InputError now if write_report could not write `path` (.json) and what belongs to it."""
    check_output(path, [".json"])
    for beside in (path.with_suffix(".md"), path.with_suffix(".png")):
        check_output(beside, [beside.suffix])


def write_report(drift: Drift, path: Path) -> list[Path]:
    """Write the JSON at `path` and the page and its picture beside it; the paths, the JSON first.

    Older files are replaced once all three are made, so that a report is never of two drifts.
    """
    page, picture = path.with_suffix(".md"), path.with_suffix(".png")
    with replacing(path) as data_draft, replacing(picture) as picture_draft, replacing(page) as page_draft:
        drift.save(data_draft)
        plot(drift, picture_draft)
        page_draft.write_text(markdown(drift, picture.name), encoding="utf-8")
    return [path, page, picture]
