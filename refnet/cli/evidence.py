"""`refnet evidence`: the verdicts on every variant, on many pictures and weights, resumable, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .exits import FAILED, NOT_RUN, OK
from .options import ALL, PictureSize, Quiet, Threads, names_in
from .screen import Stages, output


def evidence(
    folder: Annotated[Path, typer.Option(metavar="FOLDER", help="Where cells are kept.")] = Path("evidence"),
    variants: Annotated[str, typer.Option(metavar="A,B", help="Names, or all.")] = ALL,
    pictures: Annotated[str, typer.Option(metavar="A,B", help="Names of pictures, a number of them, or all.")] = ALL,
    weights: Annotated[str, typer.Option(metavar="N,N", help="Seeds of synthetic weights.")] = "0,1,2",
    truth: Annotated[str, typer.Option(metavar="NAME", help="What drift is measured from.")] = "float64",
    size: PictureSize = 224,
    threads: Threads = None,
    timeout: Annotated[float, typer.Option(metavar="S", min=1, help="Seconds for one variant, all pictures.")] = 1800,
    page: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The page whose table is replaced, such as docs/evidence.md.")
    ] = None,
    quiet: Quiet = False,
) -> int:
    """Judge every variant on pictures and weights of the project, where the right verdict is known.

    Takes hours; interrupted, it goes on where it was. Exits with 1 if a verdict is not as expected, with 3 if an
    installed backend failed.
    """
    from ..evidence import Matrix, summary, within
    from ..evidence import page as page_of

    matrix = Matrix(folder, tuple(names_in(variants)), _views(pictures), _seeds(weights), size, truth, threads, timeout)
    before = None if page is None else _read(page)  # now: the work takes hours
    with Stages(quiet=quiet) as stages:
        cells = list(matrix.cells(stages))
    if page is not None and before is not None:
        _write(page, within(before, page_of(cells)))
    if not quiet:
        output().print(page_of(cells) if page is None else summary(cells), soft_wrap=True)
    if any(cell.wrong for cell in cells):
        return FAILED
    return OK if all(cell.status in ("ok", "missing") for cell in cells) else NOT_RUN


def _views(text: str) -> tuple[str, ...]:
    from ..evidence import VIEWS

    if text == ALL:
        return tuple(VIEWS)
    return tuple(VIEWS)[: int(text)] if text.isdigit() else tuple(names_in(text))


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
