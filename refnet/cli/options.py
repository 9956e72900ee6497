"""Options that several commands share, each described once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]
