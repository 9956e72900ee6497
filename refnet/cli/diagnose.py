"""`refnet diagnose`: what a foreign program does otherwise, found from what it gave."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TimeElapsedColumn

from ..errors import InputError
from .exits import INTERRUPTED, OK
from .options import Images, PictureSize, Quiet, Threads, WeightsSource
from .screen import Bar, description, output

if TYPE_CHECKING:
    import numpy as np

    from ..diagnosis import Diagnosis


def diagnose(
    outputs: Annotated[Path, typer.Option(metavar="FILE", help="What the program gave: .npy, (pictures, classes).")],
    image: Images = None,
    weights: WeightsSource = "synthetic",
    trace: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The program's activations by layer, as Trace.save writes.")
    ] = None,
    other_weights: Annotated[
        str | None, typer.Option(metavar="NAME", help="Another checkpoint, of which it may have one layer.")
    ] = None,
    logits: Annotated[
        bool, typer.Option("--logits", help="Logits are what it was meant to give, not softmax.")
    ] = False,
    budget: Annotated[float, typer.Option(metavar="SECONDS", help="When the search ends, found or not.")] = 300.0,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write everything that was found.")] = None,
    size: PictureSize = 224,
    threads: Threads = None,
    quiet: Quiet = False,
) -> int:
    """Find what a program does otherwise than Keras's ResNet50: refnet changes its own, one thing and then two at a
    time, until the outputs agree to rounding.

    Pictures are read as Keras reads them; a trace makes faults in single layers quick to find. Ctrl-C ends the search
    and shows what was found.
    """
    from ..diagnosis import diagnose as search
    from ..drift.storage import check_output, write_json
    from ..images import bundled_image
    from ..trace import Trace
    from ..weights import load_weights

    if json is not None:
        check_output(json, [".json"])
    with SearchBar(quiet=quiet) as progress:
        found = search(
            _array(outputs),
            None,
            load_weights(weights),
            trace=None if trace is None else Trace.load(trace),
            image=image or [bundled_image()],
            size=(size, size),
            other=None if other_weights is None else load_weights(other_weights),
            classifier_activation=None if logits else "softmax",
            budget=budget,
            threads=threads,
            progress=progress,
        )
    if json is not None:
        write_json(found.document(), json)
    if not quiet:
        _show(found)
    return INTERRUPTED if found.interrupted else OK


def _array(path: Path) -> np.ndarray:
    import numpy as np

    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"there is no file {path}", do="check the path of the outputs") from None
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is no .npy file ({error})", do="write it with numpy.save") from None
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path} holds several arrays", expected="one, as numpy.save writes it")
    return array


class SearchBar(Bar):
    """What is tried, and how much of it."""

    def __init__(self, *, quiet: bool) -> None:
        super().__init__(BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), description(), quiet=quiet)

    def __call__(self, what: str, done: int, total: int) -> None:
        self._progress.update(self._task, completed=done, total=total, description=what)


VERDICTS = {
    "rounding": "nothing differs but rounding",
    "explained": "explained by {explanation}",
    "none": "{detail}",
}


def _show(found: Diagnosis) -> None:
    from rich.table import Table

    console = output()
    detail = found.causes[0].detail if found.causes else ""
    text = VERDICTS[found.verdict].format(explanation=" and ".join(found.explanation), detail=detail)
    console.print(text, style="bold", soft_wrap=True)
    console.print(f"the outputs are {found.form}; residual {found.before:.1e}, rounding explains {found.threshold:.1e}")
    if found.first_layer:
        console.print(f"first layer that departs: {found.first_layer} ({len(found.departing)} in all)")
    if found.causes:
        table = Table("cause", "before", "after", "what it is", box=None, header_style="bold")
        for cause in found.causes:
            table.add_row(cause.name, f"{cause.before:.1e}", f"{cause.after:.1e}", cause.detail)
        console.print(table)
    for cause in found.equivalent:
        console.print(f"equivalent in this data: {cause.name}: {cause.detail}", style="dim", soft_wrap=True)
    for line in found.not_tried:
        console.print(f"not tried: {line}", style="dim", soft_wrap=True)
    if not found.finished and found.verdict != "explained":
        console.print("the search ended early; give it more time with --budget", style="yellow")
