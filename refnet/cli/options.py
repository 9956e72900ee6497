"""Options that several commands share, each described once, and how lists of names are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ALL = "all"

Images = Annotated[
    list[Path] | None,
    typer.Option(
        "--image",
        metavar="FILE",
        help="A picture file; repeat it for more.  [default: the picture that comes with refnet]",
    ),
]
WeightsSource = Annotated[
    str,
    typer.Option("--weights", metavar="NAME", help="synthetic, imagenet, or a file (.h5, .keras, .npz, .safetensors)."),
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", metavar="N", min=1, help="Threads.  [default: the cores this process may use]"),
]
PictureSize = Annotated[int, typer.Option("--size", metavar="N", min=32, help="Height and width of the pictures.")]
VariantsFile = Annotated[
    Path | None,
    typer.Option("--variants-file", metavar="FILE", help="More variants, as TOML; docs/drift.md describes it."),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]


def names_in(text: str) -> list[str]:
    """`a,b c` -> a, b, c."""
    return text.replace(",", " ").split()
