"""For a project's own tests: is what my model answers the network up to rounding?

`assert_rounding_only(outputs, image, weights)` in any test, and the pytest fixture `refnet_truth`, which keeps what is
slow for the whole session. The names are imported when they are first used: pytest loads the plugin at every start.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .baseline import worse_than as worse_than
    from .expected import Expected as Expected
    from .expected import assert_rounding_only as assert_rounding_only
    from .expected import expect as expect

_HOME = {
    "Expected": "expected",
    "assert_rounding_only": "expected",
    "expect": "expected",
    "worse_than": "baseline",
}  # name -> module

__all__ = ["Expected", "assert_rounding_only", "expect", "worse_than"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
