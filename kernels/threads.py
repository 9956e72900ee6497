"""Work on several threads: kernels release the interpreter, so that plain threads are enough and calls may overlap."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache
from itertools import count
from typing import TypeVar

from ..errors import InputError
from .team import Team

T = TypeVar("T")


def usable_threads(threads: int | None) -> int:
    """`threads`, or the number of cores that this process may use."""
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if threads < 1:
        raise InputError(f"threads={threads}", expected="at least 1")
    return threads


def run_all(work: Callable[[T], object], shares: Sequence[T], threads: int) -> None:
    """work(share) for each share, on up to `threads` threads, this one among them; each takes the next one.

    Where another Python thread is using the same team, this one does its work alone.
    """
    places = count()  # next() of it is one step of the interpreter: no two threads get the same

    def take() -> None:
        while (place := next(places)) < len(shares):
            work(shares[place])

    helpers = min(threads, len(shares)) - 1
    team = _team(helpers) if helpers > 0 else None
    if team is None or not team.lock.acquire(blocking=False):
        take()
        return
    try:
        team.call(take)
    finally:
        team.lock.release()


@cache
def _team(helpers: int) -> Team:
    return Team(helpers)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_team.cache_clear)  # a forked process has none of its parent's threads
