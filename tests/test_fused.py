"""The definition's fused multiply-add is one rounding of the real number a b + c, in every format."""

from __future__ import annotations

import itertools

import judge
import numpy as np
import pytest
from arithmetics import random_numbers, special_values
from hypothesis import example, given
from hypothesis import strategies as st

from refnet.arithmetic import FORMATS, Format, NumpyOps, round_to
from refnet.arithmetic.fused import fma

EVERY = pytest.mark.parametrize("name", judge.FORMATS)  # double-double has no fma
WIDER = {"float16": np.float32, "bfloat16": np.float32, "tf32": np.float32, "float32": np.float64}


def fused(name: str, a: float, b: float, c: float) -> int:
    """The bits of the definition's fma of three numbers."""
    x, y, z = (np.array([number], FORMATS[name].working) for number in (a, b, c))
    return judge.bits(judge.read(fma(x, y, z, FORMATS[name])[0]), name)


def judged(name: str, a: float, b: float, c: float) -> int:
    return judge.bits(judge.fma(judge.read(a), judge.read(b), judge.read(c), name), name)


@st.composite
def numbers(draw: st.DrawFn, format_: Format) -> float:
    """Any number of the format, small, huge and special ones often: few bits make ties likely."""
    bits = draw(st.sampled_from([2, format_.precision // 2, format_.precision]))
    significand = draw(st.integers(0, 2**bits - 1))
    exponent = draw(
        st.integers(-bits - 3, 3)
        | st.integers(format_.emin - format_.precision + 1, format_.emax - bits)
        | st.sampled_from([format_.emin - format_.precision + 1, format_.emax - bits + 1])
    )
    return draw(st.sampled_from([1, -1])) * float(round_to(np.ldexp(float(significand), exponent), format_))


@st.composite
def triples(draw: st.DrawFn, format_: Format) -> tuple[float, float, float]:
    """a, b, c: independent, all but cancelling, or so far apart that only a sticky bit is left of one."""
    any_number = numbers(format_) | st.sampled_from(special_values(format_))
    a, b, c = draw(any_number), draw(any_number), draw(any_number)
    kind = draw(st.sampled_from(["independent", "cancelling", "far"]))
    with np.errstate(all="ignore"):
        product = np.float64(a) * np.float64(b)
        if kind == "cancelling":
            c = float(round_to(-product, format_))
        elif kind == "far":
            shift = draw(st.integers(format_.precision - 2, 2 * format_.precision + 3))
            c = float(round_to(np.ldexp(product, draw(st.sampled_from([shift, -shift]))), format_))
    return a, b, c


@EVERY
@given(data=st.data())
@example(data=None)
def test_fma_is_one_rounding(name: str, data: st.DataObject | None) -> None:
    abc = data.draw(triples(FORMATS[name])) if data else (-1.0, 0.0, -0.0)
    assert fused(name, *abc) == judged(name, *abc), abc


@EVERY
def test_special_numbers_meet_each_other(name: str) -> None:
    for abc in itertools.product(special_values(FORMATS[name]), repeat=3):
        assert fused(name, *abc) == judged(name, *abc), abc


@EVERY
def test_whole_arrays_of_wild_numbers(name: str) -> None:
    rng = np.random.default_rng(0)
    a, b, c = random_numbers(rng, (3, 1500), FORMATS[name], 0.5)
    ours = fma(a, b, c, FORMATS[name])
    for abc, result in zip(zip(a.tolist(), b.tolist(), c.tolist(), strict=True), ours, strict=True):
        assert judge.bits(judge.read(result), name) == judged(name, *abc), abc


@EVERY
@pytest.mark.parametrize("sign", [1, -1])
def test_a_tie_is_decided_by_what_a_wider_sum_loses(name: str, sign: int) -> None:
    """a b lies half way between two numbers; c, far below, says which; the naive way rounds it off and takes the even
    one, so this test would fail for it."""
    format_ = FORMATS[name]
    tiny = 2.0 ** (format_.emin - format_.precision + 1)
    a, b, c = 3.0, 2.0 ** (format_.precision - 1) + (3 if sign > 0 else 1), sign * tiny
    assert fused(name, a, b, c) == judged(name, a, b, c)
    wide = WIDER.get(name, np.float64)
    naive = round_to(wide(a) * wide(b) + wide(c), format_)
    assert judge.bits(judge.read(naive), name) != judged(name, a, b, c)


def test_float32_is_not_a_float64_sum_rounded_again() -> None:
    """c + a b = 1 + 2^-23 + 2^-24 - 2^-70, just below a tie that float64 takes it for."""
    a, b, c = 2.0**-12 * (1 + 2.0**-23), 2.0**-12 * (1 - 2.0**-23), 1 + 2.0**-23
    assert np.float32(a * b + c) == 1 + 2.0**-22
    assert fma(np.float32([a]), np.float32([b]), np.float32([c]), FORMATS["float32"]) == [1 + 2.0**-23]


@pytest.mark.slow
@EVERY
@pytest.mark.parametrize("operation", ["add", "sub", "mul", "div", "sqrt"])
@given(data=st.data())
def test_the_other_operations_round_once(name: str, operation: str, data: st.DataObject) -> None:
    """Through float32 for the narrow formats, which is innocuous: shown here against exact fractions."""
    names = {"sub": "subtract", "mul": "multiply", "div": "divide"}
    theirs = getattr(judge, names.get(operation, operation))
    any_number = numbers(FORMATS[name]) | st.sampled_from(special_values(FORMATS[name]))
    values = [data.draw(any_number) for _ in range(1 if operation == "sqrt" else 2)]
    arrays = [np.array([value], FORMATS[name].working) for value in values]
    ours = getattr(NumpyOps(FORMATS[name]), operation)(*arrays)[0]
    expected = theirs(*(judge.read(value) for value in values), name)
    assert judge.bits(judge.read(ours), name) == judge.bits(expected, name), values
