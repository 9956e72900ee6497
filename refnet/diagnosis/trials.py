"""Programs tried against the outputs, one after another, within a time that is allowed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..verdict.outputs import kept_in
from .change import Change
from .oracle import Oracle
from .outputs import comparable, floor_of, form_of, given, half_ulps, residual
from .reference import Reference
from .spread import narrow_limit, rounding_limit

Array = NDArray[np.floating]
HALF = 0.5  # of the residual before: a cause leaves less, or what it changed was not what differs
Progress = Callable[[str, int, int], None]
"""Called as progress(what is tried, how many of its kind are done, how many there are)."""


class TimeIsUpError(Exception):
    """The time allowed for the search is over."""


@dataclass(frozen=True)
class Trial:
    """changes: what was changed.  outputs: what that program gives.  after: its residual."""

    changes: tuple[Change, ...]
    outputs: NDArray[np.float64]
    after: float


@dataclass
class Trials:
    """The outputs to be explained, the unchanged program, and all that was tried.

    outputs: (n, classes), as they are.  budget: seconds for trying.  stages_left: of the search, those not done.
    form: how many softmaxes the outputs went through.  target: the outputs, comparable.  base: the unchanged program's,
    from its float64 pass.  size: the RMS of its logits, the unit of all residuals; after two softmaxes, of base.
    """

    outputs: Array
    reference: Reference
    budget: float
    progress: Progress
    done: list[Trial] = field(default_factory=list)
    stages_left: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._begin = time.monotonic()
        self.form, self.format = form_of(self.outputs), kept_in(self.outputs)
        self.target = comparable(self.outputs, self.form, floor_of(self.format))
        truth = self.reference.truth()
        self.base = self.given(truth)
        self.size = float(np.sqrt(np.mean(np.square(truth if self.form < 2 else self.base)))) or 1.0
        self.before = self.residual(self.base)
        self.stored = half_ulps(self.outputs, self.form, self.format) / self.size

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begin

    def given(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """What a program with these logits gives, as it is compared."""
        return given(logits, self.form, floor_of(self.format))

    @cached_property
    def rounding(self) -> float:
        """What rounding explains of the unchanged program: for logits and probabilities the band of the logits."""
        if self.form == 2:
            return self._rounding_of(())
        bands = self.reference.bands
        (band,) = bands.values()
        return bands.factor * band.high

    @property
    def threshold(self) -> float:
        """The same, and what it does to keep the outputs in a narrow format."""
        return self.rounding + self.stored

    @cached_property
    def agrees(self) -> bool:
        """Whether nothing but rounding differs, in any output."""
        if self.before > self.threshold:
            return False
        if self.form == 2 or self.stored:
            return True
        (band,) = self.reference.bands.values()
        truth = self.reference.truth()
        return band.excess(truth + (self.target - self.base), truth) <= 1

    def threshold_of(self, changes: tuple[Change, ...]) -> float:
        """What rounding explains of the program with these changes, which may be worse conditioned."""
        if not any(change.stage == "arithmetic" for change in changes):
            return self._rounding_of(changes) + self.stored
        first, *others = (self.given(logits) for logits in self.reference.rounded(changes))
        return narrow_limit([self.apart(other, first) for other in others]) + self.stored

    def _rounding_of(self, changes: tuple[Change, ...]) -> float:
        truth = self.given(self.reference.truth(changes))
        return rounding_limit([self.apart(self.given(y), truth) for y in self.reference.rounded(changes)])

    def run(self, candidates: Iterable[tuple[Change, ...]], oracle: Oracle | None = None) -> Iterator[Trial]:
        """Each candidate tried; those whose sizes cannot be are left out. Raises TimeIsUpError.

        oracle: of a program that has all changes of a candidate but the last.
        """
        queue = list(candidates)
        for place, changes in enumerate(queue):
            if self.seconds > self.budget:
                raise TimeIsUpError
            self.progress(" and ".join(change.name for change in changes), place, len(queue))
            logits = self.reference.logits(changes, oracle)
            if logits is not None:
                outputs = self.given(logits)
                self.done.append(Trial(changes, outputs, self.residual(outputs)))
                yield self.done[-1]

    def residual(self, outputs: NDArray[np.float64]) -> float:
        """Of what a program gives, in units of the size of refnet's outputs."""
        return self.apart(self.target, outputs)

    def apart(self, first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
        """How far two programs' outputs are apart, in the same units."""
        return residual(first, second, self.size)

    @property
    def collapsed(self) -> Trial | None:
        """The best trial so far, if it came down to rounding."""
        best = min(self.done, key=lambda trial: trial.after, default=None)
        return best if best and best.after <= min(self.threshold, HALF * self.before) else None

    def moved(self, trial: Trial) -> float:
        """How far the changes move the outputs of the unchanged program."""
        return self.apart(trial.outputs, self.base)

    def shows(self, trial: Trial) -> bool:
        """Whether they move them by more than rounding does."""
        return self.moved(trial) > self.threshold
