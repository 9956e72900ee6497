"""`refnet bench`: how long every arithmetic takes, beside the backends, and how exact it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from .exits import INTERRUPTED, NOT_RUN, OK
from .options import ALL, PictureSize, Profiles, Quiet, Threads, names_in
from .row_bar import RowBar
from .screen import output

if TYPE_CHECKING:
    from ..bench import Bench, Row
    from ..bench.session import Plan, Session
    from ..bench.truth import TruthPlan, TruthSession

QUICK_REPEATS, REPEATS = 3, 9


def bench(
    precisions: Annotated[str, typer.Option(metavar="A,B", help="PRECISION or PRECISION/ACCUMULATE, or all.")] = ALL,
    orders: Annotated[str, typer.Option(metavar="A,B", help="ORDER or ORDER/no-fma, or all.")] = ALL,
    threads: Threads = None,
    batch: Annotated[str, typer.Option(metavar="N,N", help="Pictures a call, beside the peers.")] = "1,8",
    repeats: Annotated[
        int | None, typer.Option(metavar="N", min=1, help=f"Timed calls of each.  [default: {REPEATS}]")
    ] = None,
    peers: Annotated[str, typer.Option(metavar="A,B", help="Names, all, or none.")] = ALL,
    size: PictureSize = 224,
    profiles: Profiles = "kept",
    shapes: Annotated[bool, typer.Option("--shapes/--no-shapes", help="Each convolution against OpenBLAS.")] = True,
    memory: Annotated[bool, typer.Option("--memory/--no-memory", help="The peak memory of one prediction.")] = True,
    quick: Annotated[
        bool, typer.Option("--quick", help=f"Only the arithmetics that have a goal; {QUICK_REPEATS} repeats.")
    ] = False,
    truth: Annotated[
        bool,
        typer.Option("--truth", help="Instead: exact sums, many digits and certificates; --quick without mp1000."),
    ] = False,
    json: Annotated[Path, typer.Option(metavar="FILE", help="The results; NAME.png goes beside it.")] = Path(
        "bench.json"
    ),
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="BEFORE AFTER", help="Measure nothing; print the ratios of two such files."),
    ] = None,
    quiet: Quiet = False,
) -> int:
    """Time ResNet50 in every number format and order, beside the backends and OpenBLAS, on synthetic weights.

    Prints tables and writes bench.json and bench.png. What is compared is timed in turn. Ctrl-C ends it and keeps what
    was measured. Exits with 3 if a peer that was named could not run, or one that is installed failed.
    """
    if compare is not None:
        return _compare(*compare)
    from ..bench.plot import plot
    from ..bench.storage import save
    from ..bench.table import tables
    from ..drift.storage import check_output

    picture = json.with_suffix(".png")
    check_output(json, [".json"])
    check_output(picture, [".png"])
    plan = (
        _truth_plan(threads, repeats, memory, quick)
        if truth
        else _plan(precisions, orders, threads, batch, repeats, peers, shapes, memory, quick)
    )
    measured = _measure(plan, size, profiles, threads, quiet=quiet)
    save(measured, json)
    written = [json]
    if not truth:
        plot(measured, picture)
        written.append(picture)
    if not quiet:
        console = output()
        console.print(tables(measured))
        console.print(f"\nwritten: {', '.join(map(str, written))}", style="dim", soft_wrap=True)
    return exit_code(measured, peers) if measured.finished else INTERRUPTED


def exit_code(measured: Bench, peers: str) -> int:
    """NOT_RUN if something failed; a backend that is not installed is no failure where `all` was asked for."""
    reasons = [row.reason for row in measured.rows if row.reason]
    if ALL in names_in(peers):
        reasons = [reason for reason in reasons if "is not installed" not in reason]
    return NOT_RUN if reasons else OK


def _plan(
    precisions: str,
    orders: str,
    threads: int | None,
    batch: str,
    repeats: int | None,
    peers: str,
    shapes: bool,
    memory: bool,
    quick: bool,
) -> Plan:
    from ..bench import DEFAULT_ORDERS, default_precisions
    from ..bench.arithmetics import arithmetics
    from ..bench.goals import with_a_goal
    from ..bench.peers import select_peers
    from ..bench.session import Plan
    from ..kernels.threads import usable_threads

    formats = default_precisions() if precisions == ALL else names_in(precisions)
    chosen = arithmetics(formats, DEFAULT_ORDERS if orders == ALL else names_in(orders))
    if not chosen:
        raise InputError("no arithmetics", expected="precisions and orders such as float32 and sequential, or all")
    try:
        batches = tuple(int(number) for number in names_in(batch))
    except ValueError as error:
        raise InputError(f"--batch {batch}", expected="numbers such as 1,8") from error
    return Plan(
        with_a_goal(chosen) if quick else chosen,
        select_peers(names_in(peers)),
        usable_threads(threads),
        batches,
        repeats or (QUICK_REPEATS if quick else REPEATS),
        shapes,
        memory,
    )


def _truth_plan(threads: int | None, repeats: int | None, memory: bool, quick: bool) -> TruthPlan:
    from ..bench.truth import TruthPlan
    from ..kernels.threads import usable_threads

    return TruthPlan(usable_threads(threads), repeats or QUICK_REPEATS, not quick, memory)


def _measure(plan: Plan | TruthPlan, size: int, profiles: str, threads: int | None, *, quiet: bool) -> Bench:
    from ..bench import TRUTH, Bench
    from ..bench.load import load_average, warn_if_busy
    from ..bench.replays import profiles_of
    from ..bench.session import Session
    from ..bench.truth import TruthPlan, TruthSession
    from ..images import bundled_image, load_image
    from ..provenance import provenance
    from ..weights import load_weights

    warn_if_busy()
    weights = load_weights("synthetic")
    base = load_image(bundled_image(), size=size)
    if isinstance(plan, TruthPlan):
        session: Session | TruthSession = TruthSession(plan, weights, base)
    else:
        replayed = profiles_of(profiles, weights, (size, size), threads)
        session = Session(replace(plan, profiles=replayed), weights, base)
    settings = {
        "threads": plan.threads,
        "batches": getattr(plan, "batches", (1,)),
        "repeats": plan.repeats,
        "size": size,
    }
    about = provenance(**settings, weights=weights.hash, load=load_average())
    rows, finished = _collect(session, quiet=quiet)
    return Bench(about, TRUTH, tuple(rows), finished)


def _collect(session: Session | TruthSession, *, quiet: bool) -> tuple[list[Row], bool]:
    """The rows, and whether they are all: an interruption keeps those before it."""
    rows: list[Row] = []
    with RowBar(len(session), quiet=quiet) as bar:
        try:
            for row in session.rows(lambda name: bar(name, len(rows))):
                rows.append(row)
        except KeyboardInterrupt:
            return rows, False
    return rows, True


def _compare(before: Path, after: Path) -> int:
    from ..bench.compare import changes, different_conditions
    from ..bench.storage import load
    from ..bench.table import change_table

    first, second = load(before), load(after)
    console = output()
    console.print(change_table(changes(first, second)))
    for line in different_conditions(first, second):
        console.print(f"not the same in both: {line}", style="yellow", soft_wrap=True)
    return OK
