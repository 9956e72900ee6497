"""The files of one report: NAME.json with every number, and beside it what is made of it to be read."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from ..atomic import replacing
from ..drift import Drift
from ..drift.storage import check_output
from .html import write_html
from .markdown import markdown
from .plot import plot


def _write_markdown(drift: Drift, draft: Path, page: Path) -> None:
    draft.write_text(markdown(drift, page.with_suffix(".png").name), encoding="utf-8")


WRITERS: dict[str, Callable[[Drift, Path, Path], None]] = {
    ".md": _write_markdown,
    ".png": lambda drift, draft, _: plot(drift, draft),
    ".html": lambda drift, draft, _: write_html(drift, draft),
}
"""Suffix -> writes the drift to a draft of the file at its final path."""


def check_report(path: Path) -> None:
    """Raise InputError now if write_report could not write `path` (.json) and what belongs to it."""
    check_output(path, [".json"])
    for suffix in WRITERS:
        check_output(path.with_suffix(suffix), [suffix])


def write_report(drift: Drift, path: Path) -> list[Path]:
    """Write the JSON at `path` and what is made of it beside it; the paths, the JSON first.

    Older files are replaced once all are made, so that a report is never of two drifts.
    """
    with ExitStack() as drafts:
        drift.save(drafts.enter_context(replacing(path)))
        pages = _write_pages(drift, path, drafts)
    return [path, *pages]


def write_pages(drift: Drift, path: Path) -> list[Path]:
    """Write what is made of the drift beside the JSON at `path`, which stays as it is; the paths."""
    with ExitStack() as drafts:
        return _write_pages(drift, path, drafts)


def _write_pages(drift: Drift, path: Path, drafts: ExitStack) -> list[Path]:
    pages = [path.with_suffix(suffix) for suffix in WRITERS]
    for page in pages:
        WRITERS[page.suffix](drift, drafts.enter_context(replacing(page)), page)
    return pages
