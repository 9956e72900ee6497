"""`refnet replay`: a backend's bits made again, held against the backend."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError, VariantError
from .exits import FAILED, NOT_RUN, OK
from .options import BackendThreads, Images, PictureSize, Quiet, VariantsFile, WeightsSource, names_in, some_from
from .probe_bar import ProbeBar
from .reveal import show_unexplained
from .screen import Stages, complain, output

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from ..backends import Run, Variant
    from ..reveal import Difference, Profile
    from ..trace import Trace
    from ..weights import Weights


def replay(
    variants: Annotated[str, typer.Option(metavar="NAME", help="The variant, such as torch.")],
    profile: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What refnet reveal --all wrote.  [default: kept, or revealed now]"),
    ] = None,
    image: Images = None,
    weights: WeightsSource = "synthetic",
    variants_file: VariantsFile = None,
    size: PictureSize = 224,
    threads: BackendThreads = None,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 unless every bit is equal.")] = False,
    quiet: Quiet = False,
) -> int:
    """Compute the network in a backend's own orders and forms, run the backend, and count the bits that differ.

    The backend runs twice: once returning every layer, which is compared layer by layer, and once as a user's predict,
    returning the logits alone; where it fuses layers, those two runs of its own differ.
    """
    from ..backends import run
    from ..images import bundled_image, load_images
    from ..reveal import Profile, check_threads, known_profile, lost_in, lost_layers
    from ..weights import load_weights

    chosen = some_from(names_in(variants), variants_file)
    if len(chosen) != 1:
        raise InputError(f"{len(chosen)} variants", expected="one")
    (variant,) = chosen
    x, w = load_images(image or [bundled_image()], size=size), load_weights(weights)
    _, height, width, _ = x.shape
    old = profile is None and known_profile(variant, w, (height, width), threads=threads) is not None
    try:
        known = Profile.load(profile) if profile else _kept(variant, w, (height, width), threads, quiet=quiet)
    except VariantError as error:
        complain(f"{variant.name} {error.status}: {error}")
        return NOT_RUN
    check_threads(known, variant, threads)
    with tempfile.TemporaryDirectory() as folder:
        with Stages(quiet=quiet) as stages:
            stages("refnet", "replay", 0.0)
            ours = _replayed(variant, x, w, known, threads)
            (result,) = run(chosen, w, x, folder, threads=threads, progress=stages)
        if result.status != "ok":
            complain(f"{result.variant} {result.status}: {result.reason}")
            return NOT_RUN
        found, plain = _differing(ours, result)
        # The picture may have made subnormal numbers, which refnet keeps: only probes tell that an order is another.
        if old and lost_in(known, found) and (lost := lost_layers(known, variant, w, threads=threads)):
            known = _again(variant, lost[0], w, (height, width), threads, quiet=quiet)
            found, plain = _differing(_replayed(variant, x, w, known, threads), result)
    if not quiet:
        console = output()
        _show(console, variant.name, found, plain)
        show_unexplained(console, known)
    return FAILED if check and any(each.bits or each.zeros for each in (*found, plain)) else OK


def _replayed(
    variant: Variant, x: np.ndarray, w: Weights, profile: Profile, threads: int | None
) -> tuple[Trace, np.ndarray]:
    """Every layer, and the logits as a model gives them that returns its last layer alone."""
    from ..reveal import replay as replayed

    trace = replayed(variant, x, w, profile=profile, threads=threads)
    apart = profile.settings(plain=True) != profile.settings()
    plainly = replayed(variant, x, w, profile=profile, threads=threads, plain=True) if apart else trace
    return trace, plainly[w.graph().output.name]


def _differing(ours: tuple[Trace, np.ndarray], result: Run) -> tuple[list[Difference], Difference]:
    """Layer by layer, and of the plain model's logits."""
    from ..reveal import differences

    assert result.trace is not None and result.logits is not None  # its status is ok
    trace, logits = ours
    (plain,) = differences({"logits": logits}, {"logits": result.logits})
    return differences(trace, result.trace), plain


def _show(console: Console, name: str, layers: Sequence[Difference], plain: Difference) -> None:
    """A line for each layer that differs, how many do not, and the plain model's logits."""
    differing = [layer for layer in layers if layer.bits or layer.zeros]
    for layer in differing:
        console.print(f"{layer.layer:24} {_counted(layer)}")
    numbers = sum(layer.numbers for layer in layers)
    equal = f"{len(layers) - len(differing)} of {len(layers)}"
    console.print(f"{name}: {equal} layers equal to the bit ({numbers:,} numbers in all)")
    console.print(f"logits of the plain model: {_counted(plain)}")


def _counted(difference: Difference) -> str:
    zeros = f", and {difference.zeros:,} in the sign of a zero" if difference.zeros else ""
    return f"{difference.bits:,} of {difference.numbers:,} differ{zeros}"


def _kept(variant: Variant, weights: Weights, size: tuple[int, int], threads: int | None, *, quiet: bool) -> Profile:
    """Unchecked: what the backend computes on the picture itself checks it."""
    from ..reveal import kept_profile

    with ProbeBar(variant.name, quiet=quiet) as bar:
        return kept_profile(variant, weights, size, threads=threads, check="never", progress=bar)


def _again(
    variant: Variant, lost: str, weights: Weights, size: tuple[int, int], threads: int | None, *, quiet: bool
) -> Profile:
    """A new profile in the place of the kept one, whose bits of a layer are no longer the backend's."""
    from ..reveal import forget, no_longer_holds

    complain(f"{no_longer_holds(variant.name, lost)}: it is revealed again")
    forget(variant, weights, size, threads=threads)
    return _kept(variant, weights, size, threads, quiet=quiet)
