"""One run of the benchmark: which rows there will be, and measuring them one by one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from subprocess import CalledProcessError
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np

from ..arithmetic import Arithmetic, DoubleDouble
from ..certificate import certify
from ..errors import InputError, VariantError
from ..forward import predict
from ..reveal import Profile
from ..weights import Weights, save_weights
from .arithmetics import BASE, label, parse, reference
from .error import relative_error
from .memory import peak_memory
from .peers import SGEMM, Peer, peer_worker, sgemm_worker
from .pictures import fresh_pictures
from .replays import REPLAYS, Pass, replays_of
from .rows import Row
from .shapes import CALLS, Convolution, convolution_timer, convolutions
from .timing import PAUSE, Timer, in_turn
from .worker import Worker

ERROR_SEED = 0  # of the picture on which errors are measured
Progress = Callable[[str], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """What to measure. arithmetics: each after its reference; timed with one picture at a time.

    batches: pictures a call, beside the peers.  repeats: of each timed call.  shapes: whether convolutions are timed.
    memory: whether the peak is measured.  pause: seconds before each timed call.  profiles: what is replayed beside the
    plain pass; of the session's picture size.
    """

    arithmetics: tuple[Arithmetic, ...]
    peers: tuple[Peer, ...]
    threads: int
    batches: tuple[int, ...] = (1, 8)
    repeats: int = 9
    shapes: bool = True
    memory: bool = True
    pause: float = PAUSE
    profiles: tuple[Profile, ...] = ()

    def __post_init__(self) -> None:
        if not self.batches or min(self.batches) < 1 or len(set(self.batches)) < len(self.batches):
            raise InputError(f"batches {self.batches}", expected="different numbers of at least 1")
        if self.repeats < 1 or self.threads < 1:
            raise InputError(f"{self.repeats} repeats on {self.threads} threads", expected="at least 1 of each")


class Session:
    """A plan, weights, and a scene (1, height, width, 3) on which to carry it out."""

    def __init__(self, plan: Plan, weights: Weights, base: np.ndarray, *, cache: Path | None = None) -> None:
        self.plan, self.weights, self.base, self.cache = plan, weights, base, cache
        self.convolutions = convolutions(weights.graph(base.shape[1:3])) if plan.shapes else ()

    def __len__(self) -> int:
        """How many rows there will be."""
        beside = len(self.plan.peers) * len(self.plan.batches)
        replays = REPLAYS * len(self.plan.profiles)
        return beside + len(self.plan.arithmetics) + replays + len(self.convolutions) + self.plan.memory

    def rows(self, progress: Progress = lambda name: None) -> Iterator[Row]:
        """Each row as soon as it is measured; `progress` is told what comes next."""
        for peer in self.plan.peers:
            yield from self._beside(peer, progress)
        for arithmetic in self.plan.arithmetics:
            progress(label(arithmetic))
            yield self._arithmetic(arithmetic)
        for profile in self.plan.profiles:
            yield from self._replays(profile, progress)
        if self.plan.shapes:
            yield from self._shapes(progress)
        if self.plan.memory:
            progress("peak memory")
            yield self._memory()

    def _beside(self, peer: Peer, progress: Progress) -> Iterator[Row]:
        """refnet in BASE in turn with a peer, a row for each batch size."""

        def measure(worker: Worker, batch: int) -> Row:
            progress(f"{BASE} beside {peer.name}, batch {batch}")
            return self._beside_batch(peer, worker, batch)

        def failed(batch: int, reason: str) -> Row:
            return Row(peer.kind, BASE, other=peer.name, batch=batch, reason=reason)

        progress(f"{peer.name}, starting")
        opened = peer_worker(peer, self.weights, self.base, self.plan.threads, self.cache)
        yield from _each(opened, self.plan.batches, measure, failed)

    def _beside_batch(self, peer: Peer, worker: Worker, batch: int) -> Row:
        logits = worker.ask(batch=batch, seed=ERROR_SEED)["logits"]
        timers = self._timer(parse(BASE), self.weights, batch), _worker_timer(worker, batch=batch)
        own, theirs = in_turn(timers, self.plan.repeats, pause=self.plan.pause)
        # The first picture of a seed is the same in every batch.
        error = self._error(np.asarray(logits)[None])
        return Row(peer.kind, BASE, own, peer.name, theirs, batch, other_error=error)

    def _arithmetic(self, arithmetic: Arithmetic) -> Row:
        """An arithmetic in turn with its reference."""
        error = self._error(self._logits(arithmetic))
        own, other = self._timer(arithmetic, self.weights, 1), reference(arithmetic)
        if other is None:
            (values,) = in_turn((own,), self.plan.repeats, pause=self.plan.pause)
            return Row("arithmetic", label(arithmetic), values, error=error)
        timers = own, self._timer(other, self._twin, 1)
        values, other_values = in_turn(timers, self.plan.repeats, pause=self.plan.pause)
        return Row("arithmetic", label(arithmetic), values, label(other), other_values, error=error)

    def _replays(self, profile: Profile, progress: Progress) -> Iterator[Row]:
        """A backend's own orders and forms in turn with the plain pass."""
        for each in replays_of(profile, self.weights, self._twin, self.plan.threads):
            progress(f"replay of {each.subject}")
            timers = self._timer_of(each.own, 1), self._timer_of(each.plain, 1)
            own, plain = in_turn(timers, self.plan.repeats, pause=self.plan.pause)
            yield Row("replay", each.subject, own, each.other, plain)

    def _shapes(self, progress: Progress) -> Iterator[Row]:
        def measure(worker: Worker, convolution: Convolution) -> Row:
            progress(f"{convolution} beside {SGEMM}")
            return self._shape(convolution, worker)

        def failed(convolution: Convolution, reason: str) -> Row:
            return Row("shape", str(convolution), other=SGEMM, reason=reason)

        yield from _each(sgemm_worker(self.plan.threads), self.convolutions, measure, failed)

    def _shape(self, convolution: Convolution, worker: Worker) -> Row:
        timers = (
            convolution_timer(convolution, self.plan.threads),
            _worker_timer(worker, shape=convolution.product, calls=CALLS),
        )
        own, theirs = in_turn(timers, self.plan.repeats, pause=self.plan.pause)
        return Row("shape", str(convolution), own, SGEMM, theirs)

    def _memory(self) -> Row:
        with TemporaryDirectory(prefix="refnet-") as temporary:
            folder = Path(temporary)
            file = folder / "weights.safetensors"
            save_weights(self.weights, file)
            try:
                peak = peak_memory(file, self.base, self.plan.threads, folder)
            except CalledProcessError as error:
                return Row("memory", BASE, unit="bytes", reason=(error.stderr.strip().splitlines() or ["failed"])[-1])
        return Row("memory", BASE, (float(peak),), unit="bytes")

    def _timer(self, arithmetic: Arithmetic, weights: Weights, batch: int) -> Timer:
        """predict of pictures that it has not seen, logits as the peers give them."""
        return self._timer_of(lambda pictures: self._predict(pictures, arithmetic, weights), batch)

    def _timer_of(self, run: Pass, batch: int) -> Timer:
        def seconds(seed: int) -> float:
            pictures = fresh_pictures(self.base, batch, seed)
            begin = time.perf_counter()
            run(pictures)
            return time.perf_counter() - begin

        return seconds

    def _predict(self, pictures: np.ndarray, arithmetic: Arithmetic, weights: Weights) -> Any:
        return predict(
            pictures,
            weights,
            precision=arithmetic.precision,
            accumulate=arithmetic.accumulate,
            order=arithmetic.order,
            fma=arithmetic.fma,
            threads=self.plan.threads,
            classifier_activation=None,
        )

    def _logits(self, arithmetic: Arithmetic) -> Any:
        return self._predict(fresh_pictures(self.base, 1, ERROR_SEED), arithmetic, self.weights)

    def _error(self, logits: Any) -> float:
        """Relative L2 error of the logits of the error's picture."""
        return relative_error(logits, self._truth)

    @cached_property
    def _truth(self) -> Any:
        """The logits of the error's picture, certified: a pair, for the errors of pairs."""
        picture = fresh_pictures(self.base, 1, ERROR_SEED)
        certificate = certify(picture, self.weights, threads=self.plan.threads)
        logits = next(reversed(list(certificate.layers.values())))
        return DoubleDouble(logits.hi, logits.lo)

    @cached_property
    def _twin(self) -> Weights:
        """The same network under another hash, for the reference of a row.

        refnet keeps the packed kernels of one arithmetic for each Weights: two that take turns need one each.
        """
        last = next(reversed(list(self.weights)))
        return Weights({**self.weights, last: np.nextafter(self.weights[last], np.float32(np.inf))})


def _each(
    opened: AbstractContextManager[Worker],
    things: Iterable[T],
    measure: Callable[[Worker, T], Row],
    failed: Callable[[T, str], Row],
) -> Iterator[Row]:
    """A row for each thing, all by one worker; once it fails, those that are left have rows that say why."""
    waiting = list(things)
    try:
        with opened as worker:
            while waiting:
                yield measure(worker, waiting[0])
                waiting.pop(0)
    except VariantError as error:
        yield from [failed(thing, str(error)) for thing in waiting]


def _worker_timer(worker: Worker, **request: object) -> Timer:
    def seconds(seed: int) -> float:
        return float(worker.ask(seed=seed, **request)["seconds"])

    return seconds
