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
from threading import Event, Lock, Thread
from typing import Any

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .jit import compiled, kernel

SPINS = 2_000_000  # looks at a counter before a helper sleeps: about a millisecond
STRIDE = 16  # counters lie this many apart, so that no two share a cache line

_current_core: Callable[[], int] | None = (
    getattr(ctypes.CDLL(None), "sched_getcpu", None) if hasattr(os, "sched_setaffinity") else None
)


@intrinsic
def _load_now(typing: Any, address: Any) -> Any:
    """The integer at an address as it is now, whichever thread wrote it."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], cgutils.intp_t.as_pointer())
        return builder.load_atomic(pointer, "acquire", 8)

    return types.intp(types.intp), codegen


load_now: Any = _load_now


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


class Team:
    """The calling thread and `helpers` more, which all call the same function; one caller leads at a time."""

    def __init__(self, helpers: int) -> None:
        self.lock = Lock()
        self._spin = compiled(spin, types.Array(types.int64, 1, "C"), *[types.int64] * 3)
        self._started = np.zeros(1, np.int64)
        self._done = np.zeros(helpers * STRIDE, np.int64)
        self._asleep = [Event() for _ in range(helpers)]
        self._wake = [Event() for _ in range(helpers)]
        self._failures: list[BaseException] = []
        self._work: Callable[[], None] = _nothing
        self._threads = [
            Thread(target=self._help, args=(place,), name=f"refnet-{place}", daemon=True) for place in range(helpers)
        ]
        for thread in self._threads:
            thread.start()

    def call(self, work: Callable[[], None]) -> None:
        """work() on every thread of the team; it returns, or raises what one of them raised, when all are done."""
        self._work = work
        self._started[0] += 1
        for thread, asleep, wake in zip(self._threads, self._asleep, self._wake, strict=True):
            if asleep.is_set():
                _keep_off_this_core(thread)
                wake.set()
        try:
            work()
        finally:
            for place in range(len(self._wake)):
                while not self._spin(self._done, place * STRIDE, int(self._started[0]), SPINS):
                    time.sleep(0)  # a helper may need this core
            self._work = _nothing
            failures, self._failures = self._failures, []
        if failures:
            raise failures[0]

    def _help(self, place: int) -> None:
        turn = 0
        while True:
            turn += 1
            if not self._spin(self._started, 0, turn, SPINS):
                self._sleep(place, turn)
            try:
                self._work()
            except BaseException as failure:  # whatever it is, it is the leader's to raise
                self._failures.append(failure)
            self._done[place * STRIDE] = turn

    def _sleep(self, place: int, turn: int) -> None:
        """Until the leader has started turn `turn`. It is told of the sleep before the last look, so none is missed."""
        self._asleep[place].set()
        while self._started[0] < turn:
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
