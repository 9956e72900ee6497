"""One variant asked in several ways, in a child process of its own; whatever happens to it becomes a status."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends.ask import ask, check_runnable
from ..backends.job import make_job
from ..backends.run import Progress
from ..backends.side_by_side import side_by_side
from ..backends.variants import select
from ..errors import VariantError
from ..provenance import usable_cores
from ..weights import Weights, exchange_file

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Answers:
    """logits: call -> (1, classes), empty unless the status is "ok"; reason: why.

    facts: what the child said of itself.  seconds: of the whole child.
    """

    status: str
    reason: str = ""
    seconds: float = 0.0
    logits: Mapping[str, Array] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """All but the logits, for JSON."""
        return {"status": self.status, "reason": self.reason, "seconds": self.seconds, "facts": dict(self.facts)}


@dataclass(frozen=True)
class Asking:
    """What all variants share. folder: for work files.  progress: as progress(variant, stage or status, seconds)."""

    x: Array
    w: Weights
    folder: Path
    threads: int | None
    timeout: float
    progress: Progress
    cache: Path | None
    stop: Event = field(default_factory=Event)

    def run_all(self, calls: Mapping[str, Sequence[str]]) -> dict[str, Answers]:
        """Variant -> its answers to its calls; two variants at a time, since a framework starts on one core."""
        self._exchange()  # written once
        at_once = min(2, usable_cores())
        answers = side_by_side(lambda pair: self.run(*pair), [*calls.items()], at_once, self.stop)
        return dict(zip(calls, answers, strict=True))

    def _exchange(self) -> Path:
        return exchange_file(self.w, self.cache, otherwise=self.folder)

    def run(self, name: str, calls: Sequence[str]) -> Answers:
        """The variant's answers to these calls (names in CALLS)."""
        begin = time.monotonic()
        self.progress(name, "start", 0.0)
        try:
            facts, logits = self._ask(name, calls)
            answers = Answers("ok", "", time.monotonic() - begin, logits, facts)
        except VariantError as error:
            answers = Answers(error.status, str(error), time.monotonic() - begin)
        self.progress(name, answers.status, answers.seconds)
        return answers

    def _ask(self, name: str, calls: Sequence[str]) -> tuple[dict[str, Any], dict[str, Array]]:
        """Raises VariantError where there is no answer."""
        (variant,) = select([name])
        check_runnable(variant)
        images, output = self.folder / f"{name}.npy", self.folder / name
        np.save(images, self.x)
        output.mkdir()
        job = make_job(
            variant,
            self.w.graph(self.x.shape[1:3]),
            weights=self._exchange(),
            images=images,
            output=output,
            threads=self.threads,
        )
        facts = ask(
            f"{__package__}.child",
            {**job, "calls": list(calls)},
            timeout=self.timeout,
            tell=lambda stage, seconds: self.progress(name, stage, seconds),
            stop=self.stop,
        )
        try:
            return facts, {call: np.load(output / f"{call}.npy", allow_pickle=False) for call in calls}
        except (OSError, ValueError, EOFError) as error:
            raise VariantError(f"left no whole result: {error}") from error
