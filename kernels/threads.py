"""Work on several threads: kernels release the interpreter, so that plain threads are enough and calls may overlap."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import count
from threading import Lock
from typing import TypeVar

from ..errors import InputError
from .team import Team

T = TypeVar("T")


def usable_threads(threads: int | None) -> int:
    """`threads`, or the number of cores that this process may use."""
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not isinstance(threads, int) or threads < 1:
        raise InputError(f"threads={threads!r}", expected="a whole number of at least 1")
    return threads


def run_all(work: Callable[[T], object], shares: Sequence[T], threads: int) -> None:
    """work(share) for each share, on up to `threads` threads, this one among them; each takes the next one.

    Where another Python thread is using the same team, this one does its work alone.
    """
    places = count()  # next() of it is one step of the interpreter: no two threads get the same

    def take() -> None:
        while (place := next(places)) < len(shares):
            work(shares[place])

    team = _team(threads) if min(threads, len(shares)) > 1 else None
    if team is None or not team.lock.acquire(blocking=False):
        take()
        return
    try:
        team.call(take)
    finally:
        team.lock.release()


_teams: dict[int, Team] = {}
_making = Lock()


def _team(threads: int) -> Team:
    """The team of that many threads: made once, kept as long as the process."""
    with _making:
        if threads not in _teams:
            _teams[threads] = Team(threads - 1)
        return _teams[threads]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_teams.clear)  # a forked process has none of its parent's threads
