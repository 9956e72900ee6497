"""Work on several threads ends as a whole, whatever happens to a part of it."""

from __future__ import annotations

from threading import Event

import pytest

from refnet.backends.process import StoppedError
from refnet.backends.side_by_side import as_they_come, side_by_side

WAIT = 30  # seconds, of what takes none


def test_results_are_in_the_order_of_the_items() -> None:
    first_may_end = Event()

    def work(item: int) -> int:
        if item == 0:
            assert first_may_end.wait(WAIT)
        else:
            first_may_end.set()
        return 10 * item

    assert side_by_side(work, [0, 1, 2], 2, Event()) == [0, 10, 20]


def test_one_error_stops_the_others_and_is_raised() -> None:
    stop, begun = Event(), []

    def work(item: int) -> None:
        begun.append(item)
        if item == 0:
            raise ValueError("broken")
        assert stop.wait(WAIT)
        raise StoppedError

    with pytest.raises(ValueError, match="broken"):
        side_by_side(work, [0, 1, 2, 3], 2, stop)
    assert set(begun) <= {0, 1}


def test_what_comes_can_be_used_while_the_rest_is_made() -> None:
    first_is_used = Event()

    def work(stop, give):
        give("first")
        assert first_is_used.wait(WAIT)
        give("second")

    with as_they_come(work) as coming:
        assert next(coming) == "first"
        first_is_used.set()
        assert list(coming) == ["second"]


def test_what_the_work_raises_comes_last() -> None:
    def work(stop, give):
        give("first")
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"), as_they_come(work) as coming:
        assert next(coming) == "first"
        next(coming)


@pytest.mark.parametrize("raised", [KeyboardInterrupt, ValueError])
def test_what_the_block_raises_stops_the_work_before_it_is_raised(raised: type[BaseException]) -> None:
    ended = Event()

    def work(stop, give):
        assert stop.wait(WAIT)
        ended.set()
        raise StoppedError

    with pytest.raises(raised), as_they_come(work):
        raise raised
    assert ended.is_set()
