"""Shares of work: each done once, on as many threads as asked, whatever fails and whoever calls at the same time."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

import numpy as np
import pytest

from refnet.arithmetic import Arithmetic
from refnet.errors import InputError
from refnet.kernels import matmul, threads
from refnet.kernels.convolution import convolve, pack_kernel
from refnet.kernels.team import STRIDE, Team
from refnet.kernels.threads import run_all, run_kernel, run_together, usable_threads


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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_process_forked_while_a_team_is_made_makes_its_own() -> None:
    reader, writer = os.pipe()
    with threads._making:
        child = os.fork()
        if not child:
            run_all(lambda _: None, range(4), 3)
            os.write(writer, b"done")
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 9) == b"done"


needs_timer = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timer signals")


@pytest.fixture
def interrupted() -> Iterator[Callable[..., None]]:
    """Ctrl-C after so many seconds, and so many times."""
    left: list[int] = []

    def interrupt(*_: object) -> None:
        if left:
            left.pop()
            raise KeyboardInterrupt

    def begin(seconds: float, times: int = 1) -> None:
        left[:] = range(times)
        signal.setitimer(signal.ITIMER_REAL, seconds, seconds if times > 1 else 0)

    before = signal.signal(signal.SIGALRM, interrupt)
    yield begin
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@needs_timer
def test_an_interrupt_is_raised_when_the_helpers_are_done(interrupted: Callable[..., None]) -> None:
    """A helper that is at work writes into arrays that the caller may free; and it begins nothing new."""
    leader, ended = threading.get_ident(), []

    def work(share: int) -> None:
        if threading.get_ident() == leader:
            time.sleep(5)
        time.sleep(0.3)
        ended.append(share)

    run_all(lambda _: None, range(2), 2)  # the team is there
    interrupted(0.05, times=3)  # the second and the third while it waits for the helper
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_all(work, range(50), 2)
    seen, seconds = list(ended), time.monotonic() - begin
    time.sleep(0.5)
    assert ended == seen and len(seen) <= 1 and seconds < 4


@pytest.mark.parametrize("asleep", [False, True], ids=["helpers awake", "helpers asleep"])
@pytest.mark.parametrize("interpreted", [True, False], ids=["Python work", "a kernel"])
def test_an_interrupt_anywhere_leaves_the_team_whole(interpreted: bool, asleep: bool) -> None:
    """It is raised in turn at every point of the leader at which Python looks for signals: where a function begins, and
    where one written in C returns. Helpers that are never woken again would hang this test."""
    places: list[int] = []
    team = threads._team(3)

    def go() -> None:
        if interpreted:
            run_together(lambda: places.append(threading.get_ident()), 3)
        else:
            matmul(a, a, threads=3)

    def raise_at(point: int) -> bool:
        """Whether there is such a point in go()."""
        seen = -1

        def look(frame: FrameType, event: str, what: object) -> None:
            nonlocal seen
            inside = seen >= 0 or frame.f_code in (run_kernel.__code__, run_together.__code__)
            if inside and event in ("call", "c_return") and what is not sys.setprofile:
                seen += 1
                if seen == point:
                    sys.setprofile(None)
                    raise KeyboardInterrupt

        try:
            sys.setprofile(look)
            go()
        except KeyboardInterrupt:
            pass
        finally:
            sys.setprofile(None)
        return seen >= point

    a = np.ones((64, 64), np.float32)
    go()
    point = 0
    while raise_at(point):
        assert not team.lock.locked() and set(team._done[::STRIDE]) == {team._counters[0]}
        places.clear()
        if asleep:
            time.sleep(0.01)
        run_together(lambda: places.append(threading.get_ident()), 3)
        assert len(set(places)) == len(places) == 3
        point += 1
    assert point > 10


@needs_timer
def test_no_output_is_written_after_an_interrupted_convolution(interrupted: Callable[..., None]) -> None:
    rng, arithmetic = np.random.default_rng(0), Arithmetic()
    x, out = rng.standard_normal((1, 28, 28, 64), np.float32), np.empty((1, 28, 28, 64), np.float32)
    packed = pack_kernel(rng.standard_normal((3, 3, 64, 64), np.float32), arithmetic)

    def go() -> None:
        around = ((1, 1), (1, 1))
        convolve(x, packed, None, strides=(1, 1), padding=around, arithmetic=arithmetic, threads=6, out=out)

    go()
    begin = time.perf_counter()
    go()
    seconds, interrupts = time.perf_counter() - begin, 0
    for _ in range(60):
        out[...] = np.nan
        try:
            interrupted(rng.uniform(0.1, 1) * seconds + 1e-6)
            go()
            signal.setitimer(signal.ITIMER_REAL, 0)
            time.sleep(0.001)  # a signal that is on its way arrives here
        except KeyboardInterrupt:
            interrupts += 1
            seen = out.copy()
            time.sleep(0.02)
            assert np.array_equal(seen, out, equal_nan=True)
    assert interrupts
