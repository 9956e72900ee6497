"""The number formats are those of NumPy and ml_dtypes, and rounding onto them is one rounding, ties to even."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import judge
import ml_dtypes
import numba
import numpy as np
import pytest
from arithmetics import special_values
from hypothesis import given
from hypothesis import strategies as st
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from refnet.arithmetic import FORMATS, Format, round_to
from refnet.arithmetic.formats import format_named
from refnet.errors import InputError
from refnet.kernels.llvm_ops import LLVMOps
from refnet.kernels.rounding import operands

TYPES = {
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float32": np.float32,
    "float64": np.float64,
}  # tf32 is no type of NumPy or ml_dtypes
NARROW = ("float16", "bfloat16")
EVERY = pytest.mark.parametrize("name", judge.FORMATS)  # double-double has its own tests
CHUNK = 1 << 22


def patterns(first: int, count: int, step: int = 1) -> np.ndarray:
    """float32 numbers by their bits: every step-th pattern from the first."""
    return (np.arange(count, dtype=np.uint64) * step + first).astype(np.uint32).view(np.float32)


def same(x: np.ndarray, y: np.ndarray) -> bool:
    """Equal bit for bit, and NaN where the other is NaN."""
    integers = {2: np.uint16, 4: np.uint32, 8: np.uint64}[x.dtype.itemsize]
    with np.errstate(invalid="ignore"):
        return bool(((x.view(integers) == y.view(integers)) | ((x != x) & (y != y))).all())


@EVERY
def test_limits_are_those_of_the_judge(name: str) -> None:
    format_ = FORMATS[name]
    assert (format_.precision, format_.emin, format_.emax) == judge.FORMATS[name]


@pytest.mark.parametrize("name", TYPES)
def test_limits_are_those_of_numpy_and_ml_dtypes(name: str) -> None:
    ours, theirs = FORMATS[name], ml_dtypes.finfo(TYPES[name])
    assert ours.precision == theirs.nmant + 1
    assert (ours.largest, ours.smallest_normal) == (float(theirs.max), float(theirs.smallest_normal))
    assert 2 * ours.unit_roundoff == float(theirs.eps)
    assert 2.0 ** (ours.emin - ours.precision + 1) == float(theirs.smallest_subnormal)
    assert ours.is_working == (ours.working is TYPES[name])


def test_tf32_has_float16_s_precision_and_float32_s_exponents() -> None:
    tf32 = FORMATS["tf32"]
    assert tf32.precision == FORMATS["float16"].precision
    assert (tf32.emin, tf32.emax) == (FORMATS["float32"].emin, FORMATS["float32"].emax)


def test_formats_are_found_by_name() -> None:
    assert all(format_named(name) is format_ for name, format_ in FORMATS.items())
    with pytest.raises(InputError, match=r"float8.*expected one of float16"):
        format_named("float8")


@pytest.mark.parametrize("name", NARROW)
def test_all_65536_patterns_come_back(name: str) -> None:
    numbers = np.arange(1 << 16, dtype=np.uint16).view(TYPES[name])
    with np.errstate(invalid="ignore"):  # signalling NaN
        assert same(round_to(numbers.astype(np.float32), FORMATS[name]).astype(TYPES[name]), numbers)
        assert same(by_the_kernels(numbers.astype(np.float32), name).astype(TYPES[name]), numbers)


@pytest.mark.parametrize("name", NARROW)
def test_a_sample_of_float32_is_rounded_as_numpy_and_ml_dtypes_round(name: str) -> None:
    """An odd step meets all low bits; ties and their neighbours are taken on purpose."""
    check_rounding(patterns(0, 1 << 18, step=16381), name)
    ties = np.arange(1 << 16, dtype=np.uint32)[:, None] << 16 | np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF])
    check_rounding(np.ascontiguousarray(ties.astype(np.uint32)).view(np.float32).ravel(), name)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", NARROW)
def test_all_float32_are_rounded_as_numpy_and_ml_dtypes_round(name: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        chunks = range(0, 1 << 32, CHUNK)
        assert len(list(pool.map(lambda first: check_rounding(patterns(first, CHUNK), name), chunks))) == 1 << 10


def check_rounding(x: np.ndarray, name: str) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        expected = x.astype(TYPES[name])
        assert same(round_to(x, FORMATS[name]).astype(TYPES[name]), expected)
        assert same(by_the_kernels(x, name).astype(TYPES[name]), expected)


def by_the_kernels(x: np.ndarray, name: str) -> np.ndarray:
    """What LLVMOps.round_to, the kernels' own rounding, makes of these float32 numbers (a multiple of 16)."""
    y = np.empty_like(x)
    rounding_loop(name)(x.ctypes.data, y.ctypes.data, x.size // 16)
    return y


@cache
def rounding_loop(name: str) -> Callable[[int, int, int], None]:
    vector = ir.VectorType(ir.FloatType(), 16)

    @intrinsic
    def loop(typing: Any, source: Any, target: Any, count: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            source, target = (builder.inttoptr(address, vector.as_pointer()) for address in arguments[:2])
            with cgutils.for_range(builder, arguments[2]) as around:
                number = builder.load(builder.gep(source, [around.index]), align=4)
                rounded = LLVMOps(builder, vector).round_to(number, FORMATS[name])
                builder.store(rounded, builder.gep(target, [around.index]), align=4)
            return context.get_dummy_value()

        return types.void(types.intp, types.intp, types.intp), codegen

    def run(source, target, count):  # type: ignore[no-untyped-def]
        loop(source, target, count)

    return numba.njit("void(intp, intp, intp)", nogil=True)(run)


@pytest.mark.parametrize("name", ["bfloat16", "tf32"])
def test_operands_are_rounded_like_everything_else(name: str) -> None:
    x = patterns(0, 1 << 18, step=16381)
    assert same(operands(x, FORMATS[name]), round_to(x, FORMATS[name]))


@st.composite
def float64_around(draw: st.DrawFn, format_: Format) -> float:
    """Numbers of the format, ties between two of them, and the float64 neighbours of both."""
    significand = draw(st.integers(0, 2 ** (format_.precision + 1)))  # one bit more than the format has
    exponent = draw(st.integers(format_.emin - format_.precision - 3, format_.emax - format_.precision + 2))
    number = significand * 2.0 ** max(exponent, -1074) if exponent > -1000 else float(np.ldexp(significand, exponent))
    number = float(np.nextafter(number, draw(st.sampled_from([number, np.inf, -np.inf]))))
    return draw(st.sampled_from([number, -number]))


@EVERY
@given(data=st.data())
def test_rounding_is_that_of_the_judge(name: str, data: st.DataObject) -> None:
    x = data.draw(float64_around(FORMATS[name]) | st.floats())
    ours = round_to(x, FORMATS[name])
    assert ours.dtype == FORMATS[name].working
    assert judge.bits(judge.read(ours), name) == judge.bits(judge.round_to(judge.read(x), name), name)


@EVERY
def test_special_numbers_stay_and_the_limits_round_as_they_must(name: str) -> None:
    format_ = FORMATS[name]
    special = np.array(special_values(format_))
    assert same(round_to(special, format_).astype(np.float64), special)
    if name == "float64":
        return  # no float64 number lies beyond or between them
    half = format_.largest * format_.unit_roundoff / (2 - 2.0 ** (1 - format_.precision))  # half an ulp of the largest
    smallest = 2.0 ** (format_.emin - format_.precision + 1)
    below, above = np.nextafter(format_.largest + half, 0), format_.largest + half
    assert round_to([below, above, -above], format_).tolist() == [format_.largest, np.inf, -np.inf]
    kept = round_to([smallest / 2, np.nextafter(smallest / 2, 1), 1.5 * smallest, -smallest / 4], format_)
    assert kept.tolist() == [0, smallest, 2 * smallest, 0] and np.signbit(kept[3])


@pytest.mark.parametrize("name", ["float16", "bfloat16", "tf32"])
def test_float64_is_not_rounded_by_way_of_float32(name: str) -> None:
    """Just above a tie, by less than float32 can see: rounding twice goes to the even neighbour, which is wrong."""
    format_ = FORMATS[name]
    x = 1 + format_.unit_roundoff + 2.0**-40
    assert round_to(np.float32(x), format_) == 1
    assert round_to(x, format_) == 1 + 2 * format_.unit_roundoff


def test_the_argument_is_neither_changed_nor_given_back() -> None:
    for format_, dtype in itertools.product(map(FORMATS.get, judge.FORMATS), (np.float32, np.float64)):
        x = np.array([1 / 3, 2.0], dtype)
        y = round_to(x, format_)
        y[:] = 0
        assert x.tolist() == [dtype(1 / 3), 2.0]
