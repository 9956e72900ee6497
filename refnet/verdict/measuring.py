"""Run the oracle and the backends on one picture and one set of weights, and measure every layer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends import VARIANTS, check_run, load_runs, read_variants, select
from ..backends.checks import TIMEOUT
from ..backends.run import Progress, Run, run
from ..backends.side_by_side import as_they_come
from ..drift.drift import Drift
from ..drift.logits import best_logits
from ..drift.truth import DEFAULT_TRUTH, TRUTHS, truth_of
from ..drift.variant import OWN, VariantDrift
from ..errors import InputError
from ..provenance import about_pictures, provenance, usable_cores
from ..trace import Trace
from ..weights import Weights
from .completing import FindCauses, completed
from .judge import Judge, judge_for
from .revealed import Revealed, by_variant

Array = NDArray[np.floating]


def measure_drift(
    x: Array,
    w: Weights,
    variants: Sequence[str] = ("default",),
    *,
    truth: str = DEFAULT_TRUTH,
    threads: int | None = None,
    timeout: float = TIMEOUT,
    folder: str | Path | None = None,
    variants_file: str | Path | None = None,
    traces: Sequence[str | Path] = (),
    resume: bool = False,
    profiles: Sequence[Revealed] = (),
    find_causes: FindCauses | None = None,
    progress: Progress | None = None,
    cache: Path | None = None,
) -> Drift:
    """How far every layer and the logits of backend variants are from the truth, for pictures x and weights w.

    x: (n, height, width, 3) float32, preprocessed (refnet.load_image).  variants: names of refnet.backends.VARIANTS,
    or words of refnet.backends.GROUPS.  truth: one of TRUTHS: "certified", or the quick "float64".  threads: of refnet
    and of each backend; None is the usable cores for refnet and each backend's own choice, which is what its users get.
    timeout: seconds for each backend.  folder: where the backends' traces stay; by default they are deleted.
    variants_file: TOML that adds variants to the table.  traces: folders that Trace.save or the script of --write-job
    wrote; each is one more row.  resume: take what an earlier run left in `folder`, if it was made from the same.
    profiles: what was revealed of variants (refnet.reveal.Profile), each held against its own.
    find_causes: what names the causes of mismatches, refnet.diagnosis.find_causes; None leaves them unnamed.
    progress: called as progress(variant, stage or final status, seconds since it began), refnet's own work included;
    for several at once, from this thread and others. Of "verdicts", whose stages are the variants, the seconds are
    those of judging alone.
    cache: where the last certificates lie; default, the user's cache folder.

    Layers are measured on the model that returns every layer, `logits` on the plain model; both, where they differ,
    are in the result. The first row is refnet's own float32. A variant that cannot run is a row with its reason.
    Raises InputError, before anything is computed, for unknown variants or truths, pictures, weights, threads or
    timeouts that cannot be, and a folder that cannot be written or holds something else.
    """
    if truth not in TRUTHS:
        raise InputError(f"truth {truth!r}", expected=f"one of {', '.join(TRUTHS)}")
    if not w.include_top:
        raise InputError("the weights have no top, so there are no logits to compare", do="give weights with their top")
    if resume and folder is None:
        raise InputError("nothing to resume without a folder", do="name the folder of the run that was interrupted")
    chosen = select(variants, VARIANTS if variants_file is None else read_variants(variants_file))
    check_run(chosen, x, None if folder is None else Path(folder), threads=threads, timeout=timeout)
    names = [variant.name for variant in chosen]
    revealed = by_variant(profiles, names)
    elsewhere = load_runs(traces, w, x)
    tell = progress or _silent
    how: Any = {"threads": threads, "timeout": timeout, "resume": resume, "progress": progress}

    def children(stop: Event, ended: Callable[[Run], None]) -> list[Run]:
        return run(chosen, w, x, place, at_once=min(2, usable_cores()), stop=stop, ended=ended, **how)

    with working_folder(folder) as place, as_they_come(children) as coming:
        true = truth_of(truth, x, w, threads=threads, cache=cache, tell=tell)
        judge = judge_for(x, w, true.trace, revealed, threads=threads, tell=tell)
        rows = _rows(judge, chain(elsewhere, coming), find_causes, tell)
    order = [OWN, *names, *(ran.variant for ran in elsewhere)]
    rows.sort(key=lambda row: order.index(row.variant))
    settings: Any = {"threads": threads, "timeout": timeout, "profiles": list(revealed)}
    about = provenance(weights=about_weights(w), pictures=about_pictures(x), **settings)
    truth_best = best_logits(np.asarray(true.trace[w.graph(x.shape[1:3]).output.name], np.float64))
    top5 = [[list(ranked) for ranked in picture] for picture in truth_best]  # as a file gives them back
    return Drift(about, {**true.about, "top5": top5}, tuple(rows))


def judge_runs(
    runs: Sequence[Run],
    x: Array,
    w: Weights,
    true: Trace,
    *,
    threads: int | None = None,
    profiles: Sequence[Revealed] = (),
    find_causes: FindCauses | None = None,
    progress: Progress | None = None,
) -> list[VariantDrift]:
    """Rows of a drift, refnet's own float32 pass first: what backends computed for pictures x, held against the truth.

    Arguments are those of measure_drift; true: the truth of every layer (refnet.drift.truth).
    """
    tell, revealed = progress or _silent, by_variant(profiles, [ran.variant for ran in runs])
    judge = judge_for(x, w, true, revealed, threads=threads, tell=tell)
    return _rows(judge, runs, find_causes, tell)


def _rows(judge: Judge, runs: Iterable[Run], find_causes: FindCauses | None, tell: Progress) -> list[VariantDrift]:
    """Rows of refnet's own pass and of these runs, in that order, each judged when it comes."""
    tell("verdicts", "start", 0.0)
    rows, traces, seconds = [], {}, 0.0
    for ran in chain([judge.own], runs):
        tell("verdicts", ran.variant, seconds)
        begin = time.monotonic()
        rows.append(judge.of(ran))
        seconds += time.monotonic() - begin
        if ran.trace is not None:
            traces[ran.variant] = ran.trace
    tell("verdicts", "ok", seconds)
    how: Any = {"revealed": judge.revealed, "find_causes": find_causes, "threads": judge.threads, "tell": tell}
    return completed(rows, traces, judge.x, judge.weights, judge.true, **how)


def about_weights(w: Weights) -> dict[str, Any]:
    return {"source": w.source, "sha256": w.hash, "depth": w.depth, "variant": w.variant}


def working_folder(folder: str | Path | None) -> AbstractContextManager[str | Path]:
    return nullcontext(folder) if folder is not None else TemporaryDirectory(prefix="refnet-")


def _silent(name: str, stage: str, seconds: float) -> None:
    """Progress that nobody watches."""
