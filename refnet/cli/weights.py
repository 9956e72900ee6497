"""`refnet weights`: make, inspect and convert files of weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Quiet
from .screen import output

if TYPE_CHECKING:
    from ..weights import Weights

weights = typer.Typer(help="Make, inspect and convert files of weights.", rich_markup_mode=None)

Target = Annotated[Path, typer.Argument(metavar="TARGET", help="The file to write; its suffix says which kind.")]
Source = Annotated[str, typer.Argument(metavar="SOURCE", help="synthetic, imagenet, or a file.")]


@weights.command()
def make(
    target: Target,
    depth: Annotated[int, typer.Option(metavar="N", help="50, 101 or 152 layers.")] = 50,
    seed: Annotated[int, typer.Option(metavar="N", help="Other seeds give other weights.")] = 0,
    top: Annotated[bool, typer.Option("--top/--no-top", help="With the classifier.")] = True,
    quiet: Quiet = False,
) -> int:
    """Write synthetic weights: the same bits on every machine."""
    from ..weights import load_weights, save_weights
    from ..weights.containers import check_target

    check_target(target)
    made = load_weights("synthetic", depth=depth, include_top=top, seed=seed)
    save_weights(made, target)
    _say(f"{target}: {_described(made)}", quiet)
    return 0


@weights.command()
def convert(
    source: Source,
    target: Target,
    variant: Annotated[
        str | None, typer.Option(metavar="NAME", help="v1 or v1.5, where the source does not say it; the target will.")
    ] = None,
    quiet: Quiet = False,
) -> int:
    """Write weights into another kind of file; no number changes."""
    from ..weights import convert as converted

    _say(f"{target}: {_described(converted(source, target, variant=variant))}", quiet)
    return 0


@weights.command()
def inspect(
    source: Source,
    tensors: Annotated[bool, typer.Option("--tensors", help="A line for each tensor as well.")] = False,
) -> int:
    """Say what weights hold: model, hash and, with --tensors, the range of every tensor."""
    from rich import box
    from rich.table import Table

    from ..weights import inspect as summaries
    from ..weights import load_weights

    loaded = load_weights(source)
    _say(f"{source}: {_described(loaded)}", quiet=False)
    if tensors:
        table = Table("tensor", "shape", "dtype", "minimum", "maximum", "RMS", box=box.SIMPLE_HEAD)
        for row in summaries(loaded):
            shape = " x ".join(map(str, row.shape))
            table.add_row(row.name, shape, row.dtype, f"{row.minimum:.4g}", f"{row.maximum:.4g}", f"{row.rms:.4g}")
        output().print(table)
    return 0


def _described(w: Weights) -> str:
    top = f"{w.classes} classes" if w.include_top else "no top"
    return f"ResNet{w.depth} {w.variant}, {top}, {len(w)} tensors, sha256 {w.hash}"


def _say(text: str, quiet: bool) -> None:
    if not quiet:
        output().print(text, soft_wrap=True)
