"""Times taken in turn: A B A B, so that what the machine does meanwhile falls on both alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count

Timer = Callable[[int], float]
"""Called with a seed that no call had before, it makes its input from it, runs once, and gives the seconds it took."""

WARM_UPS = 2  # the first call compiles and packs; some frameworks do so once more at the second
PAUSE = 0.05  # seconds in which the other side's threads, which wait for work by spinning, fall asleep
FIRST_SEED = 1  # 0 is the picture on which errors are measured


def in_turn(timers: tuple[Timer, ...], repeats: int, *, pause: float = PAUSE) -> tuple[tuple[float, ...], ...]:
    """`repeats` times of each timer, after warming up; the i-th times were taken one right after the other."""
    seeds = count(FIRST_SEED)
    for timer in timers:
        for _ in range(WARM_UPS):
            timer(next(seeds))
    taken: tuple[list[float], ...] = tuple([] for _ in timers)
    for _ in range(repeats):
        for timer, times in zip(timers, taken, strict=True):
            time.sleep(pause)
            times.append(timer(next(seeds)))
    return tuple(map(tuple, taken))
