"""A thread whose floating-point environment is not the usual one is refused: its bits would be others."""

from __future__ import annotations

import ctypes
import ctypes.util
import platform
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import refnet
from refnet.arithmetic.environment import check_environment
from refnet.errors import InputError

# fenv.h of x86: FE_TONEAREST is 0
MODES = {"downward": 0x400, "upward": 0x800, "towards zero": 0xC00}
needs_x86 = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64") or not ctypes.util.find_library("m"),
    reason="the numbers of the rounding modes are those of x86's C library",
)


@pytest.fixture
def rounding() -> Iterator[Callable[[int], int]]:
    library = ctypes.CDLL(ctypes.util.find_library("m"))
    yield library.fesetround
    assert library.fesetround(0) == 0


def test_the_usual_environment_is_fine() -> None:
    check_environment()


@needs_x86
@pytest.mark.parametrize("mode", MODES)
def test_another_rounding_mode_is_refused(mode: str, rounding: Callable[[int], int]) -> None:
    assert rounding(MODES[mode]) == 0
    for call in (lambda: refnet.kernels.dot([1.0], [2.0]), lambda: refnet.kernels.integer_matmul([[1]], [[2]])):
        with pytest.raises(InputError, match="round to nearest"):
            call()


def test_a_thread_that_flushes_subnormals_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest number taken for zero, as where a product of it is flushed."""
    monkeypatch.setattr("refnet.arithmetic.environment.SMALLEST", {np.float32: np.float32(0)})
    with pytest.raises(InputError, match="subnormal"):
        refnet.kernels.dot([1.0], [2.0])
