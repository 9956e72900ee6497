"""Replays where every bit is known: a variant's layers and logits made again by its profile, on many pictures."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends import STATUSES, Run, Variant, run, select
from ..backends.run import Progress
from ..drift.storage import read_json, write_json
from ..errors import InputError, VariantError
from ..provenance import sha256_of_array
from ..reveal import Difference, Profile, differences, kept_profile, replay
from ..trace import Trace
from ..weights import Weights, load_weights
from .cell import key_of
from .matrix import TIMEOUT
from .pictures import VIEWS, check_views, pictures

SCHEMA = 1
FRAMEWORKS = ("keras", "tf_keras", "tensorflow", "jax", "jaxlib", "torch", "openvino")
REPLAYED = ("torch", "numpy", "tensorflow", "jax", "openvino-f32")
"""The variants that are to be equal to the bit."""

Array = NDArray[np.floating]


@dataclass(frozen=True)
class ReplayCell:
    """One variant on one set of weights and all pictures.

    key: the hash of all that the cell was made from.  status: one of STATUSES; reason: why it is not "ok".
    unexplained: part of the network -> why the profile does not have its bits.
    layers: how many each picture has.  differing: layer -> numbers that have other bits, or zeros of another sign, in
    any picture.  numbers: all that were compared.  logits, plain: numbers of the plain model, and those that differ.
    spec: numbers that the NumPy definition gave for some pictures.  spec_differing: those that kernels gave otherwise.
    """

    variant: str
    weights: str
    key: str
    status: str = "ok"
    reason: str = ""
    unexplained: Mapping[str, str] = field(default_factory=dict)
    pictures: int = 0
    layers: int = 0
    differing: Mapping[str, int] = field(default_factory=dict)
    numbers: int = 0
    logits: int = 0
    plain: int = 0
    spec: int = 0
    spec_differing: int = 0

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise InputError(f"status {self.status!r} of {self.variant}", expected=f"one of {', '.join(STATUSES)}")
        ran = self.status == "ok"
        if ran != bool(self.numbers) or ran == bool(self.reason):
            raise InputError(f"replay of {self.variant}: {self.numbers} numbers", expected="numbers, or else a reason")

    @property
    def whole(self) -> bool:
        """Whether every bit is equal."""
        return self.status == "ok" and not (self.differing or self.plain or self.spec_differing)

    def save(self, path: Path) -> None:
        write_json({"schema": SCHEMA, **vars(self)}, path)

    @classmethod
    def load(cls, path: Path) -> ReplayCell:
        """Raises InputError for anything that `save` did not write."""
        document = read_json(path)
        if document.pop("schema", None) != SCHEMA:
            raise InputError(f"{path} has another schema", expected=str(SCHEMA), do="remove it and run again")
        try:
            return cls(**document)
        except TypeError as error:
            raise InputError(f"{path} is no replay ({error})", do="remove it and run again") from error


@dataclass(frozen=True)
class Replays:
    """What is to be replayed. variants, views, seeds, size, threads, timeout, folder: as in Matrix.

    defined: on the first set of weights, how many pictures the NumPy definition computes too; it is slow.
    """

    folder: Path
    variants: tuple[str, ...] = REPLAYED
    views: tuple[str, ...] = tuple(VIEWS)
    seeds: tuple[int, ...] = (0, 1, 2)
    size: int = 224
    threads: int | None = None
    timeout: float = TIMEOUT
    defined: int = 1

    def __post_init__(self) -> None:
        check_views(self.views)
        select(self.variants)
        if not 0 <= self.defined <= len(self.views):
            raise InputError(f"{self.defined} pictures by the definition", expected=f"0 to {len(self.views)}")

    def cells(self, progress: Progress) -> Iterator[ReplayCell]:
        """Cell after cell; those that `folder` has of the same weights, pictures and versions are taken from there."""
        x = pictures(self.views, size=self.size)
        for seed in self.seeds:
            w = load_weights("synthetic", seed=seed)
            for variant in select(self.variants):
                path = self.folder / "replays" / f"seed-{seed}" / f"{variant.name}.json"
                key = key_of(variant, w.hash, sha256_of_array(x), self.threads, self.defined)
                cell = ReplayCell.load(path) if path.is_file() else None
                if cell is None or cell.key != key:
                    cell = self._cell(variant, named(seed), key, w, x, progress)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    cell.save(path)
                yield cell

    def _cell(self, variant: Variant, weights: str, key: str, w: Weights, x: Array, progress: Progress) -> ReplayCell:
        """The profile, the backend on all pictures, then picture by picture the replay beside it."""

        def told(layer: str, place: int, count: int) -> None:
            progress(variant.name, f"{weights}, reveal {layer}", 0.0)

        size = (self.size, self.size)
        try:
            profile = kept_profile(variant, w, size, threads=self.threads, check="never", progress=told)
        except VariantError as error:
            return ReplayCell(variant.name, weights, key, error.status, str(error))
        self.folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".traces-", dir=self.folder) as folder:
            (ran,) = run([variant], w, x, folder, threads=self.threads, timeout=self.timeout, progress=progress)
            if ran.trace is None:
                return ReplayCell(variant.name, weights, key, ran.status, ran.reason)
            with frameworks_blocked():
                return self._compared(variant, weights, key, profile, w, x, ran, progress)

    def _compared(
        self, variant: Variant, weights: str, key: str, profile: Profile, w: Weights, x: Array, ran: Run, tell: Progress
    ) -> ReplayCell:
        assert ran.trace is not None and ran.logits is not None
        apart = profile.settings(plain=True) != profile.settings()
        differing: Counter[str] = Counter()
        total: Counter[str] = Counter()
        output = w.graph().output.name
        defined = self.defined if weights == named(self.seeds[0]) else 0
        for place, view in enumerate(self.views):
            tell(variant.name, f"{weights}, replay of {view}", 0.0)
            one = slice(place, place + 1)

            def replayed(plain: bool = False, engine: str = "kernels", x: Array = x[one]) -> Trace:
                return replay(variant, x, w, profile=profile, plain=plain, threads=self.threads, engine=engine)

            trace = replayed()
            logits = replayed(plain=True)[output] if apart else trace[output]
            found = differences(trace, {layer: values[one] for layer, values in ran.trace.items()})
            (plain,) = differences({"logits": logits}, {"logits": ran.logits[one]})
            differing.update({each.layer: each.bits + each.zeros for each in found if each.bits or each.zeros})
            total.update(numbers=_numbers(found), logits=plain.numbers, plain=plain.bits + plain.zeros)
            if place < defined:
                held = differences(trace, replayed(engine="spec"))
                total.update(spec=_numbers(held), spec_differing=sum(each.bits + each.zeros for each in held))
        counted: dict[str, Any] = dict(total)
        return ReplayCell(
            variant.name, weights, key, unexplained=dict(profile.unexplained), pictures=len(self.views),
            layers=len(ran.trace), differing=dict(differing), **counted,
        )  # fmt: skip


def named(seed: int) -> str:
    return f"seed {seed}"


def _numbers(found: Sequence[Difference]) -> int:
    return sum(each.numbers for each in found)


@contextmanager
def frameworks_blocked() -> Iterator[None]:
    """Within it no framework can be imported. Raises InputError where one was imported before."""
    there = [name for name in FRAMEWORKS if sys.modules.get(name)]
    if there:
        raise InputError(f"{', '.join(there)} imported already", expected="a process without frameworks")
    before = {name: sys.modules[name] for name in FRAMEWORKS if name in sys.modules}
    sys.modules.update(dict.fromkeys(FRAMEWORKS))  # type: ignore[arg-type]  # None: import raises ModuleNotFoundError
    try:
        yield
    finally:
        for name in FRAMEWORKS:
            del sys.modules[name]
        sys.modules.update(before)


def saved_replays(folder: Path) -> Sequence[ReplayCell]:
    """All that are kept under the folder, by weights and variant."""
    return [ReplayCell.load(path) for path in sorted(folder.glob("replays/seed-*/*.json"))]
