"""`refnet predict`: the classes of pictures."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import Images, Quiet, Threads, WeightsSource
from .screen import Stages, output

if TYPE_CHECKING:
    import numpy as np

CLASS_INDEX = Path("models") / "imagenet_class_index.json"  # under Keras's home, where its decode_predictions puts it


def predict(
    image: Images = None,
    weights: WeightsSource = "synthetic",
    precision: Annotated[
        str, typer.Option(metavar="NAME", help="Number format, such as float32, float64 or bfloat16.")
    ] = "float32",
    order: Annotated[str, typer.Option(metavar="NAME", help="Order in which each sum is added.")] = "sequential",
    fma: Annotated[
        bool | None, typer.Option("--fma/--no-fma", help="Fused multiply-add.  [default: where it has a meaning]")
    ] = None,
    threads: Threads = None,
    top: Annotated[int, typer.Option(metavar="N", min=1, help="How many classes to print.")] = 5,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all probabilities and where they come from.")
    ] = None,
    quiet: Quiet = False,
) -> int:
    """Print the most probable classes of each picture.

    Class names are shown if Keras has its list of them on this machine and the weights have 1000 classes.
    """
    import numpy as np

    from ..drift.storage import check_output
    from ..forward import predict as forward
    from ..images import bundled_image, load_images
    from ..weights import load_weights

    if json is not None:
        check_output(json, [".json"])
    pictures = image or [bundled_image()]
    x, w = load_images(pictures), load_weights(weights)
    how: dict[str, Any] = {"precision": precision, "order": order, "fma": fma}
    with Stages(quiet=quiet) as stages:
        stages(precision, "start", 0)
        result = forward(x, w, threads=threads, **how, progress=lambda node: stages(precision, node.name, 0))
    probabilities = np.asarray(result, np.float64)
    if json is not None:
        _write(json, pictures, probabilities, {"arithmetic": how, "threads": threads, "weights": w.hash})
    if not quiet:
        names = class_names() if probabilities.shape[-1] == 1000 else {}
        for path, row in zip(pictures, probabilities, strict=True):
            _show(path, row, top, names)
    return 0


def class_names() -> dict[int, str]:
    """Class number -> name from Keras's own cache; empty if it is not there. Nothing is downloaded."""
    from ..weights import keras_home

    try:
        index = json_format.loads((keras_home() / CLASS_INDEX).read_text(encoding="utf-8"))
        return {int(number): str(name) for number, (_, name) in index.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _show(path: Path, probabilities: np.ndarray, top: int, names: dict[int, str]) -> None:
    console = output()
    console.print(str(path), style="bold", soft_wrap=True)
    for number in (-probabilities).argsort(kind="stable")[:top]:
        console.print(f"  class {number:4d}  {probabilities[number]:.6f}  {names.get(int(number), '')}".rstrip())


def _write(path: Path, pictures: list[Path], probabilities: np.ndarray, about: dict[str, Any]) -> None:
    from ..drift.storage import write_json
    from ..provenance import provenance

    rows = [
        {"image": str(picture), "probabilities": row.tolist()}
        for picture, row in zip(pictures, probabilities, strict=True)
    ]
    write_json({"schema": 1, "provenance": provenance(**about), "predictions": rows}, path)
