"""`refnet drift`: how far each backend's layers and logits are from the truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from .exits import FAILED, NOT_RUN, OK
from .options import (
    BackendThreads,
    Images,
    PictureSize,
    Profiles,
    Quiet,
    VariantsFile,
    WeightsSource,
    chosen_from,
    names_in,
)
from .screen import Stages, complain, output

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from ..backends import Variant
    from ..drift import Drift, VariantDrift
    from ..reveal import Profile
    from ..weights import Weights


def drift(
    image: Images = None,
    weights: WeightsSource = "synthetic",
    size: PictureSize = 224,
    variants: Annotated[
        str,
        typer.Option(metavar="A,B", help="Names, default (at most 12), all, or none. Named ones must be able to run."),
    ] = "default",
    variants_file: VariantsFile = None,
    profiles: Profiles = "kept",
    trace: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="A trace from another machine or program, as one more row; repeatable."),
    ] = None,
    write_job: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Run nothing: write a folder that runs these variants elsewhere."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Take the backends that an interrupted run has done in --folder.")
    ] = False,
    truth: Annotated[
        str, typer.Option(metavar="NAME", help="What the drift is measured from: certified, or the quick float64.")
    ] = "certified",
    json: Annotated[
        Path, typer.Option(metavar="FILE", help="The report; NAME.md, NAME.png and NAME.html go beside it.")
    ] = Path("drift.json"),
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="The table of layers as CSV.")] = None,
    parquet: Annotated[Path | None, typer.Option(metavar="FILE", help="The table of layers as Parquet.")] = None,
    folder: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Keep the backends' traces and logs in this folder.")
    ] = None,
    threads: BackendThreads = None,
    timeout: Annotated[float, typer.Option(metavar="S", min=1, help="Seconds for each backend.")] = 600,
    fail_on: Annotated[
        str | None,
        typer.Option(metavar="VERDICT", help="Exit with 1 if a backend is reduced, undecided, mismatch, or worse."),
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(metavar="FILE", help="An older drift.json: exit with 1 if anything is worse now.")
    ] = None,
    quiet: Quiet = False,
) -> int:
    """Run every backend and measure the drift of each layer and of the logits from the truth.

    Prints a table and writes drift.json, drift.md, drift.png and drift.html. Exits with 3 if a variant that was named
    could not run, if one that is installed failed, or if none ran; the report is complete all the same.
    """
    from ..diagnosis import find_causes
    from ..images import bundled_image, load_images
    from ..report import write_report
    from ..reveal import profiles_for
    from ..verdict import measure_drift
    from ..weights import load_weights

    demand = _demand(fail_on, baseline)
    names = names_in(variants)
    chosen = _chosen(names, variants_file, may_be_none=bool(trace) and write_job is None)
    pictures = image or [bundled_image()]
    if write_job is not None:
        return _write_job(chosen, weights, load_images(pictures, size), write_job, threads, quiet=quiet)
    _check_places(json, csv, parquet, folder, chosen, resume=resume)
    x = load_images(pictures, size)
    with Stages(quiet=quiet) as stages:
        stages("weights", "start", 0)
        w = load_weights(weights)
        demand.check(w, x)
        known = profiles_for(chosen, w, x.shape[1:3], threads=threads, which=profiles)
        measured = measure_drift(
            x,
            w,
            names,
            truth=truth,
            threads=threads,
            timeout=timeout,
            folder=folder,
            variants_file=variants_file,
            traces=trace or (),
            resume=resume,
            profiles=known,
            find_causes=find_causes,
            progress=stages,
        )
        stages("report", "start", 0)
        written = write_report(measured, json)
    for path in (csv, parquet):
        if path is not None:
            measured.save(path)
            written.append(path)
    complain_of(known, measured.variants, w)
    if not quiet:
        show_report(measured, written)
    return exit_code(measured, names) if demand.holds(measured) else FAILED


@dataclass(frozen=True)
class _Demand:
    """What a drift must not be. kind: no backend has this verdict or a worse one.  before: none is worse than there."""

    kind: str | None
    before: Drift | None
    baseline: Path | None

    def check(self, w: Weights, pictures: np.ndarray) -> None:
        """Raises InputError if the baseline is of other weights or other pictures."""
        from ..provenance import sha256_of_array
        from ..testing.baseline import check_baseline

        if self.before is not None:
            check_baseline(self.before, w.hash, [sha256_of_array(picture[None]) for picture in pictures])

    def holds(self, measured: Drift) -> bool:
        """Whether it holds; a line on standard error says what does not, and what cannot be said."""
        from ..testing.baseline import absent, failing, worse_than

        failures = failing(measured, self.kind) if self.kind is not None else []
        if self.before is not None:
            failures += [f"worse than {self.baseline}: {line}" for line in worse_than(self.before, measured)]
            for line in absent(self.before, measured):
                complain(f"note: {line}")
        for line in failures:
            complain(line)
        return not failures


def _demand(fail_on: str | None, baseline: Path | None) -> _Demand:
    """Reads the baseline before the work: the report may take its place."""
    from ..drift import Drift
    from ..testing.baseline import check_kind

    if fail_on is not None:
        check_kind(fail_on)
    return _Demand(fail_on, None if baseline is None else Drift.load(baseline), baseline)


def _chosen(names: list[str], file: Path | None, *, may_be_none: bool) -> Sequence[Variant]:
    chosen = chosen_from(names, file)
    if not chosen and not may_be_none:
        raise InputError("no variants", expected="names such as torch,jax, or default, or all")
    return chosen


def _write_job(
    chosen: Sequence[Variant], weights: str, x: np.ndarray, folder: Path, threads: int | None, *, quiet: bool
) -> int:
    """The folder that runs these variants elsewhere, and how."""
    from ..backends import write_job
    from ..weights import load_weights

    commands = write_job(chosen, load_weights(weights), x, folder, threads=threads)
    if not quiet:
        output().print(f"copy {folder} to the other machine and run there:", *commands, sep="\n  ", soft_wrap=True)
    return OK


def _check_places(
    json: Path, csv: Path | None, parquet: Path | None, folder: Path | None, chosen: Sequence[Variant], *, resume: bool
) -> None:
    """Raises InputError now if something could not be written after the work."""
    from ..backends import check_folder
    from ..drift.storage import check_output
    from ..report import check_report

    if resume and folder is None:
        raise InputError("--resume without --folder", do="name the folder of the run that was interrupted")
    check_report(json)
    for path, suffix in ((csv, ".csv"), (parquet, ".parquet")):
        if path is not None:
            check_output(path, [suffix])
    if folder is not None:
        check_folder(folder, chosen)


def complain_of(profiles: Sequence[Profile], rows: Sequence[VariantDrift], w: Weights) -> None:
    """A line for each profile that does not give its variant's bits, or not in all layers."""
    from ..reveal import remarks_on

    by_name = {row.variant: row for row in rows}
    for profile in profiles:
        for remark in remarks_on(profile, by_name[profile.variant], w):
            complain(f"note: {remark}")


def show_report(measured: Drift, written: list[Path]) -> None:
    """Print the tables, and where everything is."""
    from ..report import tables

    console = output()
    console.print(tables(measured))
    console.print(f"\nwritten: {', '.join(map(str, written))}", style="dim", soft_wrap=True)


def exit_code(measured: Drift, names: list[str]) -> int:
    """NOT_RUN if what was asked for did not run; where a group was asked, a missing backend is none of that."""
    from ..backends import GROUPS
    from ..drift import OWN

    backends = [row for row in measured.variants if row.variant != OWN]
    harmless = {"ok", "missing"} if set(names) & set(GROUPS) else {"ok"}
    ran = any(row.ran for row in backends)
    return OK if ran and all(row.status in harmless for row in backends) else NOT_RUN
