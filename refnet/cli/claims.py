"""`refnet claims`: what the usual answer to the question of this project asserts, measured on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .exits import NOT_RUN, OK
from .options import ALL, BackendThreads, PictureSize, Quiet, WeightsSource, names_in
from .screen import Stages, output

if TYPE_CHECKING:
    from ..claims import Claims


def claims(
    image: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A picture file.  [default: the picture that comes with refnet]"),
    ] = None,
    weights: WeightsSource = "synthetic",
    only: Annotated[str, typer.Option(metavar="A,B", help="Names of claims, or all.")] = ALL,
    size: PictureSize = 224,
    threads: BackendThreads = None,
    timeout: Annotated[float, typer.Option(metavar="S", min=1, help="Seconds for each backend variant.")] = 300,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all numbers.")] = None,
    markdown: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the table as Markdown.")] = None,
    quiet: Quiet = False,
) -> int:
    """Measure what people blame for different outputs of one network: types, seeds, threads, BLAS, XLA and others.

    Each experiment changes one thing and compares the logits, bit for bit and with the truth. A backend that is not
    installed is told, and the rest goes on. Exits with 3 if one that is installed failed, or none ran.
    """
    from ..atomic import replacing
    from ..claims import CLAIMS, measure_claims
    from ..drift.storage import check_output, write_json
    from ..images import bundled_image, load_image
    from ..report.claims import claims_markdown, claims_tables
    from ..weights import load_weights

    for path, suffix in ((json, ".json"), (markdown, ".md")):
        if path is not None:
            check_output(path, [suffix])
    names = list(CLAIMS) if only == ALL else names_in(only)
    x = load_image(image or bundled_image(), size)
    with Stages(quiet=quiet) as stages:
        stages("weights", "start", 0)
        w = load_weights(weights)
        found = measure_claims(x, w, names, threads=threads, timeout=timeout, progress=stages)
    if json is not None:
        write_json(found.document(), json)
    if markdown is not None:
        with replacing(markdown) as draft:
            draft.write_text(claims_markdown(found), encoding="utf-8")
    if not quiet:
        output().print(claims_tables(found))
    return exit_code(found)


def exit_code(found: Claims) -> int:
    """NOT_RUN if an installed backend failed or none ran."""
    statuses = {run["status"] for run in found.runs.values()}
    return OK if "ok" in statuses and statuses <= {"ok", "missing"} else NOT_RUN
