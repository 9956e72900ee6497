"""The search, stage by stage: the cheap and the likely first, one change at a time before two."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from .change import Change, applied
from .direction import cosine, least_cosine
from .oracle import Oracle
from .spread import LARGEST
from .trials import HALF, Trial, Trials

CLOSE = 1e-3  # of the residual before: a change that leaves less is measured against its own program's rounding
CLOSEST = 3  # how many changes are looked at more closely
PROMISING = 8  # changes whose pairs are tried first

Stage = Callable[[Trials, list[Change], list[Change]], Trial | None]


def search(trials: Trials, changes: Iterable[Change]) -> Trial | None:
    """The trial that explains the outputs, or None. Raises TimeIsUpError; trials.stages_left says what was not done."""
    changes = list(changes)
    exact = [change for change in changes if change.stage != "arithmetic"]
    reduced = [change for change in changes if change.stage == "arithmetic"]
    trials.stages_left = list(STAGES)
    for name, stage in STAGES.items():
        found = stage(trials, exact, reduced)
        if found:
            return found
        trials.stages_left.remove(name)
    return None


def _wide(trials: Trials, exact: list[Change], reduced: list[Change]) -> Trial | None:
    """All of them, so that the best is taken and those that cannot show are known."""
    ranked = sorted(trials.run((change,) for change in exact if not change.single), key=lambda trial: trial.after)
    return _first_within(trials, ranked[:CLOSEST])


def _narrow(trials: Trials, exact: list[Change], reduced: list[Change]) -> Trial | None:
    """Up to the first that comes down to rounding."""
    tried = []
    for trial in trials.run((change,) for change in exact if change.single):
        if trials.collapsed is trial:
            return trial
        tried.append(trial)
    return _first_within(trials, sorted(tried, key=lambda trial: trial.after)[:CLOSEST])


def _first_within(trials: Trials, tried: Iterable[Trial]) -> Trial | None:
    return next((trial for trial in tried if _within_rounding(trials, trial)), None)


def _within_rounding(trials: Trials, trial: Trial) -> bool:
    if trial.after > HALF * trials.before:
        return False
    if trial.after <= trials.threshold:
        return True
    return trial.after <= CLOSE * trials.before and trial.after <= trials.threshold_of(trial.changes)


def _reduced(trials: Trials, others: tuple[Change, ...], reduced: Iterable[Change]) -> Trial | None:
    """A precision that explains what `others` leave.

    Two programs of one narrow format lie apart by its rounding, so none comes down to float32's. It is accepted where
    what is left is as large as what the format does, lies no farther from its outputs than its own orders do, and goes
    the same way: more than any change does by chance.
    """
    known = next((trial for trial in trials.done if trial.changes == others), None)
    left = known.after if known else trials.before
    without = known.outputs if known else trials.base
    fitting = [change for change in reduced if not any(change.excludes(other) for other in others)]
    unrelated = [
        trial.outputs - trials.base
        for trial in trials.done
        if len(trial.changes) == 1 and trial.changes[0].stage != "arithmetic" and trials.shows(trial)
    ]

    tried = list(trials.run((*others, change) for change in fitting))
    least = least_cosine([trial.outputs - without for trial in tried], unrelated)
    accepted = [
        trial
        for trial in tried
        if LARGEST * left >= trials.apart(trial.outputs, without)
        and cosine(trials.target - without, trial.outputs - without) > least
        and trial.after <= trials.threshold_of(trial.changes)
    ]
    return min(accepted, key=lambda trial: trial.after, default=None)


def _reduced_alone(trials: Trials, exact: list[Change], reduced: list[Change]) -> Trial | None:
    """Weights or pictures in a format go the way of that format: with one more change they may explain everything."""
    found = _reduced(trials, (), reduced)
    if found is None:
        return None
    wide = [change for change in _ranked(trials, exact) if not change.single]
    parts = [change for change in wide if change.name in found.changes[0].without]
    return _first_collapsing(trials, ((part, [c for c in wide if not c.excludes(part)]) for part in parts)) or found


def _reduced_too(trials: Trials, exact: list[Change], reduced: list[Change]) -> Trial | None:
    tried = (_reduced(trials, (change,), reduced) for change in _ranked(trials, exact)[:CLOSEST])
    return next((trial for trial in tried if trial), None)


def _pairs(trials: Trials, exact: list[Change], reduced: list[Change], *, everything: bool) -> Trial | None:
    """Best first: what lowers the residual alone is half of a pair sooner than what does not."""
    return _first_collapsing(trials, _blocks(trials, exact, everything))


def _first_collapsing(trials: Trials, blocks: Iterable[tuple[Change, list[Change]]]) -> Trial | None:
    """The first pair that comes down to rounding. blocks: a change, and those to be tried with it."""
    reference = trials.reference
    for first, others in blocks:
        oracle = Oracle(applied(reference.program, first), threads=reference.oracle.threads)
        for trial in trials.run(((first, other) for other in others), oracle):
            if _within_rounding(trials, trial):
                return trial
    return None


def _ranked(trials: Trials, exact: list[Change], *, silent: bool = False) -> list[Change]:
    """Changes that were tried alone and show in this data, those that leave the least first; silent: the others."""
    singles = {trial.changes[0]: trial for trial in trials.done if len(trial.changes) == 1}
    wanted = [change for change in exact if change in singles and trials.shows(singles[change]) != silent]
    return sorted(wanted, key=lambda change: singles[change].after)


def _blocks(trials: Trials, exact: list[Change], everything: bool) -> Iterator[tuple[Change, list[Change]]]:
    """Each pair once: a change, and those to be tried with it. Without `everything`, only the best of many layers, with
    others of many layers, and the best of all with what does not show alone."""
    ranked = _ranked(trials, exact)
    wide = [change for change in ranked if not change.single]
    narrow = [change for change in ranked if change.single]
    silent = [change for change in _ranked(trials, exact, silent=True) if not change.single]
    best = ranked[:PROMISING]
    done = {frozenset(change.name for change in trial.changes) for trial in trials.done}
    likely = [(wide[:PROMISING], wide), (best, silent)]
    rest = [(best, wide), (best, narrow), (wide, wide), (wide, narrow), (narrow, narrow)]
    for firsts, seconds in likely + rest if everything else likely:
        for first in firsts:
            others = [
                second
                for second in seconds
                if not first.excludes(second)
                and frozenset((first.name, second.name)) not in done
                and second is not first
            ]
            done |= {frozenset((first.name, second.name)) for second in others}
            if others:
                yield first, others


STAGES: dict[str, Stage] = {
    "changes of many layers": _wide,
    "reduced precision": _reduced_alone,
    "changes of single layers": _narrow,
    "the likeliest pairs": partial(_pairs, everything=False),
    "reduced precision with another change": _reduced_too,
    "all other pairs": partial(_pairs, everything=True),
}
