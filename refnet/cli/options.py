"""Options that several commands share, each described once, and how lists of names are read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError

if TYPE_CHECKING:
    from ..backends import Variant

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
BackendThreads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        metavar="N",
        min=1,
        help="Threads of refnet and of each backend.  [default: the cores refnet may use; each backend's choice]",
    ),
]
PictureSize = Annotated[int, typer.Option("--size", metavar="N", min=32, help="Height and width of the pictures.")]
VariantsFile = Annotated[
    Path | None,
    typer.Option("--variants-file", metavar="FILE", help="More variants, as TOML; docs/drift.md describes it."),
]
Profiles = Annotated[
    str,
    typer.Option(
        "--profiles",
        metavar="kept|none|FILE,...",
        help="What was revealed of the variants: what is kept for this machine, nothing, or files of refnet reveal.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]


def chosen_from(names: list[str], file: Path | None) -> tuple[Variant, ...]:
    """The variants of these names, those of the user's own file among them."""
    from ..backends import VARIANTS, read_variants, select

    return select(names, VARIANTS if file is None else read_variants(file))


def some_from(names: list[str], file: Path | None = None) -> tuple[Variant, ...]:
    """The same, of which there is at least one. Raises InputError for none."""
    if not (chosen := chosen_from(names, file)):
        raise InputError("no variants", expected="names such as torch,jax, or all")
    return chosen


def names_in(text: str) -> list[str]:
    """`a,b c` -> a, b, c."""
    return text.replace(",", " ").split()
