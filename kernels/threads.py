"""Work on several threads: kernels release the interpreter, so that plain threads are enough and calls may overlap."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from queue import Empty, SimpleQueue
from typing import TypeVar

from ..errors import InputError

T = TypeVar("T")


def usable_threads(threads: int | None) -> int:
    """`threads`, or the number of cores that this process may use."""
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if threads < 1:
        raise InputError(f"threads={threads}", expected="at least 1")
    return threads


def run_all(work: Callable[[T], object], shares: Iterable[T], threads: int) -> None:
    """work(share) for each share, on up to `threads` threads, this one among them; each takes the next one."""
    queue: SimpleQueue[T] = SimpleQueue()
    count = 0
    for share in shares:
        queue.put(share)
        count += 1

    def take() -> None:
        while True:
            try:
                share = queue.get_nowait()
            except Empty:
                return
            work(share)

    helpers = [_pool(threads).submit(take) for _ in range(min(threads, count) - 1)]
    try:
        take()
    finally:
        for helper in helpers:
            helper.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="refnet")
