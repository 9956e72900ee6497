"""Work on several threads: kernels release the interpreter, so that plain threads are enough and calls may overlap."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import count
from threading import Lock
from typing import TypeVar

import numpy as np

from ..errors import InputError
from .team import Team, run_alone

T = TypeVar("T")


def usable_threads(threads: int | None) -> int:
    """`threads`, or the number of cores that this process may use."""
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if isinstance(threads, bool) or not isinstance(threads, int | np.integer) or threads < 1:
        raise InputError(f"threads={threads!r}", expected="a whole number of at least 1")
    return int(threads)


def run_all(work: Callable[[T], object], shares: Sequence[T], threads: int) -> None:
    """work(share) for each share, on up to `threads` threads, this one among them; each takes the next one.

    What one of them raises, an interrupt too, is raised here; the others end the share that they are at.
    """
    places = count()  # next() of it is one step of the interpreter: no two threads get the same
    stopped = False

    def take() -> None:
        nonlocal stopped
        try:
            while not stopped and (place := next(places)) < len(shares):
                work(shares[place])
        except BaseException:
            stopped = True
            raise

    run_together(take, min(threads, len(shares)))


def run_together(work: Callable[[], object], threads: int) -> None:
    """work() on each of `threads` threads, this one among them; they share what is to be done by a counter of theirs.

    Where the team is in use, by another Python thread or by what called this, this thread calls it alone.
    """
    if team := _free_team(threads):
        with team.lock:
            team.call(work)
    else:
        work()


def run_kernel(function: int, code: int, table: int, threads: int) -> None:
    """run_together of a kernel at an address (jit.native), without the interpreter."""
    if team := _free_team(threads):
        with team.lock:
            team.run(function, code, table)
    else:
        run_alone(function, code, table)


def _free_team(threads: int) -> Team | None:
    """The team of that many threads, or None for one thread and where the team is in use.

    Who finds it free takes it by `with team.lock`, and waits where another came first: no interrupt comes between a
    lock and its `with`, while one that is only tried could stay locked for ever.
    """
    team = _team(threads) if threads > 1 else None
    return None if team is None or team.lock.locked() else team


_teams: dict[int, Team] = {}
_making = Lock()


def _team(threads: int) -> Team:
    """The team of that many threads: made once, kept as long as the process."""
    with _making:
        if threads not in _teams:
            _teams[threads] = Team(threads - 1)
        return _teams[threads]


def _forget_teams() -> None:
    """A forked process has none of its parent's threads, and the lock may have been theirs."""
    global _making
    _teams.clear()
    _making = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_teams)
