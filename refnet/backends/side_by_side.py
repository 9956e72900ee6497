"""Work on several threads that ends as a whole: with all results, or with the first error and nothing still running."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from queue import SimpleQueue
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
        try:
            futures = [pool.submit(begin, item) for item in items]
            wait(futures, return_when=FIRST_EXCEPTION)
        except BaseException:
            stop.set()
            raise
    causes = [error for future in futures if (error := future.exception()) and not isinstance(error, StoppedError)]
    if causes:
        raise causes[0]
    return [future.result() for future in futures]


@contextmanager
def as_they_come(work: Callable[[Event, Callable[[Item], None]], object]) -> Iterator[Iterator[Item]]:
    """work(stop, give), on a thread of its own; an iterator of what it gives, as it comes, which must not be None.

    What work raises is raised by the iterator, after all that it gave: a block should come to its end. What the block
    raises, or an interrupt of this thread, sets `stop`, which work must obey by raising StoppedError; it is raised when
    work has ended.
    """
    stop, given = Event(), SimpleQueue[Item | None]()
    with ThreadPoolExecutor(1) as pool:
        try:
            future = pool.submit(work, stop, given.put)
            future.add_done_callback(lambda _: given.put(None))

            def come() -> Iterator[Item]:
                while (item := given.get()) is not None:
                    yield item
                future.result()

            yield come()
        except BaseException:
            stop.set()
            raise
