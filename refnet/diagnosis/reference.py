"""Refnet's side of a diagnosis: pictures and weights, the changes that can be tried, and what was computed so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..arithmetic import Arithmetic
from ..arithmetic.environment import check_environment
from ..errors import InputError
from ..provenance import about_pictures, provenance
from ..verdict.bands import Bands, bands
from ..weights import Weights
from .change import Change, applied
from .changes import changes_of
from .oracle import Oracle
from .picture_changes import not_tried
from .pictures import source_of
from .program import Program
from .spread import ways_to_round

Logits = NDArray[np.floating]


class Reference:
    """What outputs are held against. One serves any number of diagnoses: what was computed once is kept (a few
    kilobytes for each change).

    Arguments and errors are those of `diagnose`.
    """

    def __init__(
        self,
        x: NDArray[np.floating] | None,
        w: Weights,
        *,
        image: str | Path | Sequence[str | Path] | None = None,
        size: tuple[int, int] | None = None,
        other: Mapping[str, NDArray[np.floating]] | None = None,
        threads: int | None = None,
    ) -> None:
        check_environment()
        if not w.include_top:
            raise InputError("the weights have no top, so there are no logits", do="give weights with their top")
        files = [Path(path) for path in ([image] if isinstance(image, str | Path) else image or ())]
        source = source_of(x, files, size)
        self.weights, self.classes = w, w.classes or 0
        self.program = Program(source, w.graph(source.x.shape[1:3]), {name: w[name] for name in w})
        self.oracle = Oracle(self.program, threads=threads)
        self.changes = changes_of(self.program, other)
        self.not_tried = not_tried(source)
        self._logits: dict[frozenset[str], Logits | None] = {frozenset(): self.oracle.logits}
        self._truths: dict[frozenset[str], NDArray[np.float64]] = {}
        self._rounded: dict[tuple[str, ...], list[Logits]] = {}

    def logits(self, changes: Sequence[Change], oracle: Oracle | None = None) -> Logits | None:
        """Of the program with these changes; None where a size would vanish. oracle: of a nearer relative."""
        key = frozenset(change.name for change in changes)
        if key not in self._logits:
            try:
                self._logits[key] = (oracle or self.oracle).run(applied(self.program, *changes))
            except InputError:  # a window larger than what it slides over
                self._logits[key] = None
        return self._logits[key]

    def rounded(self, changes: Sequence[Change]) -> list[Logits]:
        """Of the program with these changes, as its number format may round otherwise: see spread.ways_to_round."""
        key = tuple(change.name for change in changes)
        if key not in self._rounded:
            program = applied(self.program, *changes)
            ways = ways_to_round(program.arithmetic)
            self._rounded[key] = [self.oracle.run(replace(program, arithmetic=way)) for way in ways]
        return self._rounded[key]

    def truth(self, changes: Sequence[Change] = ()) -> NDArray[np.float64]:
        """Of the program with these changes, in float64."""
        key = frozenset(change.name for change in changes)
        if key not in self._truths:
            program = replace(applied(self.program, *changes), arithmetic=Arithmetic("float64"))
            self._truths[key] = np.asarray(self.oracle.run(program), np.float64)
        return self._truths[key]

    @cached_property
    def bands(self) -> Bands:
        """What rounding does to the logits of the unchanged program."""
        output = self.program.graph.output.name
        return bands(self.program.x, self.weights, {output: self.truth()}, threads=self.oracle.threads)

    def provenance(self) -> dict[str, object]:
        source = self.program.source
        files = [str(path) for path in source.files]
        return provenance(weights=self.weights.hash, pictures=about_pictures(source.x), files=files)
