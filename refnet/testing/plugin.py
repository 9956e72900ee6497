"""The pytest plugin: a fixture that computes the truth of a picture once a session; until then it imports nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from .expected import Expected


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("refnet", "the truth of ResNet50")
    group.addoption(
        "--refnet-truth",
        default=None,
        metavar="NAME",
        help="certified (default), or float64: what refnet_truth measures from",
    )
    group.addoption(
        "--refnet-threads",
        type=int,
        default=None,
        metavar="N",
        help="threads of refnet_truth (default: all it may use)",
    )


@pytest.fixture(scope="session")
def refnet_truth(pytestconfig: pytest.Config) -> Callable[..., Expected]:
    """`refnet_truth(image, weights)`: what a model may answer, a `refnet.testing.Expected`, computed once a session.

    `refnet_truth("cat.jpg", "w.h5").assert_rounding_only(model.predict(x))` fails unless the outputs are rounding.
    """
    from . import expect
    from .keys import key_of

    options = {
        "truth": pytestconfig.getoption("refnet_truth"),
        "threads": pytestconfig.getoption("refnet_threads"),
    }
    usual = {name: value for name, value in options.items() if value is not None}
    known: dict[Any, Expected] = {}

    def truth(image: Any, weights: Any = "synthetic", **more: Any) -> Expected:
        key = key_of(image, weights, more)
        if key not in known:
            known[key] = expect(image, weights, **{**usual, **more})
        return known[key]

    return truth
