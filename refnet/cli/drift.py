"""`refnet drift`: how far each backend's layers and logits are from the truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from .exits import NOT_RUN, OK
from .options import ALL, Images, Quiet, WeightsSource, names_in
from .screen import Stages, output

if TYPE_CHECKING:
    from ..drift import Drift


def drift(
    image: Images = None,
    weights: WeightsSource = "synthetic",
    variants: Annotated[
        str,
        typer.Option(metavar="A,B", help="Names, or all. Under all a backend that is not installed is no error."),
    ] = ALL,
    truth: Annotated[
        str, typer.Option(metavar="NAME", help="What the drift is measured from: certified, or the quick float64.")
    ] = "certified",
    json: Annotated[Path, typer.Option(metavar="FILE", help="The report; NAME.md and NAME.png go beside it.")] = Path(
        "drift.json"
    ),
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="The table of layers as CSV.")] = None,
    parquet: Annotated[Path | None, typer.Option(metavar="FILE", help="The table of layers as Parquet.")] = None,
    folder: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Keep the backends' traces and logs in this folder.")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Threads of refnet and of each backend.  [default: the cores refnet may use; each backend's choice]",
        ),
    ] = None,
    timeout: Annotated[float, typer.Option(metavar="S", min=1, help="Seconds for each backend.")] = 600,
    quiet: Quiet = False,
) -> int:
    """Run every backend and measure the drift of each layer and of the logits from the truth.

    Prints a table and writes drift.json, drift.md and drift.png. Exits with 3 if a variant that was named could not
    run, if one that is installed failed, or if none ran; the report is complete all the same.
    """
    from ..backends import check_folder, select
    from ..drift import measure_drift
    from ..drift.storage import check_output
    from ..images import bundled_image, load_images
    from ..report import check_report, tables, write_report
    from ..weights import load_weights

    names = names_in(variants)
    chosen = select(names)
    if not chosen:
        raise InputError("no variants", expected="names such as torch,jax, or all")
    check_report(json)
    for path, suffix in ((csv, ".csv"), (parquet, ".parquet")):
        if path is not None:
            check_output(path, [suffix])
    if folder is not None:
        check_folder(folder, chosen)
    x = load_images(image or [bundled_image()])
    with Stages(quiet=quiet) as stages:
        stages("weights", "start", 0)
        measured = measure_drift(
            x,
            load_weights(weights),
            names,
            truth=truth,
            threads=threads,
            timeout=timeout,
            folder=folder,
            progress=stages,
        )
        written = write_report(measured, json)
    for path in (csv, parquet):
        if path is not None:
            measured.save(path)
            written.append(path)
    if not quiet:
        console = output()
        console.print(tables(measured))
        console.print(f"\nwritten: {', '.join(map(str, written))}", style="dim", soft_wrap=True)
    return exit_code(measured, names)


def exit_code(measured: Drift, names: list[str]) -> int:
    """NOT_RUN if what the user asked for did not run; where `all` was asked, a missing backend is none of that."""
    from ..drift import OWN

    backends = [row for row in measured.variants if row.variant != OWN]
    harmless = {"ok", "missing"} if ALL in names else {"ok"}
    ran = any(row.ran for row in backends)
    return OK if ran and all(row.status in harmless for row in backends) else NOT_RUN
