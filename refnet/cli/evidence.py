"""`refnet evidence`: the verdicts on every variant, on many pictures and weights, resumable, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from ..errors import InputError
from .exits import FAILED, NOT_RUN, OK
from .options import ALL, BackendThreads, PictureSize, Quiet, names_in
from .screen import Stages, output


def evidence(
    folder: Annotated[Path, typer.Option(metavar="FOLDER", help="Where cells are kept.")] = Path("evidence"),
    variants: Annotated[
        str | None, typer.Option(metavar="A,B", help="Names, or all.  [default: all; with --replays, float32's own]")
    ] = None,
    pictures: Annotated[str, typer.Option(metavar="A,B", help="Names of pictures, a number of them, or all.")] = ALL,
    weights: Annotated[str, typer.Option(metavar="N,N", help="Seeds of synthetic weights.")] = "0,1,2",
    truth: Annotated[str, typer.Option(metavar="NAME", help="What drift is measured from.")] = "float64",
    size: PictureSize = 224,
    threads: BackendThreads = None,
    timeout: Annotated[float, typer.Option(metavar="S", min=1, help="Seconds for one variant, all pictures.")] = 1800,
    replays: Annotated[
        bool, typer.Option("--replays", help="Replay the variants and count the bits that differ, instead of judging.")
    ] = False,
    page: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The page whose table is replaced, such as docs/evidence.md.")
    ] = None,
    quiet: Quiet = False,
) -> int:
    """Judge every variant on pictures and weights of the project, where the right verdict is known.

    With --replays: make the variants' bits again by their profiles, with all frameworks barred from import, and count
    those that differ. Takes hours; interrupted, it goes on where it was. Exits with 1 if a verdict is not as expected
    or a bit differs, with 3 if an installed backend failed.
    """
    how: dict[str, Any] = {"folder": folder, "views": _views(pictures), "seeds": _seeds(weights), "size": size}
    how |= {"threads": threads, "timeout": timeout} | ({"variants": tuple(names_in(variants))} if variants else {})
    before = None if page is None else _read(page)  # now: the work takes hours
    with Stages(quiet=quiet) as stages:
        found = _replayed(how, stages) if replays else _judged({**how, "truth": truth}, stages)
    if page is not None and before is not None:
        from ..evidence import within

        _write(page, within(before, found.table, found.name))
    if not quiet:
        output().print(found.table if page is None else found.summary, soft_wrap=True)
    return FAILED if found.wrong else NOT_RUN if found.failed else OK


class _Found(NamedTuple):
    """Markdown of all cells, one sentence of them, where they stand in a page, and how they went."""

    table: str
    summary: str
    name: str
    wrong: bool
    failed: bool


def _judged(how: dict[str, Any], stages: Stages) -> _Found:
    from ..evidence import Matrix, page, summary

    cells = list(Matrix(**how).cells(stages))
    failed = any(cell.status not in ("ok", "missing") for cell in cells)
    return _Found(page(cells), summary(cells), "evidence", any(cell.wrong for cell in cells), failed)


def _replayed(how: dict[str, Any], stages: Stages) -> _Found:
    from ..evidence import Replays, replays_page, replays_summary

    cells = list(Replays(**how).cells(stages))
    failed = any(cell.status not in ("ok", "missing") for cell in cells)
    wrong = any(cell.status == "ok" and not cell.whole for cell in cells)
    return _Found(replays_page(cells), replays_summary(cells), "replays", wrong, failed)


def _views(text: str) -> tuple[str, ...]:
    from ..evidence import VIEWS

    if text == ALL:
        return tuple(VIEWS)
    return tuple(VIEWS)[: int(text)] if text.isdecimal() else tuple(names_in(text))


def _seeds(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in names_in(text))
    except ValueError as error:
        raise InputError(f"--weights {text}", expected="seeds such as 0,1,2") from error


def _read(page: Path) -> str:
    """The page as it is, or an empty one. Raises InputError if it can not be read, or not be written again."""
    from ..drift.storage import check_output

    check_output(page, [".md"])
    try:
        return page.read_text(encoding="utf-8")
    except FileNotFoundError:
        return "# Evidence\n"
    except UnicodeDecodeError as error:
        raise InputError(f"{page} is no text ({error})", expected="a page in UTF-8") from error


def _write(path: Path, text: str) -> None:
    from ..atomic import replacing

    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")
