"""`refnet certify`: digits of every layer and logit that are proven."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from .exits import FAILED, OK
from .layer_bar import LayerBar
from .options import Images, PictureSize, Quiet, Threads, WeightsSource
from .screen import output as screen

if TYPE_CHECKING:
    import numpy as np

    from ..certificate import Certificate
    from ..weights import Weights

BITS, MAX_DIGITS = 53, 1000
OPEN = "open"


def certify(
    image: Images = None,
    weights: WeightsSource = "synthetic",
    bits: Annotated[int, typer.Option(metavar="N", min=2, help="Significant bits to prove of each logit.")] = BITS,
    max_digits: Annotated[
        int, typer.Option(metavar="N", min=1, help="Decimal digits up to which the precision is raised.")
    ] = MAX_DIGITS,
    full: Annotated[bool, typer.Option("--full", help="Keep all digits of inner layers in the --output.")] = False,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the certificate (.npz, about 740 MB a picture).")
    ] = None,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write logits, radii, softmax bounds and growth, all digits.")
    ] = None,
    check: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Compute this certificate again with other primes and compare.")
    ] = None,
    fail_on: Annotated[
        str | None, typer.Option(metavar=OPEN, help="Exit with 1 if anything is open at --max-digits.")
    ] = None,
    size: PictureSize = 224,
    threads: Threads = None,
    quiet: Quiet = False,
) -> int:
    """Prove digits of every number of the network: |true - midpoint| <= radius, true being exact real arithmetic.

    Prints the first class and whether it is certain, the best logits with bounds of their softmax, and how the radii
    grow. --check exits with 1 if the certificate does not hold; it takes picture and weights as they were then.
    """
    from ..drift.storage import check_output
    from ..images import bundled_image, load_images
    from ..weights import load_weights

    if fail_on not in (None, OPEN):
        raise InputError(f"--fail-on {fail_on}", expected=OPEN)
    _check_together(check, output, full=full, changed=(bits, max_digits) != (BITS, MAX_DIGITS))
    for path, suffix in ((output, ".npz"), (json, ".json")):
        if path is not None:
            check_output(path, [suffix])
    pictures = image or [bundled_image()]
    names = [str(path) for path in pictures]
    x, w = load_images(pictures, size), load_weights(weights)
    if (w.classes or 0) < 2:
        raise InputError(f"{weights} has no two classes", do="give weights with a top of two classes or more")
    if check is not None:
        return _check(check, x, w, names, json=json, fail_on=fail_on, threads=threads, quiet=quiet)
    made = _certify(x, w, bits, max_digits, full=full, threads=threads, quiet=quiet)
    if output is not None:
        made.save(output)
    if json is not None:
        _write(json, made, names)
    if not quiet:
        _show(made, names, weights, [path for path in (output, json) if path is not None])
    return exit_code(made, fail_on)


def exit_code(certificate: Certificate, fail_on: str | None) -> int:
    """FAILED if it was asked for that nothing is open, and something is."""
    return FAILED if fail_on == OPEN and not certificate.decided else OK


def _check_together(check: Path | None, output: Path | None, *, full: bool, changed: bool) -> None:
    """Raises InputError for options that say nothing together. changed: what is to be proven is not the default."""
    if full and output is None and check is None:
        raise InputError("--full without --output", do="name a file that keeps all digits, such as --output all.npz")
    if check is not None and (full or changed or output is not None):
        raise InputError("--check with --bits, --max-digits, --full or --output", do="leave out what the file says")


def _certify(
    x: np.ndarray, w: Weights, bits: int, max_digits: int, *, full: bool, threads: int | None, quiet: bool
) -> Certificate:
    from ..certificate import certify as prove

    with LayerBar(w.graph(x.shape[1:3]), quiet=quiet) as bar:
        return prove(x, w, bits, max_digits=max_digits, full=full, threads=threads, progress=bar.certifying)


def _check(
    path: Path,
    x: np.ndarray,
    w: Weights,
    names: list[str],
    *,
    json: Path | None,
    fail_on: str | None,
    threads: int | None,
    quiet: bool,
) -> int:
    from dataclasses import asdict

    from ..certificate import Certificate, check_certificate
    from ..report import check_lines

    kept = Certificate.load(path)
    with LayerBar(w.graph(x.shape[1:3]), quiet=quiet) as bar:
        done = check_certificate(kept, x, w, threads=threads, progress=bar.certifying)
    if json is not None:
        _write(json, kept, names, check={"holds": done.holds, **asdict(done)})
    if not quiet:
        screen().print(check_lines(done, kept, str(path)), soft_wrap=True)
    return exit_code(kept, fail_on) if done.holds else FAILED


def _write(path: Path, certificate: Certificate, names: list[str], **more: object) -> None:
    from ..certificate import document
    from ..drift.storage import write_json

    write_json({**document(certificate, names), **more}, path)


def _show(certificate: Certificate, names: list[str], weights: str, written: list[Path]) -> None:
    from ..report import certificate_tables

    console = screen()
    console.print(certificate_tables(certificate, names, weights))
    if written:
        console.print(f"\nwritten: {', '.join(map(str, written))}", style="dim", soft_wrap=True)
