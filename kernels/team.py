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
from threading import Lock, Thread

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
def all_done(counters: np.ndarray, done: np.ndarray, spins: int) -> bool:
    """Whether every helper has ended this turn, within so many looks at each."""
    late = 0
    for place in range(0, done.size, STRIDE):
        late += not spin(done, place, counters[STARTED], spins)
    return late == 0


@kernel
def lead(counters: np.ndarray, done: np.ndarray, function: int, code: int, table: int, spins: int) -> bool:
    """A whole turn of a kernel, in one step of the interpreter: no interrupt comes between its start and its end."""
    start(counters, function, code, table)
    call_native(function, code, table)
    return all_done(counters, done, spins)


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
        self._start = compiled(start, integers, *[number] * 3)
        self._lead = compiled(lead, integers, integers, *[number] * 4)
        self._all_done = compiled(all_done, integers, integers, number)
        self._serve = compiled(serve, integers, integers, *[number] * 3)
        self._counters = np.zeros(4, np.int64)
        self._done = np.zeros(helpers * STRIDE, np.int64)
        self._asleep = [False] * helpers
        # Locked until the leader wakes a helper. To release a bare lock is one step, which no interrupt can cut in two
        # as it can an Event's: that one is then set and the sleeper never told, or its own lock is kept for ever.
        self._wake = [Lock() for _ in range(helpers)]
        for lock in self._wake:
            lock.acquire()
        self._failures: list[BaseException] = []
        self._cores: set[int] = set()
        self._work: Callable[[], object] = _nothing
        self._threads = [
            Thread(target=self._help, args=(place,), name=f"refnet-{place}", daemon=True) for place in range(helpers)
        ]
        for thread in self._threads:
            thread.start()

    def run(self, function: int, code: int, table: int) -> None:
        """The kernel at an address (jit.native) on every thread of the team; it returns when all are done."""

        def begin() -> None:
            self._wake_helpers()
            self._lead(self._counters, self._done, function, code, table, SPINS)

        self._finish(begin)

    def call(self, work: Callable[[], object]) -> None:
        """work() on every thread of the team; it returns, or raises what one of them raised, when all are done."""

        def begin() -> None:
            self._work = work
            self._start(self._counters, 0, 0, 0)
            self._wake_helpers()
            work()

        self._finish(begin)

    def _finish(self, begin: Callable[[], None]) -> None:
        """begin(), and until all helpers are done, whatever interrupts it: they write where this thread's arrays are.

        Raises what came first: what begin() raises, an interrupt, or the helpers' own failures.
        """
        failure, begun = None, False
        while True:
            try:
                if not begun:
                    begun = True
                    begin()
                while not self._all_done(self._counters, self._done, SPINS):
                    self._wake_helpers()
                    time.sleep(0)  # a helper may need this core
                break
            except BaseException as raised:  # what work raises, or an interrupt: both wait for the helpers
                failure = failure or raised
        self._work = _nothing
        failures, self._failures = [failure, *self._failures], []
        if first := next(filter(None, failures), None):
            raise first

    def _wake_helpers(self) -> None:
        """Those that sleep look for work again; one that finds none for too long sleeps again, and is woken again."""
        for thread, asleep, wake in zip(self._threads, self._asleep, self._wake, strict=True):
            if asleep and wake.locked():
                self._cores = _keep_off_this_core(thread)
                wake.release()

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
        """Until the leader wakes it. The leader is told of the sleep before the last look, so that it wakes in time."""
        self._asleep[place] = True
        if self._counters[STARTED] < turn:
            self._wake[place].acquire()
        self._asleep[place] = False
        _use_cores(self._cores)


def _keep_off_this_core(thread: Thread) -> set[int]:
    """Linux wakes a thread on the core of the one that wakes it, where it would wait for that one's work to end.

    Returns the cores of this thread, for which the other is free again as soon as it is awake.
    """
    if _current_core is None or thread.native_id is None:
        return set()
    cores = os.sched_getaffinity(0)
    if others := cores - {_current_core()}:
        with contextlib.suppress(OSError):  # not allowed: the thread works all the same, a little later
            os.sched_setaffinity(thread.native_id, others)
    return cores


def _use_cores(cores: set[int]) -> None:
    """This thread may run on these cores."""
    if cores:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, cores)


def _nothing() -> None:
    """Between two calls."""
