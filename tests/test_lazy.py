"""Attributes of two instances are computed at the same time, as from Python 3.12 on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from refnet.lazy import cached_property


class Meeting:
    """Two of them end only together."""

    both = Barrier(2, timeout=20)
    computed = 0

    @cached_property
    def value(self) -> int:
        self.both.wait()
        self.computed += 1
        return self.computed


def test_two_instances_do_not_wait_for_each_other() -> None:
    instances = [Meeting(), Meeting()]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda it: it.value, instances)) == [1, 1]
    assert [it.value for it in instances] == [1, 1], "computed once"
    assert isinstance(Meeting.value, cached_property)
