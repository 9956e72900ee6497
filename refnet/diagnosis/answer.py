"""The answer of a diagnosis, put together from what was tried and what the trace showed."""

from __future__ import annotations

from .change import Change
from .form_causes import form_causes, narrow_cause, untold
from .outputs import FORMS
from .result import NONE, Cause, Diagnosis
from .traced import Traced
from .trials import Trial, Trials

SHOWN = 10  # causes that are listed behind the explanation: what else lowered the residual


def answer(trials: Trials, meant: int, seen: Traced | None, found: Trial | None, *, finished: bool) -> Diagnosis:
    """meant: how many softmaxes there should be.  seen: what the trace says.  found: what the search found."""
    agrees = trials.agrees and not (seen and seen.departing)
    by_layers = seen is not None and seen.explained
    after = seen.after if seen and by_layers else found.after if found else trials.before
    explaining = _of_trace(trials, seen) if seen and by_layers else _explaining(trials, found)
    first = form_causes(trials, meant)
    if agrees or explaining:
        first = (*first, *narrow_cause(trials, after, explaining))
        if first and not explaining:
            after = first[-1].after
    named = (*first, *explaining)
    explained = bool(explaining) or (agrees and bool(first))
    departing = seen.departing if seen else ()
    others = _others(trials, found)
    causes = (*named, *others) if explained or agrees else (_none(trials, departing, finished), *first, *others)
    return Diagnosis(
        "explained" if explained else "rounding" if agrees else NONE,
        causes,
        tuple(cause.name for cause in named) if explained else (),
        trials.before,
        after,
        trials.threshold,
        FORMS[trials.form],
        equivalent=_equivalent(trials),
        not_tried=(*trials.reference.not_tried, *untold(trials), *_stages_left(trials, explained)),
        first_layer=departing[0] if departing else None,
        departing=departing,
        tried=len(trials.done),
        seconds=trials.seconds,
        provenance=trials.reference.provenance(),
    )


def _none(trials: Trials, departing: tuple[str, ...], finished: bool) -> Cause:
    """Says no more than was done."""
    where = f"; the first layer that departs is {departing[0]}" if departing else ""
    if finished:
        detail = f"none of the changes, alone or in pairs, explains the outputs{where}"
    else:
        left = ", ".join(trials.stages_left) or "all changes"
        detail = f"not found in {trials.seconds:.0f} s; not tried, or not to the end: {left}{where}"
    return Cause(NONE, detail, trials.before, trials.before)


def _stages_left(trials: Trials, explained: bool) -> tuple[str, ...]:
    return () if explained else tuple(f"{stage}: the search ended early" for stage in trials.stages_left)


def _of_trace(trials: Trials, seen: Traced) -> tuple[Cause, ...]:
    """The changes that the layers showed, each with the residual of the outputs before and after it."""
    causes, before = [], trials.before
    for count, change in enumerate(seen.changes, 1):
        logits = trials.reference.logits(seen.changes[:count])
        after = before if logits is None else trials.residual(trials.given(logits))
        causes.append(_cause(change, before, after))
        before = after
    for layer, detail in seen.free.items():
        causes.append(
            Cause(
                f"weights:other:{layer}", f"{layer} departs, no listed change explains it; {detail}", before, seen.after
            )
        )
    return tuple(causes)


def _explaining(trials: Trials, found: Trial | None) -> tuple[Cause, ...]:
    """The changes that explain the outputs; of a pair first the one that alone lowers the residual more."""
    if found is None:
        return ()
    if len(found.changes) == 1:
        return (_cause(found.changes[0], trials.before, found.after),)
    alone = {trial.changes[0]: trial.after for trial in trials.done if len(trial.changes) == 1}
    better, worse = sorted(found.changes, key=lambda change: alone.get(change, float("inf")))
    between = alone.get(better, trials.before)
    return _cause(better, trials.before, between), _cause(worse, between, found.after)


def _others(trials: Trials, found: Trial | None) -> tuple[Cause, ...]:
    """Single changes that lower the residual, best first, without those that explain it."""
    used = found.changes if found else ()
    lower = [t for t in trials.done if len(t.changes) == 1 and t.after < trials.before and t.changes[0] not in used]
    ranked = sorted(lower, key=lambda trial: trial.after)[:SHOWN]
    return tuple(_cause(trial.changes[0], trials.before, trial.after) for trial in ranked)


def _equivalent(trials: Trials) -> tuple[Cause, ...]:
    """Changes that were tried alone and move the outputs by no more than rounding does."""
    found = []
    for trial in trials.done:
        moved = trials.moved(trial)
        if len(trial.changes) == 1 and moved <= trials.threshold:
            (change,) = trial.changes
            text = f"moves the outputs by {moved:.1e}; rounding explains {trials.threshold:.1e}"
            reason = f"{change.unseen}; {text}" if change.unseen else text
            found.append(Cause(change.name, reason, trials.before, trial.after))
    return tuple(found)


def _cause(change: Change, before: float, after: float) -> Cause:
    return Cause(change.name, change.detail, before, after)
