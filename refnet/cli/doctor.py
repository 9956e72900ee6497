"""`refnet doctor`: what each backend will run as on this machine, what is missing, and which traps are set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .exits import NOT_RUN, OK
from .options import Quiet, names_in, some_from
from .screen import Stages, output

if TYPE_CHECKING:
    from ..backends.doctor import Examination


def doctor(
    variants: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Names, or all.  [default: each backend as it comes, and openvino-f32]"),
    ] = None,
    timeout: Annotated[float, typer.Option(metavar="S", min=1, help="Seconds for each backend.")] = 120,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all that was found.")] = None,
    quiet: Quiet = False,
) -> int:
    """Ask every backend what it computes in here, with a model of two layers, a few seconds each.

    Shows format, threads, devices and instruction set, what is missing and how to get it, and traps: a lower
    precision that nobody asked for, old weights that are kept, variables and settings that change bits. Exits with 3
    if a variant named by --variants could not run, or one that is installed failed.
    """
    import os

    from ..backends.doctor import AS_THEY_COME, examine
    from ..drift.storage import check_output, write_json
    from ..report.doctor import doctor_tables
    from ..weights import keras_home

    names = list(AS_THEY_COME) if variants is None else names_in(variants)
    some_from(names)
    if json is not None:
        check_output(json, [".json"])
    with Stages(quiet=quiet) as stages:
        found = examine(
            names,
            environment=os.environ,
            keras_json=keras_home() / "keras.json",
            timeout=timeout,
            progress=stages,
        )
    if json is not None:
        write_json(found.document(), json)
    if not quiet:
        output().print(doctor_tables(found))
    return exit_code(found, named=variants is not None and "all" not in names)


def exit_code(found: Examination, *, named: bool) -> int:
    """NOT_RUN if something failed; a backend that is not installed is a failure only where it was named."""
    harmless = {"ok"} if named else {"ok", "missing"}
    return OK if all(row.status in harmless for row in found.checkups) else NOT_RUN
