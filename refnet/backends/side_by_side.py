"""Work on several threads that ends as a whole: with all results, or with the first error and nothing still running."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from threading import Event
from typing import TypeVar

from .process import StoppedError

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(work: Callable[[Item], Result], items: Sequence[Item], at_once: int, stop: Event) -> list[Result]:
    """work(item) for each, `at_once` at a time, in the order of the items.

    What one of them raises, or an interrupt of this thread, sets `stop`, which the others obey by raising StoppedError;
    no other is begun, and it is raised here when all have ended.
    """

    def begin(item: Item) -> Result:
        if stop.is_set():
            raise StoppedError
        try:
            return work(item)
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(at_once) as pool:
        futures = [pool.submit(begin, item) for item in items]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            stop.set()
    causes = [error for future in futures if (error := future.exception()) and not isinstance(error, StoppedError)]
    if causes:
        raise causes[0]
    return [future.result() for future in futures]
