"""`refnet compare`: two variants side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import VariantError
from .drift import complain_of
from .exits import FAILED, NOT_RUN, OK
from .options import Images, PictureSize, Profiles, Quiet, VariantsFile, WeightsSource
from .screen import Stages, complain, output


def compare(
    first: Annotated[str, typer.Argument(metavar="VARIANT", help="A variant, as in refnet drift: torch.")],
    second: Annotated[str, typer.Argument(metavar="VARIANT", help="Another one: tensorflow.")],
    image: Images = None,
    weights: WeightsSource = "synthetic",
    size: PictureSize = 224,
    variants_file: VariantsFile = None,
    profiles: Profiles = "kept",
    truth: Annotated[
        str, typer.Option(metavar="NAME", help="What tells which is nearer: the quick float64, or certified.")
    ] = "float64",
    threads: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Threads of refnet and of both.  [default: as in refnet drift]"),
    ] = None,
    timeout: Annotated[float, typer.Option(metavar="S", min=1, help="Seconds for each backend.")] = 600,
    folder: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Keep the backends' traces and logs in this folder.")
    ] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="The comparison as JSON.")] = None,
    quiet: Quiet = False,
) -> int:
    """Run two variants on one picture, and show in which layer and for which reason their bits first part.

    Then: which layers compute otherwise, how the difference grows by depth, the logits, and which of the two is nearer
    to the truth. Exits with 0 if they are equal or each differs from the truth by rounding alone, else with 1; with 3
    if one of them cannot run.
    """
    from ..comparison import compare as compared
    from ..comparison import two_of
    from ..drift.storage import check_output
    from ..images import bundled_image, load_images
    from ..report import comparison_tables
    from ..reveal import profiles_for
    from ..weights import load_weights

    if json is not None:
        check_output(json, [".json"])
    x = load_images(image or [bundled_image()], size)
    try:
        with Stages(quiet=quiet) as stages:
            stages("weights", "start", 0)
            w = load_weights(weights)
            chosen = two_of([first, second], variants_file)
            known = profiles_for(chosen, w, x.shape[1:3], threads=threads, which=profiles)
            how: Any = {"truth": truth, "threads": threads, "timeout": timeout, "folder": folder, "profiles": known}
            found = compared(*chosen, x, w, **how, progress=stages)
    except VariantError as error:
        complain(str(error))
        return NOT_RUN
    complain_of(known, found.variants, w)
    if json is not None:
        found.save(json)
    if not quiet:
        output().print(comparison_tables(found), soft_wrap=True)
        if json is not None:
            output().print(f"\nwritten: {json}", style="dim", soft_wrap=True)
    return OK if found.explained else FAILED
