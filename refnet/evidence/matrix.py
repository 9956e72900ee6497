"""The matrix: every variant on every set of weights and every picture, cell by cell, each kept once it is whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends import Run, Variant, run, select
from ..backends.run import Progress
from ..drift import TRUTHS, VariantDrift
from ..drift.truth import truth_of
from ..errors import InputError
from ..provenance import sha256_of_array, usable_cores
from ..trace import Trace
from ..verdict import judge_runs
from ..weights import Weights, load_weights
from .cell import Cell, Judged, expected_of, judged_picture, key_of
from .pictures import VIEWS, check_views, pictures

Array = NDArray[np.floating]
ON_DISK = 14 << 30  # bytes of traces that lie on the disk at once
PIXEL = 3000  # bytes of a trace for each pixel of its picture
MOST_TOGETHER = 16  # variants; more of them share more verdicts, and more is lost by an interruption
TIMEOUT = 1800.0  # seconds for one variant and all pictures


@dataclass(frozen=True)
class Matrix:
    """What is to be run. variants: names, or groups such as all.  views: names in VIEWS.  seeds: of synthetic weights.

    size: height and width of pictures.  truth: one of refnet.drift.TRUTHS.  folder: where cells are kept.
    """

    folder: Path
    variants: tuple[str, ...] = ("all",)
    views: tuple[str, ...] = tuple(VIEWS)
    seeds: tuple[int, ...] = (0, 1, 2)
    size: int = 224
    truth: str = "float64"
    threads: int | None = None
    timeout: float = TIMEOUT

    def __post_init__(self) -> None:
        check_views(self.views)
        if not select(self.variants):
            raise InputError("no variants", expected="names such as torch,jax, or all")
        if not self.seeds or min(self.seeds) < 0:
            raise InputError(f"weights {list(self.seeds)}", expected="seeds such as 0,1,2")
        if self.truth not in TRUTHS:
            raise InputError(f"truth {self.truth!r}", expected=f"one of {', '.join(TRUTHS)}")

    @property
    def together(self) -> int:
        """How many variants are run before they are judged: as many as the disk shall hold."""
        return min(MOST_TOGETHER, max(1, ON_DISK // (PIXEL * self.size**2 * len(self.views))))

    def cells(self, progress: Progress) -> Iterator[Cell]:
        """Cell after cell; those that `folder` has from the same weights, pictures and versions are taken from there.

        Interrupted, the cells before are kept, and the next call goes on after them.
        """
        x = pictures(self.views, size=self.size)
        hashes = [sha256_of_array(picture[None]) for picture in x]
        for seed in self.seeds:
            w = load_weights("synthetic", seed=seed)
            made_from = (w.hash, hashes, self.truth, self.threads)
            keyed = [(variant, key_of(variant, *made_from)) for variant in select(self.variants)]
            kept = {variant.name: cell for variant, key in keyed if (cell := self._kept(variant, seed, key))}
            yield from kept.values()
            rest = [pair for pair in keyed if pair[0].name not in kept]
            for start in range(0, len(rest), self.together):
                for cell in self._run(rest[start : start + self.together], f"seed {seed}", w, x, progress):
                    path = self._path(cell.variant, seed)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    cell.save(path)
                    yield cell

    def _path(self, variant: str, seed: int) -> Path:
        return self.folder / f"seed-{seed}" / f"{variant}.json"

    def _kept(self, variant: Variant, seed: int, key: str) -> Cell | None:
        path = self._path(variant.name, seed)
        cell = Cell.load(path) if path.is_file() else None
        return cell if cell is not None and cell.key == key else None

    def _run(
        self, keyed: Sequence[tuple[Variant, str]], weights: str, w: Weights, x: Array, progress: Progress
    ) -> Iterator[Cell]:
        """All pictures in one child process for each variant, then judged one by one; the traces do not stay."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".traces-", dir=self.folder) as folder:
            variants = [variant for variant, _ in keyed]
            how: Any = {"threads": self.threads, "timeout": self.timeout, "progress": progress}
            runs = run(variants, w, x, folder, at_once=min(2, usable_cores()), **how)
            judged: dict[str, list[Judged]] = {ran.variant: [] for ran in runs}
            for place, view in enumerate(self.views):
                for row in self._judge([ran for ran in runs if ran.trace is not None], place, w, x, progress):
                    judged[row.variant].append(judged_picture(view, row))
        for (variant, key), ran in zip(keyed, runs, strict=True):
            rows = tuple(judged[variant.name])
            reason, expected = "" if rows else ran.reason, expected_of(variant, ran)
            yield Cell(variant.name, weights, key, ran.status, reason, expected, ran.seconds, rows)

    def _judge(
        self, runs: Sequence[Run], place: int, w: Weights, x: Array, progress: Progress
    ) -> Sequence[VariantDrift]:
        """One picture of all runs: they share its truth and its bands."""
        if not runs:
            return ()
        one = slice(place, place + 1)
        true = truth_of(self.truth, x[one], w, threads=self.threads, cache=None, tell=progress)
        parts = [part_of(ran, one) for ran in runs]
        _, *rows = judge_runs(parts, x[one], w, true.trace, threads=self.threads, progress=progress)
        return rows


def part_of(ran: Run, part: slice) -> Run:
    """The run of some of its pictures."""
    assert ran.trace is not None and ran.logits is not None
    trace = Trace({layer: values[part] for layer, values in ran.trace.items()}, ran.trace.provenance)
    return replace(ran, trace=trace, logits=ran.logits[part])


def saved(folder: Path) -> Sequence[Cell]:
    """All cells under the folder, by weights and variant."""
    return [Cell.load(path) for path in sorted(folder.glob("seed-*/*.json"))]
