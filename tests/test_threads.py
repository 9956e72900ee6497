"""Shares of work: each done once, on as many threads as asked, whatever fails and whoever calls at the same time."""

from __future__ import annotations

import os
import threading
import time

import pytest

from refnet.errors import InputError
from refnet.kernels.team import Team
from refnet.kernels.threads import run_all, usable_threads


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("shares", [0, 1, 2, 100])
def test_every_share_is_done_once(threads: int, shares: int) -> None:
    done: list[int] = []
    for _ in range(20):
        done.clear()
        run_all(done.append, range(shares), threads)
        assert sorted(done) == list(range(shares))


def test_the_team_works_at_the_same_time() -> None:
    """Two shares that wait for each other can only end on two threads."""
    both = threading.Barrier(2, timeout=20)
    run_all(lambda _: both.wait(), range(2), 2)
    assert both.broken is False


def test_helpers_that_fell_asleep_wake_up() -> None:
    both = threading.Barrier(2, timeout=20)
    for _ in range(5):
        time.sleep(0.05)
        run_all(lambda _: both.wait(), range(2), 2)
    assert both.n_waiting == 0


@pytest.mark.parametrize("failing", [0, 1])
def test_what_one_thread_raises_is_raised_and_the_team_goes_on(failing: int) -> None:
    both = threading.Barrier(2, timeout=20)

    def work(share: int) -> None:
        both.wait()
        if share == failing:
            raise ZeroDivisionError(share)

    with pytest.raises(ZeroDivisionError):
        run_all(work, range(2), 2)
    done: list[int] = []
    run_all(done.append, range(10), 2)
    assert sorted(done) == list(range(10))


def test_callers_at_the_same_time_get_their_own_work_done() -> None:
    results: dict[int, list[int]] = {caller: [] for caller in range(8)}

    def call(caller: int) -> None:
        for _ in range(50):
            run_all(results[caller].append, range(7), 2)

    callers = [threading.Thread(target=call, args=(caller,)) for caller in results]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert all(sorted(done) == sorted(list(range(7)) * 50) for done in results.values())


def test_a_call_returns_only_when_all_helpers_are_done() -> None:
    team, ended = Team(2), []

    def work() -> None:
        time.sleep(0.02 * len(threading.current_thread().name))
        ended.append(1)

    for turn in range(1, 4):
        team.call(work)
        assert len(ended) == 3 * turn


def test_threads_are_the_usable_cores_or_what_was_asked() -> None:
    assert usable_threads(None) >= 1
    assert usable_threads(7) == 7
    with pytest.raises(InputError, match="threads=0"):
        usable_threads(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_makes_its_own_team() -> None:
    run_all(lambda _: None, range(4), 2)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        done: list[int] = []
        run_all(done.append, range(10), 2)
        os.write(writer, bytes(sorted(done)))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 100) == bytes(range(10))
