"""Threads that wait for work without sleep: a network is fifty short steps, and waking a thread takes as long as one.

A helper spins outside the interpreter's lock for a moment before it sleeps; whoever leads the team spins for its
helpers in the same way. Helpers are daemons: they never keep a process alive.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from collections.abc import Callable
from functools import cache
from threading import Event, Lock, Thread

import numpy as np
from numba import types

from .jit import compiled, kernel
from .memory import call_native, load_now, take_next

SPINS = 2_000_000  # looks at a counter before a helper sleeps: about a millisecond
STRIDE = 16  # counters lie this many apart, so that no two share a cache line

_current_core: Callable[[], int] | None = (
    getattr(ctypes.CDLL(None), "sched_getcpu", None) if hasattr(os, "sched_setaffinity") else None
)


STARTED, FUNCTION, CODE, TABLE = range(4)  # the leader's counter of turns, and the kernel of this turn


@kernel
def spin(counters: np.ndarray, place: int, wanted: int, spins: int) -> bool:
    """Whether counters[place] has come to `wanted` within so many looks."""
    address = counters.ctypes.data + place * counters.itemsize
    looks = 0
    while load_now(address) < wanted:
        looks += 1
        if looks == spins:
            return False
    return True


@kernel
def start(counters: np.ndarray, function: int, code: int, table: int) -> None:
    """The next turn begins."""
    counters[FUNCTION], counters[CODE], counters[TABLE] = function, code, table
    take_next(counters.ctypes.data + STARTED * counters.itemsize)


@kernel
def run_here(function: int, code: int, table: int) -> None:
    call_native(function, code, table)


def run_alone(function: int, code: int, table: int) -> None:
    """The kernel at an address (jit.native) on this thread, which gives the interpreter's lock away meanwhile."""
    _runner()(function, code, table)


@cache
def _runner() -> Callable[..., None]:
    return compiled(run_here, *[types.int64] * 3)


@kernel
def serve(counters: np.ndarray, done: np.ndarray, place: int, turn: int, spins: int) -> tuple[int, bool]:
    """A helper's turns, as long as kernels come: (the next turn, whether it has begun and is for the interpreter)."""
    while spin(counters, STARTED, turn, spins):
        if not counters[FUNCTION]:
            return turn, True
        call_native(counters[FUNCTION], counters[CODE], counters[TABLE])
        take_next(done.ctypes.data + place * STRIDE * done.itemsize)
        turn += 1
    return turn, False


class Team:
    """The calling thread and `helpers` more, which all call the same function; one caller leads at a time.

    A kernel reaches them without the interpreter, whose lock would be handed on for longer than a short kernel runs.
    """

    def __init__(self, helpers: int) -> None:
        self.lock = Lock()
        integers, number = types.Array(types.int64, 1, "C"), types.int64
        self._spin = compiled(spin, integers, *[number] * 3)
        self._start = compiled(start, integers, *[number] * 3)
        self._serve = compiled(serve, integers, integers, *[number] * 3)
        self._counters = np.zeros(4, np.int64)
        self._done = np.zeros(helpers * STRIDE, np.int64)
        self._asleep = [Event() for _ in range(helpers)]
        self._wake = [Event() for _ in range(helpers)]
        self._failures: list[BaseException] = []
        self._work: Callable[[], object] = _nothing
        self._threads = [
            Thread(target=self._help, args=(place,), name=f"refnet-{place}", daemon=True) for place in range(helpers)
        ]
        for thread in self._threads:
            thread.start()

    def run(self, function: int, code: int, table: int) -> None:
        """The kernel at an address (jit.native) on every thread of the team; it returns when all are done."""
        self._lead(lambda: run_alone(function, code, table), function, code, table)

    def call(self, work: Callable[[], object]) -> None:
        """work() on every thread of the team; it returns, or raises what one of them raised, when all are done."""
        self._work = work
        try:
            self._lead(work, 0, 0, 0)
        finally:
            self._work = _nothing
            failures, self._failures = self._failures, []
        if failures:
            raise failures[0]

    def _lead(self, own: Callable[[], object], function: int, code: int, table: int) -> None:
        self._start(self._counters, function, code, table)
        for thread, asleep, wake in zip(self._threads, self._asleep, self._wake, strict=True):
            if asleep.is_set():
                _keep_off_this_core(thread)
                wake.set()
        try:
            own()
        finally:
            for place in range(len(self._wake)):
                while not self._spin(self._done, place * STRIDE, int(self._counters[STARTED]), SPINS):
                    time.sleep(0)  # a helper may need this core

    def _help(self, place: int) -> None:
        turn = 1
        while True:
            turn, called = self._serve(self._counters, self._done, place, turn, SPINS)
            if not called:
                self._sleep(place, turn)
                continue
            try:
                self._work()
            except BaseException as failure:  # whatever it is, it is the leader's to raise
                self._failures.append(failure)
            self._done[place * STRIDE] = turn
            turn += 1

    def _sleep(self, place: int, turn: int) -> None:
        """Until the leader has started turn `turn`. It is told of the sleep before the last look, so none is missed."""
        self._asleep[place].set()
        while self._counters[STARTED] < turn:
            self._wake[place].wait()
            self._wake[place].clear()
        self._asleep[place].clear()


def _keep_off_this_core(thread: Thread) -> None:
    """Linux wakes a thread on the core of the one that wakes it, where it would wait for that one's work to end."""
    if _current_core is None or thread.native_id is None:
        return
    others = os.sched_getaffinity(0) - {_current_core()}
    if others:
        with contextlib.suppress(OSError):  # not allowed: the thread works all the same, a little later
            os.sched_setaffinity(thread.native_id, others)


def _nothing() -> None:
    """Between two calls."""
