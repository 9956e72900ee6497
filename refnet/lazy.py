"""Attributes computed when they are first read; those of two instances at the same time, in two threads."""

from __future__ import annotations

import sys
from functools import cached_property as cached_property

if sys.version_info < (3, 12):
    from typing import Any, TypeVar

    T = TypeVar("T")
    _locking = cached_property

    class cached_property(_locking[T]):  # type: ignore[no-redef]  # noqa: N801
        """As Python 3.12 has it: before, all instances of a class share one lock, and wait for each other.

        Two threads that read one attribute of one instance at once may both compute it.
        """

        def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
            if instance is None:
                return self
            value = instance.__dict__[self.attrname] = self.func(instance)
            return value
