"""`refnet predict`: the classes of pictures."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from .layer_bar import LayerBar
from .options import Images, PictureSize, Quiet, Threads, WeightsSource
from .screen import output

if TYPE_CHECKING:
    import numpy as np

CLASS_INDEX = Path("models") / "imagenet_class_index.json"  # under Keras's home, where its decode_predictions puts it


def predict(
    image: Images = None,
    weights: WeightsSource = "synthetic",
    precision: Annotated[
        str, typer.Option(metavar="NAME", help="Number format, such as float32, bfloat16, double-double or mp50.")
    ] = "float32",
    accumulate: Annotated[
        str | None, typer.Option(metavar="NAME", help="Number format of the sums.  [default: the precision's own]")
    ] = None,
    order: Annotated[str, typer.Option(metavar="NAME", help="Order in which each sum is added.")] = "sequential",
    fma: Annotated[
        bool | None, typer.Option("--fma/--no-fma", help="Fused multiply-add.  [default: where it has a meaning]")
    ] = None,
    bias: Annotated[
        str, typer.Option(metavar="PLACE", help="When a bias is added: last, first, stored or narrowed.")
    ] = "last",
    batch_norm: Annotated[
        str, typer.Option(metavar="FORM", help="centred, [sum-]shifted, [sum-]shifted-fma or folded.")
    ] = "centred",
    shift: Annotated[
        str, typer.Option(metavar="FORM", help="The constant of shifted forms: rounded or fused.")
    ] = "rounded",
    mean: Annotated[
        str, typer.Option(metavar="FORM", help="How the mean pool uses its count: divide or multiply.")
    ] = "divide",
    relu: Annotated[str, typer.Option(metavar="FORM", help="positive, or signed-zero, which keeps -0.")] = "positive",
    addition: Annotated[
        str,
        typer.Option(metavar="FORM", help="What additions add: outputs, or shifts-last, as tensorflow's plain run."),
    ] = "outputs",
    size: PictureSize = 224,
    threads: Threads = None,
    top: Annotated[int, typer.Option(metavar="N", min=1, help="How many classes to print.")] = 5,
    json: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write all probabilities, with all digits, and where they come from."),
    ] = None,
    quiet: Quiet = False,
) -> int:
    """Print the most probable classes of each picture.

    Class names are shown if Keras has its list of them on this machine and the weights have 1000 classes. What float64
    cannot hold, double-double and mpN, is shown rounded to it and written as text.
    """
    from ..drift.storage import check_output
    from ..forward import predict as forward
    from ..images import bundled_image, load_images
    from ..provenance import about_pictures
    from ..weights import load_weights

    if json is not None:
        check_output(json, [".json"])
    pictures = image or [bundled_image()]
    x, w = load_images(pictures, size), load_weights(weights)
    if not w.include_top:
        raise InputError(f"{weights} has no top, so there are no classes", do="give weights with their top")
    how: dict[str, Any] = {"precision": precision, "accumulate": accumulate, "order": order, "fma": fma}
    how |= {"bias": bias, "batch_norm": batch_norm, "shift": shift, "mean": mean, "relu": relu}
    how |= {"addition": addition}
    with LayerBar(w.graph(x.shape[1:3]), quiet=quiet) as bar:
        result = forward(x, w, threads=threads, **how, progress=lambda node: bar(node.name, precision))
    if json is not None:
        about = {"arithmetic": how, "threads": threads, "weights": w.hash, "pictures": about_pictures(x)}
        _write(json, pictures, all_digits(result, precision), about)
    if not quiet:
        probabilities = as_float64(result)
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


def as_float64(result: Any) -> np.ndarray:
    """What `refnet.predict` gives, rounded to float64: an array, a DoubleDouble, or mpmath's numbers."""
    import numpy as np

    from ..arithmetic import DoubleDouble

    return np.asarray(result.hi if isinstance(result, DoubleDouble) else result, np.float64)


def all_digits(result: Any, precision: str) -> list[list[float]] | list[list[str]]:
    """Its rows ready for JSON: numbers where float64 holds them, else decimal text from which they come back.

    A double-double is 106 bits, or as many more as its two parts are apart; mpN has its own p bits.
    """
    from mpmath.libmp import dps_to_prec, repr_dps, to_str

    from ..arithmetic import DoubleDouble, digits_of

    digits = digits_of(precision)
    if digits is None and not isinstance(result, DoubleDouble):
        return [row.tolist() for row in as_float64(result)]
    bits = 106 if digits is None else dps_to_prec(digits)
    exact = result.to_mpf() if isinstance(result, DoubleDouble) else result
    return [[to_str(x._mpf_, repr_dps(max(bits, x._mpf_[3]))) for x in row] for row in exact]


def _write(path: Path, pictures: list[Path], probabilities: list[Any], about: dict[str, Any]) -> None:
    from ..drift.storage import write_json
    from ..provenance import provenance

    rows = [{"image": str(picture), "probabilities": row} for picture, row in zip(pictures, probabilities, strict=True)]
    write_json({"schema": 1, "provenance": provenance(**about), "predictions": rows}, path)
